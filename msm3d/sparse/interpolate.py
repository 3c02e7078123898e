"""Features per level to descriptors: levels are read at the centre of each finest voxel, never from a dense grid."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..ops import Backend
from .hierarchy import Hierarchy


def descriptors(
    features: Sequence[Tensor],
    hierarchy: Hierarchy,
    levels: Sequence[int],
    sampling: str,
    ops: Backend,
    owner: Tensor | None = None,
    dtype: torch.dtype | None = None,
    rows: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Read `levels` at finest voxels and put them side by side.

    Args:
        features: per level, fine to coarse, (m_l, c_l).
        hierarchy: the grids of these rows.
        levels: which to read, in the order of the result's columns.
        sampling: how levels are read, one of `SAMPLINGS`.
        ops: the backend.
        owner: (n,) which of the voxels read each point takes, for one row per point; None for one per voxel.
        dtype: of the result; that of the features by default.
        rows: (r,) the finest voxels to read; all by default.
        out: contiguous tensor to write the result to.

    Returns:
        (n or r, sum of c_l).
    """
    read = [corners(hierarchy, level, sampling, ops, rows) for level in levels]
    chosen, tables, weights = [features[level] for level in levels], [r for r, _ in read], [w for _, w in read]
    return ops.blend(chosen, tables, weights, owner, dtype, out)


def corners(
    hierarchy: Hierarchy, level: int, sampling: str, ops: Backend, at: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the rows (r, 8 or 1) of `level` that are read at the finest voxels `at` (r,), and their weights.

    Args:
        hierarchy: the grids.
        level: to read.
        sampling: how, one of `SAMPLINGS`.
        ops: the backend.
        at: all voxels by default.
    """
    ancestors, cells = hierarchy.ancestors()[level], hierarchy.grids[0].cells
    if at is not None:
        ancestors, cells = ancestors[at], cells[at]
    return SAMPLINGS[sampling](hierarchy, level, ops, ancestors, cells)


def _centered(
    hierarchy: Hierarchy, level: int, ops: Backend, ancestors: Tensor, cells: Tensor
) -> tuple[Tensor, Tensor]:
    """Read around u - 1/2, where u is the voxel's centre in cells of the level: a cell's value stands at its centre."""
    if level == 0:  # read where the values stand
        return _parent(hierarchy, level, ops, ancestors, cells)
    return ops.corners(cells, ancestors, hierarchy.grids[level].neighbours, level)


def _published(
    hierarchy: Hierarchy, level: int, ops: Backend, ancestors: Tensor, cells: Tensor
) -> tuple[Tensor, Tensor]:
    """Read around u (s - 1) / s, where s is the scene's extent in cells of the level.

    That is what the released code does by handing coordinates of one convention to `grid_sample(align_corners=True)`:
    it is up to half a cell off, at the coarsest level 16 cm, but it is what the authors' probes were trained on.
    """
    lowest, highest = (hierarchy.extent >> level).unbind(1)
    start = torch.nn.functional.pad(lowest << level, (1, 0)).to(cells)  # of the extent, in finest cells
    extent = (highest - lowest + 1).double()
    at = cells - start[cells[:, 0].long()]
    return ops.corners(at, ancestors, hierarchy.grids[level].neighbours, level, (extent - 1) / extent)


def _parent(
    _hierarchy: Hierarchy, _level: int, _ops: Backend, ancestors: Tensor, _cells: Tensor
) -> tuple[Tensor, Tensor]:
    """Copy the row of the cell that the voxel is in."""
    return ancestors.int()[:, None], torch.ones(len(ancestors), 1, device=ancestors.device)


SAMPLINGS = {"centered": _centered, "published": _published, "parent": _parent}
"""How a level is read at the centres of finest voxels: trilinearly, empty corners counting as zeros, or as it is.

Each returns rows and weights, from the hierarchy, the level, the backend, and of each voxel its cell of the level (r,)
and its own (r, 4).
"""
