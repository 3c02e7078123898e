"""msm3d: one meaningful vector per point of a 3D scan.

>>> import msm3d
>>> msm3d.info("rooms").channels
400
"""

from typing import TYPE_CHECKING

from ._util.lazy import lazily

if TYPE_CHECKING:  # for editors and type checkers; what runs is `__getattr__`
    from . import backbones, datasets, errors, evaluate, io, lifting, ops, pretrain, rooms, tasks, training, visualize
    from .backbones.hunet.config import BackboneConfig
    from .errors import Msm3dError, Msm3dWarning
    from .io import read
    from .lifting import lift
    from .model import Model, load
    from .scan.cloud import PointCloud
    from .weights import info, list_models

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
    "lift",
    "lifting",
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

__getattr__ = lazily(
    __name__,
    backbones__hunet__config="BackboneConfig",
    errors="Msm3dError Msm3dWarning",
    io="read",
    lifting="lift",
    model="Model load",
    scan__cloud="PointCloud",
    weights="info list_models",
)


def __dir__() -> list[str]:
    return list(__all__)
