"""Features per level to descriptors: trilinear reading at the centre of each finest voxel, never a dense grid."""

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
        sampling: "centered" or "published", see `corners`.
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
    """Return the rows (r, 8 or 1) of `level` around the centres of the finest voxels `at` (r,), and their weights.

    With u the centre in units of the level's cells, "centered" reads at u - 1/2, where a cell's value stands at its
    centre. "published" reads at u (s - 1) / s, s cells being the scene's extent, as the released code does by handing
    coordinates of one convention to `grid_sample(align_corners=True)`: it is up to half a cell off, at the coarsest
    level 16 cm, but it is what the authors' probes were trained on. Empty corners count as zeros in both.
    """
    grid, ancestors, cells = hierarchy.grids[level], hierarchy.ancestors()[level], hierarchy.grids[0].cells
    if at is not None:
        ancestors, cells = ancestors[at], cells[at]
    if sampling == "published":
        lowest, highest = (hierarchy.extent >> level).unbind(1)
        start = torch.nn.functional.pad(lowest << level, (1, 0)).to(cells)  # of the extent, in finest cells
        extent = (highest - lowest + 1).double()
        return ops.corners(cells - start[cells[:, 0].long()], ancestors, grid.neighbours, level, (extent - 1) / extent)
    if level == 0:  # read where the values stand
        return ancestors.int()[:, None], torch.ones(len(ancestors), 1, device=ancestors.device)
    return ops.corners(cells, ancestors, grid.neighbours, level)
