"""Tables between voxels by sorting and searching."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import curves
from ...contract import Levels, Tensors


def lookup(keys: Tensor, queries: Tensor) -> Tensor:
    """Return each query's row by binary search."""
    if len(keys) == 0:
        return torch.full_like(queries, -1, dtype=torch.int32)
    rows = torch.searchsorted(keys, queries.contiguous()).clamp_(max=len(keys) - 1)
    return torch.where(keys[rows] == queries, rows, -1).to(torch.int32)


def group(keys: Tensor, columns: Tensors) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distinct keys, the group of each row and the row picked from each group."""
    unique, owner = torch.unique(keys, return_inverse=True)
    left = torch.arange(len(keys), device=keys.device)
    for column in columns:
        if len(left) == len(unique):
            break
        values, groups = column[left].double(), owner[left]
        least = values.new_full((len(unique),), torch.inf).scatter_reduce_(0, groups, values, "amin")
        left = left[values == least[groups]]
    picks = torch.full_like(unique, len(keys)).scatter_reduce_(0, owner[left], left, "amin")  # the rest are twins
    return unique, owner, picks


def octree(keys: Tensor, levels: int) -> Levels:
    """Return each level's keys, parents, children and neighbours."""
    return grown(keys, levels, _finer_neighbours)


def grown(keys: Tensor, levels: int, finer: Callable[..., Tensor]) -> Levels:
    """Return what `octree` does; `finer` makes the neighbours of a level from those of the coarser one."""
    changed = [keys[1:] >> 3 * level != keys[:-1] >> 3 * level for level in range(1, levels)]
    counts = torch.stack([c.sum() for c in changed]).tolist() if changed else []  # on a GPU the host waits here alone
    chain: list[tuple[Tensor, Tensor | None, Tensor | None]] = []
    fine, children = keys, None
    for count in counts:
        size = count + 1 if len(keys) else 0
        parents = F.pad((fine[1:] >> 3 != fine[:-1] >> 3).cumsum(0), (min(len(fine), 1), 0))
        coarse = fine.new_empty(size).scatter_(0, parents, fine >> 3)
        chain.append((fine, parents.int(), children))
        rows = torch.arange(len(fine), dtype=torch.int32, device=fine.device)
        children = fine.new_full((size * 8,), -1, dtype=torch.int32)
        children = children.scatter_(0, parents * 8 + (fine & 7), rows).view(size, 8)
        fine = coarse
    chain.append((fine, None, children))
    neighbours = lookup(fine, curves.around(fine, levels - 1))
    found = [(*chain[-1], neighbours)]
    for (keys, parents, below), (_, _, children) in zip(chain[-2::-1], chain[:0:-1], strict=True):
        neighbours = finer(keys, parents, children, neighbours)
        found.append((keys, parents, below, neighbours))
    return found[::-1]


def corners(
    cells: Tensor, ancestors: Tensor, neighbours: Tensor, level: int, scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the rows and the weights of a trilinear reading."""
    position = (cells[:, 1:].double() + 0.5) / 2**level
    if scale is None:
        position -= 0.5
    else:
        position *= scale[cells[:, 0].long()]
    low = position.floor()
    high = (position - low).float()
    lowest = low.int() - (cells[:, 1:] >> level) + 1  # 0 or 1: the corners lie among the ancestor's neighbours
    rows = ancestors * 27 + (lowest * lowest.new_tensor([9, 3, 1])).sum(1)
    steps = torch.tensor([0, 1, 3, 4, 9, 10, 12, 13], device=rows.device)
    x, y, z = torch.stack([1 - high, high], 2).unbind(1)
    weights = x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]
    return neighbours.flatten()[rows[:, None] + steps], weights.flatten(1)


# Around a voxel in octant q of its parent, slot s is octant _OCTANT[q, s] of the parent's neighbour _PARENT[q, s].
_AROUND = torch.cartesian_prod(*[torch.arange(-1, 2)] * 3) + torch.cartesian_prod(*[torch.arange(2)] * 3)[:, None]
_PARENT = (((_AROUND >> 1) + 1) * torch.tensor([9, 3, 1])).sum(-1)
_OCTANT = ((_AROUND & 1) * torch.tensor([4, 2, 1])).sum(-1)


def _finer_neighbours(keys: Tensor, parents: Tensor, children: Tensor, neighbours: Tensor) -> Tensor:
    """Neighbours (m, 27) of a level from those of the next coarser one: no search."""
    parent_slot, octant_slot = _PARENT.to(keys.device), _OCTANT.to(keys.device)
    table = torch.empty(len(keys), 27, dtype=torch.int32, device=keys.device)
    children = children.flatten()
    for rows in torch.arange(len(keys), device=keys.device).split(1 << 16):
        octant = keys[rows] & 7
        parent = neighbours[parents[rows]].gather(1, parent_slot[octant])
        child = children[parent.long().clamp_(min=0) * 8 + octant_slot[octant]]
        table[rows] = torch.where(parent < 0, -1, child)
    return table
