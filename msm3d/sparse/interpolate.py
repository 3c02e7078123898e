"""Features per level to descriptors: levels are read at the centre of each finest voxel, never from a dense grid."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..ops import Backend
from .hierarchy import Hierarchy

Read = tuple[Tensor, Tensor]  # rows (r, 8 or 1) of a level, and their weights


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
    """Return the `levels` of `features`, (m_l, c_l) fine to coarse, read at finest voxels, side by side: (r, sum c_l).

    `rows` (r,) are the voxels to read, all by default; where there is an `owner` (n,), each point takes the row of the
    voxel that it names. What `dtype` and `out` are, `Backend.blend` says.
    """
    tables, weights = zip(*(corners(hierarchy, level, sampling, ops, rows) for level in levels), strict=True)
    return ops.blend([features[level] for level in levels], tables, weights, owner, dtype, out)


def corners(hierarchy: Hierarchy, level: int, sampling: str, ops: Backend, at: Tensor | None = None) -> Read:
    """Return the rows (r, 8 or 1) of `level` that are read at the finest voxels `at` (r,), and their weights."""
    ancestors, cells = hierarchy.ancestors()[level], hierarchy.grids[0].cells
    if at is not None:
        ancestors, cells = ancestors[at], cells[at]
    return SAMPLINGS[sampling](hierarchy, level, ops, ancestors, cells)


def _centered(hierarchy: Hierarchy, level: int, ops: Backend, ancestors: Tensor, cells: Tensor) -> Read:
    """Read around u - 1/2, where u is the voxel's centre in cells of the level: a cell's value stands at its centre."""
    if level == 0:  # read where the values stand
        return _parent(hierarchy, level, ops, ancestors, cells)
    return ops.corners(cells, ancestors, hierarchy.grids[level].neighbours, level)


def _published(hierarchy: Hierarchy, level: int, ops: Backend, ancestors: Tensor, cells: Tensor) -> Read:
    """Read around u (s - 1) / s, where s is the scene's extent in cells of the level.

    That is what the released code does by handing coordinates of one convention to `grid_sample(align_corners=True)`:
    it is up to half a cell off, at the coarsest level 16 cm, but it is what the authors' probes were trained on.
    """
    lowest, highest = (hierarchy.extent >> level).unbind(1)
    start = torch.nn.functional.pad(lowest << level, (1, 0)).to(cells)  # of the extent, in finest cells
    extent = (highest - lowest + 1).double()
    at = cells - start[cells[:, 0].long()]
    return ops.corners(at, ancestors, hierarchy.grids[level].neighbours, level, (extent - 1) / extent)


def _parent(_hierarchy: Hierarchy, _level: int, _ops: Backend, ancestors: Tensor, _cells: Tensor) -> Read:
    """Copy the row of the cell that the voxel is in."""
    return ancestors.int()[:, None], torch.ones(len(ancestors), 1, device=ancestors.device)


SAMPLINGS = {"centered": _centered, "published": _published, "parent": _parent}
"""How a level is read at the centres of finest voxels: trilinearly, empty corners counting as zeros, or as it is.

Each returns rows and weights, from the hierarchy, the level, the backend, and of each voxel its cell of the level (r,)
and its own (r, 4).
"""
