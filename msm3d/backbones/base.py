"""What a network says of itself. The rest of the package asks this, and knows nothing else of any family."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from ..errors import InputError
from ..ops import Backend
from ..sparse.hierarchy import Hierarchy
from ..sparse.inputs import Attribute as Attribute
from ..sparse.inputs import Inputs as Inputs

Row = tuple[str, tuple[int, ...]]
"""Our name of a tensor, and the shape that its authors store it in."""


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
class Cost:
    """What a pass takes and how far it sees, which decides how a large scan is cut into tiles."""

    bytes_per_voxel: int
    """Of a finest voxel and its share of the coarser levels, at the peak: tables and live features."""
    reach: float
    """How far, in metres, a voxel's convolutions see at most: beyond it nothing but attention does."""
    halo: int
    """Coarsest cells around a tile that are computed with it and thrown away."""


@dataclass(frozen=True, kw_only=True)
class Regularisation:
    """What training alone needs of a network, and evaluation never reads."""

    drop_path: float = 0.0
    """Largest rate of stochastic depth."""
    attention_dropout: float = 0.0
    """Rate of dropout on attention weights."""
    layer_scale: float = 1.0
    """Weight of each residual branch before training."""
    shuffled: bool = True
    """Whether the blocks of a stage attend along the curves in a random order."""


class Shape(ABC):
    """The shape of a network: the fields of its config.json, and what can be said of it before it is built."""

    architecture: ClassVar[str]
    """The family, as `architecture` in config.json."""
    sampling: str
    """How levels are read at a point, one of `sparse.interpolate.SAMPLINGS`."""
    readout: bool = False
    """Whether each level is read through a linear layer, `readout.LEVEL` of the network; see `pretrain.adapt`."""

    def with_readout(self, readout: bool) -> "Shape":
        """Return the shape with such layers or without; raises InputError where the family has none."""
        raise InputError(f"a network of the family {self.architecture!r} has no readout; give a sparse U-Net.")

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
    def regularisation(self) -> Regularisation:
        """How it is trained where a trainer says nothing else: without noise, unless the family has its own."""
        return Regularisation()

    @property
    def levels(self) -> int:
        """Number of resolutions."""
        return len(self.widths)

    @property
    def last(self) -> int:
        """The level that is computed last: the finest, where a decoder ends."""
        return 0

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


@dataclass(frozen=True, kw_only=True)
class Released:
    """How the authors of a family store its networks: what `weights.convert` must know to take one over."""

    name: str
    """Of the published network among the releases."""
    published: Shape
    """Its shape."""
    first: str
    """A tensor that every network of theirs has: it tells the family, and the prefix of all names."""
    student: str
    """How the prefix ends of the network to take, where a checkpoint holds several."""
    unseen: tuple[str, ...]
    """Fields of a shape that no tensor shows."""
    table: Callable[[Any], dict[str, Row]]
    """Return the authors' name → (our name, the authors' shape) of every tensor of a network."""
    inferred: Callable[[Mapping[str, tuple[int, ...]]], dict[str, Any]]
    """Return the fields of a shape that the shapes of the authors' tensors tell; it may raise whatever it likes."""
    ours: Callable[[str, Tensor], Tensor]
    """Return a tensor, given with the authors' name, as our network stores it."""
    unused: tuple[str, ...] = ()
    """How the names end of tensors that a checkpoint may hold and our network does without."""
    told: Callable[[Mapping[str, Tensor], Mapping[str, Any]], dict[str, Any]] | None = None
    """Return the fields of a shape that values tell: the network's tensors, and the configuration in the checkpoint."""


class Backbone(nn.Module, ABC):
    """A network over a hierarchy of voxels, its weights random until some are loaded.

    Args:
        config: its shape.
        regularisation: for training; what the shape recommends by default.
    """

    Config: ClassVar[type[Shape]]
    """Of which class the shapes of the family are."""
    released: ClassVar[Released | None] = None
    """How its authors' checkpoints are read, if any are."""
    config: Any
    """Its shape, of that class."""

    @abstractmethod
    def __init__(self, config: Any, regularisation: Regularisation | None = None) -> None:
        super().__init__()

    @abstractmethod
    def forward(
        self, x: Tensor, hierarchy: Hierarchy, ops: Backend, generator: Generator | None = None
    ) -> list[Tensor]:
        """Return per level, fine to coarse, (m_l, widths[l]) for the features `x` (m_0, columns of the inputs).

        `x` is of the finest voxels; in training mode the noise is the generator's, without which it fails.
        """

    @abstractmethod
    def steps(self) -> list[nn.Module]:
        """Return the modules that a progress bar counts; each runs once in a pass."""

    def by_depth(self) -> list[list[nn.Parameter]]:
        """Return every parameter once, in groups from the input to the output: fine-tuning moves the first ones least.

        By default what is in none of `steps` comes first, then each of these.
        """
        parts = [list(module.parameters()) for module in self.steps()]
        known = {id(parameter) for part in parts for parameter in part}
        return [part for part in ([p for p in self.parameters() if id(p) not in known], *parts) if part]

    @property
    def weight(self) -> Tensor:
        """A matrix of the network: its device and its dtype are those of all."""
        return next(parameter for parameter in self.parameters() if parameter.dim() > 1)

    def multiply_in(self, dtype: torch.dtype) -> None:
        """Turn the matrices to a dtype: vectors, such as norms and biases, keep theirs."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                parameter.data = parameter.data.to(dtype)


class Maskable(Backbone):
    """A network in two halves, as Masked Scene Modeling needs: tokens stand for what the encoder never saw."""

    @property
    @abstractmethod
    def skip_widths(self) -> tuple[int, ...]:
        """Width of what goes from the one half to the other at each level, fine to coarse."""

    @abstractmethod
    def encode(self, x: Tensor, hierarchy: Hierarchy, ops: Backend, generator: Generator | None = None) -> list[Tensor]:
        """Return per level, fine to coarse, (m_l, skip_widths[l]); the arguments are those of `forward`."""

    @abstractmethod
    def decode(
        self, encoded: Sequence[Tensor], hierarchy: Hierarchy, ops: Backend, generator: Generator | None = None
    ) -> list[Tensor]:
        """Return what `forward` does, from what `encode` returns."""

    def forward(
        self, x: Tensor, hierarchy: Hierarchy, ops: Backend, generator: Generator | None = None
    ) -> list[Tensor]:
        """Return per level, fine to coarse, (m_l, widths[l]) for `x` (m_0, columns of the inputs)."""
        return self.decode(self.encode(x, hierarchy, ops, generator), hierarchy, ops, generator)
