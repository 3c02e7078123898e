"""How a table is walked: output rows grouped by the slots that they have, and the pairs of each slot.

A voxel of a room has 10 of its 27 neighbours, but any 128 voxels that follow each other on the Morton curve have
almost all 27 between them: 2.8 times the work. Sorted by which slots they have, the rarest slot first, it is 1.6
times (the finest level of the room in benchmarks/; 1.2 times at the next). Each block of rows then lists its slots,
and the input rows of each. All of it is made on the device without the host waiting, once per table, and kept as
long as the table lives; a table must not be used from two streams that do not wait for each other.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BITS = 62  # slots that the sorting tells apart; those of one table are 27 at most in the network


@dataclass(frozen=True)
class Blocks:
    """Output rows in blocks of `rows`, and what each block reads."""

    rows: int
    order: Tensor  # (m,) int64: output row of each place
    inputs: Tensor  # (blocks, k, rows) int32: input row of each place in the block's i-th slot, or -1
    slots: Tensor  # (blocks, k) int32: the block's slots, those that any of its rows has first, ascending
    counts: Tensor  # (blocks,) int32: how many those are


def blocks(table: Tensor, rows: int) -> Blocks:
    """Return the blocks of `rows` output rows of a table (m, k)."""
    m, k = table.shape
    there = table >= 0
    rarity = there.sum(0).argsort(descending=True, stable=True).argsort().clamp_(max=BITS)
    order = (there.long() << rarity).sum(1).argsort(stable=True)
    inputs = F.pad(table[order], (0, 0, 0, -m % rows), value=-1).view(-1, rows, k).transpose(1, 2)
    used = (inputs >= 0).any(2)
    slots = (~used).to(torch.uint8).argsort(dim=1, stable=True)
    inputs = inputs.gather(1, slots[:, :, None].expand(-1, -1, rows)).contiguous()
    return Blocks(rows, order, inputs, slots.int().contiguous(), used.sum(1, dtype=torch.int32).contiguous())


def pairs(table: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output rows (k, m + 1) int32 that have each slot, ascending, and how many (k,) they are."""
    m, k = table.shape
    there = table.T >= 0
    places = torch.where(there, there.cumsum(1) - 1, m)
    rows = torch.arange(m, dtype=torch.int32, device=table.device).expand(k, m)
    listed = torch.zeros(k, m + 1, dtype=torch.int32, device=table.device).scatter_(1, places, rows)
    return listed, there.sum(1, dtype=torch.int32)
