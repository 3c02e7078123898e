"""Scenes of any size: boxes of coarse cells, each with a halo around it that is computed and thrown away.

Tiles keep the scene's cells, so that every voxel has the neighbours, the parents and the place on the curves that it
has in the whole. What a tile lacks is what lies beyond its halo: a voxel further from there than the convolutions reach
has the same features as without tiles, but for attention, whose windows fill up with other voxels near a seam.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops import curves


@dataclass(frozen=True, eq=False)
class Tile:
    """A part of a scene's finest voxels, and those around them that are computed with it."""

    rows: Tensor  # (k,) int64, ascending: the finest voxels of the tile and its halo
    core: Tensor  # (k,) bool: those whose descriptors are kept; every voxel is in the core of one tile


def tiles(keys: Tensor, levels: int, most: int, halo: int) -> Iterator[Tile]:
    """Cut a scene into tiles of at most `most` voxels, halo included, where one coarsest cell allows it.

    `keys` (m,) are the ascending Morton keys of one scene's finest voxels. Tiles are made of whole cells of the
    coarsest of so many `levels`, the halo of so many around. Their cores are all the voxels, each once.

    >>> keys = torch.arange(8) * 64  # eight cells of 4 voxels a side, along the Morton curve
    >>> [(tile.rows.tolist(), tile.core.tolist()) for tile in tiles(keys, 3, 2, halo=0)][0]
    ([0, 1], [True, True])
    """
    blocks, counts = torch.unique_consecutive(keys >> 3 * (levels - 1), return_counts=True)
    cells = curves.cells(blocks, levels - 1)[:, 1:].long()
    firsts = counts.cumsum(0) - counts
    pending = [(cells.amin(0), cells.amax(0) + 1)]
    while pending:
        low, high = pending.pop()
        inside = ((cells >= low) & (cells < high)).all(1)
        if not inside.any():
            continue
        low, high = cells[inside].amin(0), cells[inside].amax(0) + 1
        around = ((cells >= low - halo) & (cells < high + halo)).all(1)
        side, axis = (high - low).max(0)
        if counts[around].sum() > most and side > 1:
            along = cells[inside, axis]
            order = along.argsort()
            half = counts[inside][order].cumsum(0)
            middle = along[order][torch.searchsorted(half, half[-1] // 2)].clamp(min=int(low[axis]) + 1)
            left, right = high.clone(), low.clone()
            left[axis], right[axis] = middle, middle
            pending += [(right, high), (low, left)]
            continue
        lengths = counts[around]
        rows = torch.repeat_interleave(firsts[around] - (lengths.cumsum(0) - lengths), lengths)
        rows += torch.arange(len(rows))
        yield Tile(rows, torch.repeat_interleave(inside[around], lengths))
