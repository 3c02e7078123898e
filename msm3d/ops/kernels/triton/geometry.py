"""Tables on the device of the keys."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..gpu import on
from .launch import jit

ROWS = 64


@jit
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


def finer(keys: Tensor, parents: Tensor, children: Tensor, neighbours: Tensor) -> Tensor:
    """Return the neighbours (m, 27) of a level from those of the next coarser one."""
    around = torch.empty(len(keys), 27, dtype=torch.int32, device=keys.device)
    if len(keys):
        with on(keys):
            _finer_neighbours[(triton.cdiv(len(keys), ROWS),)](
                keys, parents, children, neighbours, around, len(keys), ROWS=ROWS
            )
    return around
