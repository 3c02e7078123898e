"""What goes into a network, a part of its weights: which attributes of which point, in which order and scale."""

from dataclasses import dataclass

from torch import Tensor

from ..errors import require

ATTRIBUTES = ("coord", "color", "normal")
ORIGINS = ("published", "anchored")
POINTS = ("nearest", "first")
MISSING = ("estimated", "zeros")


@dataclass(frozen=True)
class Attribute:
    """Three columns of a network's input: `value / divisor + offset` of the point that stands for a voxel.

    >>> Attribute("color", 255).scaled(Tensor([0, 51, 255])).tolist()  # within [0, 1]
    [0.0, 0.20000000298023224, 1.0]
    """

    name: str
    """`coord`, in metres from where the scene's cells begin; `color`, from 0 to 255; or `normal`, of unit length."""
    divisor: float = 1.0
    """What values are divided by."""
    offset: float = 0.0
    """What is then added."""

    def __post_init__(self) -> None:
        require("attribute", self.name, self.name in ATTRIBUTES, "one of " + ", ".join(ATTRIBUTES))

    def scaled(self, values: Tensor) -> Tensor:
        """Return `values` as the network expects them."""
        return values if (self.divisor, self.offset) == (1, 0) else values / self.divisor + self.offset


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The features of a voxel, and which voxels there are.

    >>> Inputs(voxel_size=0.02).channels
    6
    """

    attributes: tuple[Attribute, ...] = (Attribute("color", 127.5, -1), Attribute("normal"))
    """The columns, in their order: colours within [-1, 1] and unit normals, by default."""
    voxel_size: float
    """Edge of a finest voxel in metres."""
    origin: str = "published"
    """Where a scene's cells begin, see `voxels.voxelize`."""
    point: str = "nearest"
    """Which point stands for a voxel: the `nearest` to its centre, or the `first` in the order of the scan."""
    missing: str = "estimated"
    """What stands for colours and normals that a scan lacks: grey and `estimated` normals, or `zeros` for both."""

    def __post_init__(self) -> None:
        require("voxel_size", self.voxel_size, self.voxel_size > 0, "a positive number")
        for name, good in (("origin", ORIGINS), ("point", POINTS), ("missing", MISSING)):
            require(name, getattr(self, name), getattr(self, name) in good, "one of " + ", ".join(good))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the attributes, as `PointCloud` calls them."""
        return tuple(attribute.name for attribute in self.attributes)

    @property
    def channels(self) -> int:
        """Number of columns."""
        return 3 * len(self.attributes)
