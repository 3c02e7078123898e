"""Rows on their way from a GPU to the host: each part is copied while the next is computed."""

import functools
from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor


def collect(parts: Iterable[tuple[slice | Tensor, Tensor]], target: Tensor) -> Tensor:
    """Write parts of a result to `target`, which is on the CPU, and return it.

    A part on a GPU goes to page-locked memory on a stream of its own, and from there to its place once the next part
    is under way. Not run on a GPU yet.

    Args:
        parts: places in `target`, as a slice or as rows (p,), and the rows (p, c) themselves, on any device.
        target: (n, c).

    >>> collect([(slice(0, 2), torch.ones(2, 1)), (torch.tensor([2]), torch.zeros(1, 1))], torch.empty(3, 1)).tolist()
    [[1.0], [1.0], [0.0]]
    """
    under_way: deque[tuple[slice | Tensor, Tensor, torch.cuda.Event]] = deque()

    def land() -> None:
        places, rows, arrived = under_way.popleft()
        arrived.synchronize()
        target[places] = rows

    for places, rows in parts:
        if rows.is_cuda:
            under_way.append((places, *_sent(rows)))
        else:
            target[places] = rows
        if len(under_way) > 1:
            land()
    while under_way:
        land()
    return target


def _sent(rows: Tensor) -> tuple[Tensor, torch.cuda.Event]:
    """Start the copy of `rows` to page-locked memory; return it, and what happens when they are there."""
    stream = _stream(rows.device)
    stream.wait_stream(torch.cuda.current_stream(rows.device))
    with torch.cuda.stream(stream):
        locked = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
        locked.copy_(rows, non_blocking=True)
        arrived = stream.record_event()
    rows.record_stream(stream)  # its memory is not given to others before
    return locked, arrived


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
