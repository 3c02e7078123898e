"""Voxels to a hierarchy: every level's voxels and the row tables between them, built once per scene or batch."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..ops import Backend, Table, curves


@dataclass(frozen=True, eq=False)
class Grid:
    """A set of voxels of one level, in Morton order, and the rows of what is around, above and below them."""

    level: int  # 0 is the finest; a voxel's edge doubles with every level
    keys: Tensor  # (m,) int64, ascending: `curves.morton` of scene and cell
    neighbours: Tensor  # (m, 27) int32: rows of the cells around, x slowest, itself in slot 13; -1 where there is none
    parents: Tensor | None  # (m,) int32: row of the cell in the next coarser grid; None at the coarsest
    children: Tensor | None  # (m, 8) int32: rows of the octants in the next finer grid, or -1; None at the finest
    scenes: int  # number of scenes in the batch
    _orders: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def cells(self) -> Tensor:
        """(m, 4) int32: scene, x, y, z in units of this level's voxels."""
        return curves.cells(self.keys, self.level)

    @cached_property
    def offsets(self) -> list[int]:
        """First row of each scene, and m."""
        firsts = torch.arange(self.scenes + 1, device=self.keys.device) << 3 * (curves.BITS - self.level)
        return torch.searchsorted(self.keys, firsts).tolist()

    @cached_property
    def segments(self) -> list[int]:
        """First row of each part that attends to itself alone, and m: a scene, or its strays, see `curves.STRAY`."""
        firsts = torch.arange(2 * self.scenes, device=self.keys.device) << 3 * (curves.BITS - self.level) - 1
        return sorted({*torch.searchsorted(self.keys, firsts).tolist(), len(self)})

    @cached_property
    def above(self) -> Tensor:
        """(m, 8) int32: the parent's row in the slot of the own octant, the table of a transposed convolution."""
        assert self.parents is not None, "the coarsest grid has nothing above"
        table = self.parents.new_full((len(self), 8), -1)
        return table.scatter_(1, (self.keys & 7)[:, None], self.parents[:, None])

    @cached_property
    def across(self) -> Table:
        """The table of a convolution on this grid, which keeps what a backend makes of it."""
        return Table(self.neighbours)

    @cached_property
    def down(self) -> Table:
        """The table of a convolution from the next finer grid to this one."""
        assert self.children is not None, "the finest grid has nothing below"
        return Table(self.children)

    @cached_property
    def up(self) -> Table:
        """The table of a transposed convolution from the next coarser grid to this one."""
        return Table(self.above)

    def order(self, curve: str) -> tuple[Tensor, Tensor]:
        """Return the rows (m,) along `curve`, scene by scene, and the place (m,) of each row on it."""
        if curve not in self._orders:
            keys = curves.along(self.keys, curve, self.level)
            order = torch.cat([a + keys[a:b].argsort() for a, b in pairwise(self.segments)])
            self._orders[curve] = order, torch.empty_like(order).scatter_(0, order, torch.arange(len(order)).to(order))
        return self._orders[curve]


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Grids of one voxel set, fine to coarse."""

    grids: tuple[Grid, ...]
    extent: Tensor  # (scenes, 2, 3) int64: see `extents`, of the whole scene where this is a part of it

    @classmethod
    def of(cls, keys: Tensor, levels: int, ops: Backend, scenes: int = 1, extent: Tensor | None = None) -> "Hierarchy":
        """Build `levels` grids over ascending Morton `keys` (m,) with the backend `ops`.

        >>> from ..ops import reference
        >>> cells = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 4, 0, 0]])
        >>> [len(grid) for grid in Hierarchy.of(curves.morton(cells), 3, reference).grids]
        [3, 2, 2]
        """
        grids = [
            Grid(level, keys, neighbours, parents, children, scenes)
            for level, (keys, parents, children, neighbours) in enumerate(ops.octree(keys, levels))
        ]
        return cls(tuple(grids), extents(grids[0].cells, scenes) if extent is None else extent)

    def subset(self, keep: Tensor) -> tuple["Hierarchy", list[Tensor]]:
        """Return the hierarchy of the finest voxels where `keep` (m,) is true, and per level their rows in this one.

        A coarser voxel stays if any voxel below it does. Tables are restricted, not built anew: this is what a student
        that sees only the visible voxels costs.

        >>> from ..ops import reference
        >>> whole = Hierarchy.of(torch.tensor([0, 1, 9]), 2, reference)
        >>> part, rows = whole.subset(torch.tensor([False, True, True]))
        >>> [r.tolist() for r in rows], part.grids[1].children.tolist()[0]
        ([[1, 2], [0, 1]], [-1, 0, -1, -1, -1, -1, -1, -1])
        """
        rows, ranks = [], []
        for grid in self.grids:
            rows.append(keep.nonzero()[:, 0])
            rank = grid.neighbours.new_full((len(grid) + 1,), -1)  # the last entry answers for row -1
            rank[rows[-1]] = torch.arange(len(rows[-1])).to(rank)
            ranks.append(rank)
            if grid.parents is not None:
                above = keep.new_zeros(len(self.grids[grid.level + 1]))
                above[grid.parents[rows[-1]].long()] = True
                keep = above

        def restricted(table: Tensor | None, kept: Tensor, level: int) -> Any:
            return None if table is None else ranks[level][table[kept].long()]

        grids = []
        for level, (grid, kept) in enumerate(zip(self.grids, rows, strict=True)):
            neighbours = restricted(grid.neighbours, kept, level)
            parents, children = restricted(grid.parents, kept, level + 1), restricted(grid.children, kept, level - 1)
            grids.append(Grid(level, grid.keys[kept], neighbours, parents, children, grid.scenes))
        return Hierarchy(tuple(grids), self.extent), rows

    def ancestors(self) -> list[Tensor]:
        """Return per level the row (m,) int64 of each finest voxel's cell."""
        rows = [torch.arange(len(self.grids[0]), device=self.grids[0].keys.device)]
        for grid in self.grids[:-1]:
            assert grid.parents is not None
            rows.append(grid.parents[rows[-1]].long())
        return rows


def extents(cells: Tensor, scenes: int = 1) -> Tensor:
    """Return (scenes, 2, 3) int64: the smallest of `cells` (m, 4: scene, x, y, z) along each axis, and the largest."""
    scene, place = cells[:, :1].long().expand(-1, 3), cells[:, 1:].long()
    none = place.new_zeros(scenes, 3)
    return torch.stack([none.scatter_reduce(0, scene, place, e, include_self=False) for e in ("amin", "amax")], 1)
