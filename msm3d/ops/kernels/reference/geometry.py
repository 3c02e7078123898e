"""Tables between voxels by sorting and searching."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ... import curves


def lookup(keys: Tensor, queries: Tensor) -> Tensor:
    """Return each query's row by binary search."""
    if len(keys) == 0:
        return torch.full_like(queries, -1, dtype=torch.int32)
    rows = torch.searchsorted(keys, queries.contiguous()).clamp_(max=len(keys) - 1)
    return torch.where(keys[rows] == queries, rows, -1).to(torch.int32)


def group(keys: Tensor, columns: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
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


def octree(keys: Tensor, levels: int) -> list[tuple[Tensor, Tensor | None, Tensor | None, Tensor]]:
    """Return each level's keys, parents, children and neighbours."""
    chain: list[tuple[Tensor, Tensor | None, Tensor | None]] = []
    fine, children = keys, None
    for _ in range(levels - 1):
        coarse, parents = torch.unique_consecutive(fine >> 3, return_inverse=True)
        chain.append((fine, parents.to(torch.int32), children))
        children = fine.new_full((len(coarse), 8), -1, dtype=torch.int32)
        children[parents, fine & 7] = torch.arange(len(fine), dtype=torch.int32, device=fine.device)
        fine = coarse
    chain.append((fine, None, children))

    neighbours = root_neighbours(fine, levels - 1)
    tables = [(*chain[-1], neighbours)]
    for level in range(levels - 2, -1, -1):
        keys, parents, _ = chain[level]
        neighbours = _finer_neighbours(keys, parents, chain[level + 1][2], neighbours)
        tables.append((*chain[level], neighbours))
    return tables[::-1]


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


def root_neighbours(keys: Tensor, level: int) -> Tensor:
    """Neighbours (m, 27) of a level that has no coarser one: by search."""
    cells = curves.cells(keys, level)
    steps = torch.tensor([(0, x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)])
    around = cells[:, None] + steps.to(cells)
    inside = (around[..., 1:] >= 0).all(-1) & (around[..., 1:] < 1 << curves.BITS - level).all(-1)
    return lookup(keys, torch.where(inside, curves.morton(around, level), -1))


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
