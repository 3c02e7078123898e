"""Which scene comes when: the same on any number of processes, and after any break."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch

from .processes import ALONE, Group

S = TypeVar("S")


def scene_at(turn: int, scenes: int, seed: int) -> int:
    """Return which of `scenes` comes at `turn`: pass after pass over all, each in an order of its own.

    >>> sorted(scene_at(turn, 3, seed=0) for turn in range(6, 9))
    [0, 1, 2]
    """
    order = torch.Generator().manual_seed((seed << 32) + (1 << 31) + turn // scenes)
    return int(torch.randperm(scenes, generator=order)[turn % scenes])


def turns(step: int, batch: int, scenes: Sequence[S], seed: int, group: Group = ALONE) -> Iterator[tuple[int, S]]:
    """Yield this process's share of the scenes of a step, each with its turn: its number in the whole run from 0.

    >>> [turn for turn, _ in turns(3, 2, "abc", seed=0)]
    [6, 7]
    """
    for turn in range(step * batch + group.rank, (step + 1) * batch, group.size):
        yield turn, scenes[scene_at(turn, len(scenes), seed)]
