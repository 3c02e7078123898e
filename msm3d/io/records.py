"""Records of a fixed size, one for each point, as binary PLY, PCD and LAS hold them."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from . import limits

_BYTES = 1 << 19  # at a time: what is made of them finds them in a core's cache


def pieces(stream: BinaryIO, record: np.dtype, count: int) -> Iterator[np.ndarray]:
    """Return the next `count` records of a file in pieces (k,), each of which overwrites the one before it.

    Raises:
        FileError: the file does not hold as many; before anything is read.
    """
    size, there = record.itemsize, limits.left(stream)
    limits.whole(there >= count * size, f"{count} points of {size} bytes", f"{max(there, 0)} bytes of them")
    return _pieces(stream, record, count)


def _pieces(stream: BinaryIO, record: np.dtype, count: int) -> Iterator[np.ndarray]:
    size = record.itemsize
    room = np.empty(min(count, max(1, _BYTES // size)), record)
    flat = room.view(np.uint8)
    for start in range(0, count, len(room)):
        wanted = min(count - start, len(room)) * size
        got = stream.readinto(flat[:wanted].data)  # pyright: ignore[reportAttributeAccessIssue]
        limits.whole(got == wanted, f"{count} points", "fewer")
        yield room[: wanted // size]
