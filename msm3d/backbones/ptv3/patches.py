"""Which voxels attend to each other: runs along a space-filling curve that, unlike windows, do not overlap."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ...ops import curves
from ...sparse.hierarchy import Grid

CURVES = "xyz-z", "yxz-z", "xyz-hilbert", "yxz-hilbert"
"""Block i of a level attends along curve i, cyclically [`order` in all released configurations]."""


@dataclass(frozen=True, eq=False)
class Patches:
    """The rows of a level one patch after another."""

    rows: Tensor  # (k,) int64: of which row of the level each entry is; some rows are there twice
    place: Tensor  # (m,) int64: the entry that answers for each row
    offsets: Sequence[int]  # first entry of each patch, and k

    @classmethod
    def along(cls, keys: Tensor, scenes: Sequence[int], size: int) -> "Patches":
        """Cut the rows of every scene, sorted by `keys` (m,) on a curve, into patches of `size`.

        A scene's last patch is filled with the rows before it: they are attended to, and answer in their own patch.
        A scene smaller than a patch is one. `scenes` are the first row of each, and m.

        Source: `SerializedAttention` of the released code where it attends by flash attention.

        >>> patches = Patches.along(torch.arange(5), [0, 5], 3)
        >>> patches.rows.tolist(), patches.place.tolist(), patches.offsets
        ([0, 1, 2, 2, 3, 4], [0, 1, 2, 4, 5], [0, 3, 6])
        """
        order = keys.argsort()
        rows, own, offsets = [], [], [0]
        for start, stop in pairwise(scenes):
            full = start + (stop - start) // size * size
            fill = stop - size if start < full < stop else full  # where the last patch begins
            first = offsets[-1]
            rows += [order[start:full], order[fill:stop]]
            own += [
                torch.arange(first, first + full - start),
                torch.arange(full - fill, stop - fill) + first + full - start,
            ]
            offsets += [*range(first + size, first + full - start + 1, size)]
            offsets += [offsets[-1] + stop - fill] if full < stop else []
        place = torch.empty_like(order).scatter_(0, order, torch.cat(own).to(order))
        return cls(torch.cat(rows), place, offsets)


def bits(extent: Tensor, level: int) -> Tensor:
    """Return the depth (scenes,) of the curves of a level, in bits per axis, for the `extents` of the finest one.

    Source: released code, of the scene alone; there, scenes of one batch share the depth of the largest.

    >>> bits(torch.tensor([[[0, 0, 0], [6, 2, 1]], [[0, 0, 0], [7, 2, 1]]]), 0).tolist()
    [3, 4]
    """
    return ((extent[:, 1] >> level).amax(1) + 1).double().frexp().exponent.long()


def curve_keys(cells: Tensor, curve: str, depth: Tensor) -> Tensor:
    """Return the keys of `cells` (m, 4: scene, x, y, z) along a curve of `CURVES`, `depth` (scenes,) bits deep.

    The Hilbert curve in one octant of a larger one runs as the larger does with its axes turned once; so a curve of
    few bits is that of `curves.BITS` with the axes turned back.
    """
    axes, kind = curve.split("-")
    scene, place = cells[:, :1].long(), cells[:, 1:].long()
    place = place[:, ["xyz".index(axis) for axis in axes]]
    if kind == "hilbert":
        turns = (curves.BITS - depth)[scene] % 3
        place = place.gather(1, (torch.arange(3, device=place.device) + turns) % 3)
    return curves.curve_keys(torch.cat([scene, place], 1), f"xyz-{kind}")


def patches(grid: Grid, extent: Tensor, size: int, curve: str) -> Patches:
    """Return the patches of a level along a curve, for the `extents` of the whole scenes."""
    return Patches.along(curve_keys(grid.cells, curve, bits(extent, grid.level)), grid.offsets, size)
