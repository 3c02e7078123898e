"""Which row of a result belongs to which point of what was given, where some points were left out or taken apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

_BLOCK = 1 << 16  # rows moved at a time


@dataclass(frozen=True, eq=False)
class Part:
    """What was computed of one scene of a scan."""

    rows: Tensor  # (k, c), one per point or per voxel
    owner: Tensor | None  # (n,), the row of each point, where there is one per voxel
    places: Tensor | None  # (n,), the row of the scan that each point is; None where all are there in their order
    total: int | None
    """How many points the scan has, where those without a position get NaN, or -1 as their voxel; else None."""


def whole(parts: Sequence[Part]) -> tuple[Tensor, Tensor | None]:
    """Return the rows of a scan, of all its scenes, and their owners where they are voxels'.

    >>> rows, places = torch.tensor([[1.0], [2.0]]), torch.tensor([2, 0])
    >>> whole([Part(rows, None, places, 3)])[0].tolist()
    [[2.0], [nan], [1.0]]
    """
    first = parts[0]
    if len(parts) == 1 and (first.places is None or first.total is None):
        return first.rows, first.owner
    places, total = torch.cat([part.places for part in parts if part.places is not None]), first.total
    if total is None:
        places, total = places.argsort().argsort(), len(places)
    rows = first.rows if len(parts) == 1 else torch.cat([part.rows for part in parts])
    if first.owner is None:
        empty = rows.new_full((total, rows.shape[1]), float("nan"))
        return empty.index_copy(0, places.to(rows.device), rows), None
    firsts = accumulate((len(part.rows) for part in parts), initial=0)
    owners = [part.owner + start for part, start in zip(parts, firsts, strict=False) if part.owner is not None]
    owner = torch.cat(owners)
    return rows, owner.new_full((total,), -1).index_copy(0, places.to(owner.device), owner)


def spread(out: np.ndarray, rows: np.ndarray) -> None:
    """Move the first rows of `out` to the places `rows`, ascending, and fill the others with NaN; needs no memory.

    >>> out = np.array([[1.0], [2.0], [0.0], [0.0]])
    >>> spread(out, np.array([1, 3]))
    >>> out.tolist()
    [[nan], [1.0], [nan], [2.0]]
    """
    for stop in range(len(rows), 0, -_BLOCK):  # from the back, where no row is still needed
        start = max(stop - _BLOCK, 0)
        out[rows[start:stop]] = out[start:stop].copy()
    missing = np.ones(len(out), dtype=bool)
    missing[rows] = False
    out[missing] = np.nan
