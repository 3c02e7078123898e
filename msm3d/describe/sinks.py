"""Where rows go as they are read: each sink gets them there its own way, and returns all of them at the end."""

import functools
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .._util.mapped import Mapped
from .regions import Rows

BLOCK = 1 << 17  # rows of a result that leave a GPU at a time: 0.5 GB of the published descriptors
PIECE = 1 << 25  # bytes that are written to a file at a time


class Sink(ABC):
    """Takes rows, in any order, until it has all of them."""

    most: int | None = None  # how many rows it takes at a time; None takes those of a region at once

    def write(self, blocks: Iterable[Rows]) -> None:
        """Take the rows of a region."""
        for rows in blocks:
            self._put(rows)

    @abstractmethod
    def _put(self, rows: Rows) -> None:
        """Read some rows and bring them to their place, now or later."""

    def settle(self) -> None:  # noqa: B027  # most have nothing to do
        """Bring what was read to its place, now that the memory of the region's features is free again."""

    @abstractmethod
    def result(self) -> Tensor:
        """Return all rows (n, c), once all were written."""


class Kept(Sink):
    """Keeps the rows of the only region where they were computed, in the memory that they were read to."""

    def _put(self, rows: Rows) -> None:
        self._rows = rows.read()

    def result(self) -> Tensor:  # noqa: D102  # as of any sink
        return self._rows


class Filled(Sink):
    """Fills a tensor on the CPU from the CPU: rows that lie there in one piece are read right to it.

    >>> sink = Filled(torch.empty(3, 1))
    >>> sink.write([Rows(torch.tensor([2, 0]), lambda: torch.ones(2, 1)), Rows(slice(1, 2), lambda out: out.zero_())])
    >>> sink.result().tolist()
    [[1.0], [0.0], [1.0]]
    """

    def __init__(self, target: Tensor) -> None:
        self._target = target
        self._waiting: list[tuple[slice | Tensor, Tensor]] = []

    def _put(self, rows: Rows) -> None:
        if isinstance(rows.places, slice) and self._target[rows.places].is_contiguous():
            rows.read(out=self._target[rows.places])
        else:
            self._waiting.append((rows.places, rows.read()))

    def settle(self) -> None:  # noqa: D102
        while self._waiting:
            places, rows = self._waiting.pop()
            self._target[places] = rows

    def result(self) -> Tensor:  # noqa: D102
        self.settle()
        return self._target


class Written(Sink):
    """Fills an array that is mapped from a file, from the CPU: whole rows go there by `write`, through two buffers.

    New pages of a map are found and cleared one by one as they are touched, which takes longer than all the rest of
    reading; the system's own writing of a buffer does not.
    """

    def __init__(self, target: Mapped, file: Path, rows: int) -> None:
        self._map, self._file, self._rows = target, file, rows
        self._row = target.shape[1] * target.dtype.itemsize
        self.most = most = max(PIECE // self._row, 1)
        self._buffers = deque(torch.from_numpy(np.empty((most, target.shape[1]), target.dtype)) for _ in range(2))
        self._writer, self._under_way = ThreadPoolExecutor(1), deque[Future[None]]()

    def _put(self, rows: Rows) -> None:
        if not isinstance(rows.places, slice):
            self._map[rows.places.numpy()] = rows.read().numpy()
            return
        if len(self._under_way) == len(self._buffers):
            self._under_way.popleft().result()
        self._buffers.rotate(1)
        block = self._buffers[0][: rows.places.stop - rows.places.start]
        rows.read(out=block)
        at = self._map.offset + rows.places.start * self._row
        self._under_way.append(self._writer.submit(_write, self._file, block, at))

    def result(self) -> Tensor:  # noqa: D102
        while self._under_way:
            self._under_way.popleft().result()
        return torch.from_numpy(self._map[: self._rows])


def _write(path: Path, block: Tensor, at: int) -> None:
    """Write all of a block to a file, from the byte `at` on."""
    left = memoryview(block.numpy()).cast("B")
    with path.open("r+b", buffering=0) as file:
        while left:
            done = os.pwrite(file.fileno(), left, at)
            left, at = left[done:], at + done


class Fetched(Sink):
    """Fills a tensor on the CPU from a GPU: each block of rows is copied while the next one is computed.

    A block goes to page-locked memory on a stream of its own, and from there to its place once the next one is under
    way. Not run on a GPU yet.
    """

    def __init__(self, target: Tensor) -> None:
        self._target, self.most = target, BLOCK
        self._under_way: deque[tuple[slice | Tensor, Tensor, torch.cuda.Event]] = deque()

    def _put(self, rows: Rows) -> None:
        read = rows.read()
        if read.is_cuda:
            self._under_way.append((rows.places, *_sent(read)))
        else:
            self._target[rows.places] = read
        if len(self._under_way) > 1:
            self._land()

    def result(self) -> Tensor:  # noqa: D102
        while self._under_way:
            self._land()
        return self._target

    def _land(self) -> None:
        places, rows, arrived = self._under_way.popleft()
        arrived.synchronize()
        self._target[places] = rows


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
