"""msm3d: one meaningful vector per point of a 3D scan.

>>> import msm3d
>>> msm3d.list_models()
['rooms', 'scannet']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; what runs is `__getattr__`
    from . import backbones as backbones
    from . import datasets as datasets
    from . import errors as errors
    from . import evaluate as evaluate
    from . import io as io
    from . import ops as ops
    from . import pretrain as pretrain
    from . import rooms as rooms
    from . import tasks as tasks
    from . import training as training
    from . import visualize as visualize
    from .backbones.hunet.config import BackboneConfig as BackboneConfig
    from .errors import Msm3dError as Msm3dError
    from .errors import Msm3dWarning as Msm3dWarning
    from .io import read as read
    from .model import Model as Model
    from .model import load as load
    from .scan.cloud import PointCloud as PointCloud
    from .weights import info as info
    from .weights import list_models as list_models

__version__ = "0.1.0"
__all__ = [
    "BackboneConfig",
    "Model",
    "Msm3dError",
    "Msm3dWarning",
    "PointCloud",
    "__version__",
    "backbones",
    "datasets",
    "errors",
    "evaluate",
    "info",
    "io",
    "list_models",
    "load",
    "ops",
    "pretrain",
    "read",
    "rooms",
    "tasks",
    "training",
    "visualize",
]

_HOMES = {
    "BackboneConfig": "backbones.hunet.config",
    "Model": "model",
    "Msm3dError": "errors",
    "Msm3dWarning": "errors",
    "PointCloud": "scan.cloud",
    "info": "weights",
    "list_models": "weights",
    "load": "model",
    "read": "io",
}
"""The module of each name, imported when the name is first used: `msm3d --help` needs no torch."""


def __getattr__(name: str) -> Any:
    """Return a public name, or a module of the package by its name."""
    if name in _HOMES:
        globals()[name] = value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        return value
    if not name.startswith("_"):
        try:
            return import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
