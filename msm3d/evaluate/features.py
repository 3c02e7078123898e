"""Where features come from: a model in evaluation mode, or the bare input. Both give half-precision rows per point."""

from typing import Any, Protocol

import numpy as np
import torch

from ..backbones import Shape
from ..errors import InputError
from ..model import Model
from ..scan.cloud import PointCloud
from ..scan.normals import completed
from ..tasks.fingerprint import model_hash

FLOOR = 0.01  # the share of points that lie below the floor of a scan: stray ones


class Features(Protocol):
    """Anything that turns a scan into one row of features per point, always the same."""

    name: str  # short, for reports
    hash: str  # hexadecimal digits that change when the features would
    blocks: dict[str, slice]  # named columns, such as the levels of a descriptor, which cover all of them
    levels: bool  # whether the blocks are levels that are worth a report one by one

    def __call__(self, cloud: PointCloud) -> tuple[np.ndarray, np.ndarray]:
        """Return rows (m, c) float16, and the row (n,) of each point of the cloud."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what a report says of the features."""
        ...


def of_scene(features: Features, name: str, cloud: PointCloud) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of a scene: those that are stored by scene have `of_scene`, which is told its name."""
    stored = getattr(features, "of_scene", None)
    return features(cloud) if stored is None else stored(name, cloud)


def finite(name: str, rows: np.ndarray) -> np.ndarray:
    """Return rows in half precision, or raise InputError where they do not fit into it."""
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float16, copy=False)
    if not np.isfinite(rows).all():
        raise InputError(
            f"features of {name} are not finite, or above 65504, the largest number in half precision; "
            "give a model whose features are smaller."
        )
    return rows


class ModelFeatures:
    """The descriptors of a model, all levels, one row per finest voxel: its points all have that same row.

    >>> from msm3d import BackboneConfig
    >>> config = BackboneConfig(channels=(8, 8), decoder_channels=(4, 8), conv_blocks=(1, 1),
    ...                         attention_blocks=(0, 0), heads=(0, 0))
    >>> features = ModelFeatures(random_network(config, seed=0))
    >>> features.name, features.blocks
    ('random network', {'level 0': slice(0, 4, None), 'level 1': slice(4, 12, None)})

    The `name` for reports is the model's own by default. A model of which a part is in training mode, where features
    are random, raises InputError.
    """

    levels = True

    def __init__(self, model: Model, name: str | None = None) -> None:
        self.model = model
        self.name = name or str(model.meta.get("name") or "untrained")
        self.blocks = {f"level {info.level}": info.slice for info in model.feature_info}
        self.last = f"level {model.config.last}"  # which "last" means among the choices of levels
        self.weights = model_hash(model)
        self._require_evaluation()
        self.hash = f"{self.weights[:20]}{model.ops.NAME}"

    def __call__(self, cloud: PointCloud) -> tuple[np.ndarray, np.ndarray]:
        """Return the descriptors (m, c) of the finest voxels, and the voxel (n,) of each point."""
        self._require_evaluation()
        rows, owner = self.model.extract(cloud, at="voxels", dtype="float16")
        return finite(self.name, rows), owner

    def describe(self) -> dict[str, Any]:
        """Return name, hashes and shape of the model and what computed it.

        `file_sha256` is of the file model.safetensors, as `msm3d info` shows it; `weights_sha256` is of the network's
        shape and numbers, in whatever file or precision they are.
        """
        model, sizes = self.model, [info.voxel_size for info in self.model.feature_info]
        facts = {"name": self.name, "file_sha256": model.meta.get("sha256"), "weights_sha256": self.weights}
        facts |= {
            "last": self.last,
            "channels": model.config.descriptor_channels,
            "voxel_sizes": sizes,
            "sampling": model.config.sampling,
        }
        return facts | {"backend": model.ops.NAME, "device": str(model.device), "data": model.meta.get("data")}

    def _require_evaluation(self) -> None:
        part = next((name for name, module in self.model.named_modules() if module.training), None)
        if part is not None:
            where = f"its part {part!r}" if part else "it"
            raise InputError(f"{self.name}: {where} is in training mode, where features are random; call model.eval().")


class RawFeatures:
    """The input itself, as the floor of every comparison: colour in [-1, 1], normal, height above the floor in metres.

    >>> cloud = PointCloud.of({"coord": np.array([[0, 0, 5.0], [0, 0, 7.0]]), "color": [[255, 0, 0]] * 2,
    ...                        "normal": [[0, 0, 1.0]] * 2})
    >>> RawFeatures()(cloud)[0].round(1).tolist()
    [[1.0, -1.0, -1.0, 0.0, 0.0, 1.0, -0.0], [1.0, -1.0, -1.0, 0.0, 0.0, 1.0, 2.0]]
    """

    name, hash, levels = "raw input", "raw1", False

    def __init__(self) -> None:
        self.blocks = {"input": slice(0, 7)}

    def __call__(self, cloud: PointCloud) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, 7), and 0 to n - 1."""
        whole = completed(cloud)
        assert whole.color is not None
        assert whole.normal is not None
        height = cloud.coord[:, 2:] - np.quantile(cloud.coord[:, 2], FLOOR)
        rows = np.concatenate([whole.color / 127.5 - 1, whole.normal, height], 1)
        return rows.astype(np.float16), np.arange(len(cloud))

    def describe(self) -> dict[str, Any]:
        """Return name and width."""
        return {"name": self.name, "channels": 7}


def random_network(config: Shape, seed: int, *, like: Model | None = None) -> Model:
    """Return a network that has learned nothing: weights drawn from `seed` as training would start with, on the device
    and backend of `like`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Model(config, backend=like.backend if like else None, meta={"name": "random network", "seed": seed})
    return model.to(like.device if like else "cpu").eval().requires_grad_(False)
