"""What a network says of itself. The rest of the package asks this, and knows nothing else of any family."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..ops import Backend
from ..sparse.hierarchy import Hierarchy


@dataclass(frozen=True)
class LevelInfo:
    """One level of a descriptor."""

    level: int
    """0 is the finest."""
    channels: int
    """Width."""
    voxel_size: float
    """Edge of the level's voxels in metres."""
    slice: slice
    """Its columns in a descriptor of all levels."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What goes into a network; the recipe belongs to the weights."""

    attributes: tuple[str, ...] = ("color", "normal")
    """Of the point that stands for a voxel, three columns each, in this order: `color` in [-1, 1], unit `normal`."""
    voxel_size: float
    """Edge of a finest voxel in metres."""
    origin: str
    """Where a scene's cells begin: `published` or `anchored`, see `sparse.voxels.voxelize`."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a pass takes and how far it sees, which decides how a large scan is cut into tiles."""

    bytes_per_voxel: int
    """Of a finest voxel and its share of the coarser levels, at the peak: tables and live features."""
    reach: float
    """How far, in metres, a voxel's convolutions see at most: beyond it nothing but attention does."""
    halo: int
    """Coarsest cells around a tile that are computed with it and thrown away."""


class Shape(ABC):
    """The shape of a network: the fields of its config.json, and what can be said of it before it is built."""

    architecture: ClassVar[str]
    """The family, as `architecture` in config.json."""
    sampling: str
    """How levels are read at a point, see `sparse.interpolate.corners`."""

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Columns of each level in a descriptor, fine to coarse."""

    @property
    @abstractmethod
    def inputs(self) -> Inputs:
        """What goes in."""

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """What a pass takes."""

    @abstractmethod
    def least(self) -> list[tuple[int, str, str]]:
        """Return how many tensors or values its weights have at least: (number, of what, "tensors" or "values").

        A stranger's file is held against these before any memory is taken for the network.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Shape":
        """Build from `to_dict`'s values; a name that is not a field is an InputError, never dropped."""

    @property
    def levels(self) -> int:
        """Number of resolutions."""
        return len(self.widths)

    @property
    def descriptor_channels(self) -> int:
        """Width of a point's descriptor when every level is used."""
        return sum(self.widths)

    @property
    def feature_info(self) -> list[LevelInfo]:
        """Channels, voxel size and columns of each level of a descriptor, fine to coarse."""
        size, stops = self.inputs.voxel_size, accumulate(self.widths)
        return [
            LevelInfo(level, width, size * 2**level, slice(stop - width, stop))
            for level, (width, stop) in enumerate(zip(self.widths, stops, strict=True))
        ]


class Backbone(nn.Module, ABC):
    """A network over a hierarchy of voxels, built from its shape; its weights are random until some are loaded."""

    Config: ClassVar[type[Shape]]
    """Of which class the shapes of the family are."""
    config: Any
    """Its shape, of that class."""

    @abstractmethod
    def forward(
        self, x: Tensor, hierarchy: Hierarchy, ops: Backend, generator: torch.Generator | None = None
    ) -> list[Tensor]:
        """Return per level, fine to coarse, (m_l, widths[l]) for the features `x` (m_0, columns of the inputs).

        Args:
            x: of the finest voxels.
            hierarchy: over them.
            ops: the backend.
            generator: of the noise in training mode, which fails without one.
        """

    @abstractmethod
    def steps(self) -> list[nn.Module]:
        """Return the modules that a progress bar counts; each runs once in a pass."""

    @property
    def weight(self) -> Tensor:
        """A matrix of the network: its device and its dtype are those of all."""
        return next(parameter for parameter in self.parameters() if parameter.dim() > 1)
