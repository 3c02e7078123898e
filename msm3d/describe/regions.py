"""The voxels that go through the network in one pass, and the rows that are read from its levels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from ..backbones import Shape
from ..ops import Backend, curves
from ..sparse.hierarchy import Hierarchy, extents
from ..sparse.interpolate import corners
from ..sparse.tiles import Tile, tiles
from ..sparse.voxels import Voxels
from .request import Reading


@dataclass(frozen=True, eq=False)
class Region:
    """Voxels of one pass: those of a scene or a batch, or a tile and the halo around it."""

    keys: Tensor  # (m,) int64, as of `Voxels`
    features: Tensor  # (m, 6), as of `Voxels`
    extent: Tensor  # (scenes, 2, 3): see `hierarchy.extents`, of the whole scenes
    core: Tensor | None  # (r,) the voxels that are read; None reads all
    owner: Tensor | None
    """(p,) for each point that gets a row, its voxel among those read; None for one row per voxel read."""
    places: Tensor | None  # the rows of the result that come of it; None where these are all in their order

    @classmethod
    def whole(cls, voxels: Voxels, per_point: bool = True) -> "Region":
        """Return all the voxels of a scene or batch as one region."""
        extent = extents(voxels.cells, int(voxels.keys[-1] >> 3 * curves.BITS) + 1)
        return cls(voxels.keys, voxels.features, extent, None, voxels.owner if per_point else None, None)

    def to(self, device: torch.device) -> "Region":
        """Return it with all but `places` on a device."""
        held = {name: value for name, value in vars(self).items() if name != "places" and value is not None}
        return replace(self, **{name: value.to(device) for name, value in held.items()})

    def hierarchy(self, levels: int, ops: Backend) -> Hierarchy:
        """Return the grids over its voxels."""
        return Hierarchy.of(self.keys, levels, ops, len(self.extent), self.extent)


class Regions:
    """The regions of a scene or a batch on a network's device: all of it, or tiles of a scene so large that the work on
    it would take more than `limit` bytes beside input and output.
    """

    def __init__(self, voxels: Voxels, shape: Shape, device: torch.device, limit: int, per_point: bool) -> None:
        self.voxels, self.shape, self.device, self.per_point = voxels, shape, device, per_point
        self.most = max(limit // shape.cost.bytes_per_voxel, 1)
        batched = bool(voxels.keys[-1] >> 3 * curves.BITS)  # the last voxel is not of scene 0
        self.uncut = batched or len(voxels.keys) <= self.most  # one region, of everything
        self.rows = len(voxels.owner if per_point else voxels.keys)  # that come of all regions

    @cached_property
    def tiles(self) -> Sequence[Tile]:
        """The tiles of a scene that is cut."""
        return list(tiles(self.voxels.keys, self.shape.levels, self.most, self.shape.cost.halo))

    @property
    def sizes(self) -> list[int]:
        """How many voxels each region has."""
        return [len(self.voxels.keys)] if self.uncut else [len(tile.rows) for tile in self.tiles]

    def __iter__(self) -> Iterator[Region]:
        if self.uncut:
            yield Region.whole(self.voxels, self.per_point).to(self.device)
            return
        extent = extents(self.voxels.cells)
        points = _Points(self.voxels) if self.per_point else None
        for tile in self.tiles:
            core = tile.core.nonzero()[:, 0]
            places, owner = (tile.rows[core], None) if points is None else points.of(tile.rows[core])
            keys, features = self.voxels.keys[tile.rows], self.voxels.features[tile.rows]
            yield Region(keys, features, extent, core, owner, places).to(self.device)


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a result, which are computed when they are read."""

    places: slice | Tensor  # which rows of the result they are
    read: Callable[..., Tensor]
    """Return them, (r, c), or write them to `out=`, a contiguous tensor of that shape, and return it."""


def read(
    features: Sequence[Tensor],
    hierarchy: Hierarchy,
    region: Region,
    reading: Reading,
    ops: Backend,
    most: int | None = None,
) -> Iterator[Rows]:
    """Yield the rows of a region, `most` at a time, or all at once, from the features (m_l, c_l) of every level."""
    levels = [corners(hierarchy, level, reading.sampling, ops, region.core) for level in reading.levels]
    tables, weights = zip(*levels, strict=True)
    chosen = [features[level] for level in reading.levels]
    n = len(tables[0]) if region.owner is None else len(region.owner)
    step = most or n
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        if region.owner is None:
            at = [table[part] for table in tables], [weight[part] for weight in weights], None
        else:
            at = tables, weights, region.owner[part]
        places = part if region.places is None else region.places[part]
        yield Rows(places, partial(ops.blend, chosen, *at, reading.dtype))


class _Points:
    """The points of each voxel."""

    def __init__(self, voxels: Voxels) -> None:
        self.order = voxels.owner.argsort()
        self.counts = torch.bincount(voxels.owner, minlength=len(voxels.keys))
        self.firsts = self.counts.cumsum(0) - self.counts

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the points (p,) in the voxels `rows`, and for each the place of its voxel among them."""
        counts = self.counts[rows]
        owner = torch.repeat_interleave(counts)
        inside = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
        return self.order[self.firsts[rows][owner] + inside], owner
