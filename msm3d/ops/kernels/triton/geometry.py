"""Tables on the device of the keys: the host waits once, for the sizes of all levels together."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from ..reference.geometry import root_neighbours
from .launch import on

ROWS = 64


@triton.jit
def _finer_neighbours(keys, parents, children, neighbours, out, m, ROWS: tl.constexpr):
    """What is around a voxel are children of what is around its parent."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    slot = tl.arange(0, 32)[None]
    live = rows < m
    octant = (tl.load(keys + rows, live, 0) & 7).to(tl.int32)[:, None]
    parent = tl.load(parents + rows, live, 0).to(tl.int64)[:, None]
    # The steps -1, 0 and 1 along x, y and z from the octant: 0 to 3, of which 1 and 2 lie within the parent.
    x, y, z = (octant >> 2) + slot // 9, (octant >> 1 & 1) + slot // 3 % 3, (octant & 1) + slot % 3
    beside = (x + 1 >> 1) * 9 + (y + 1 >> 1) * 3 + (z + 1 >> 1)
    within = (x + 1 & 1) * 4 + (y + 1 & 1) * 2 + (z + 1 & 1)
    inside = live[:, None] & (slot < 27)
    above = tl.load(neighbours + parent * 27 + beside, inside, -1).to(tl.int64)
    found = tl.load(children + above * 8 + within, inside & (above >= 0), -1)
    tl.store(out + rows[:, None] * 27 + slot, found, inside)


def octree(keys: Tensor, levels: int) -> list[tuple[Tensor, Tensor | None, Tensor | None, Tensor]]:
    """Return what `reference.octree` does."""
    changed = [(keys[1:] >> 3 * level != keys[:-1] >> 3 * level) for level in range(1, levels)]
    counts = torch.stack([c.sum() for c in changed]).tolist() if changed else []
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
    neighbours = root_neighbours(fine, levels - 1)
    tables = [(*chain[-1], neighbours)]
    for (keys, parents, below), (_, _, children) in zip(chain[-2::-1], chain[:0:-1], strict=True):
        around = torch.empty(len(keys), 27, dtype=torch.int32, device=keys.device)
        if len(keys):
            with on(keys):
                _finer_neighbours[(triton.cdiv(len(keys), ROWS),)](
                    keys, parents, children, neighbours, around, len(keys), ROWS=ROWS
                )
        tables.append((keys, parents, below, around))
        neighbours = around
    return tables[::-1]
