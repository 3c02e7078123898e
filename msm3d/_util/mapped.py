"""Arrays that lie in a new file, which others cannot reach yet."""

import math
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import claim


class Mapped(np.memmap):
    """An array in a file whose name is ours until it is whole, so that `write` reaches it as well as the map does."""

    def file(self) -> Path | None:
        """Return the file of which this is a map; None for a part of one, or for what was computed from it."""
        whole = isinstance(self.base, mmap) and self.flags.c_contiguous and self.mode == "r+"
        return Path(self.filename) if whole and self.filename is not None else None


def mapped(path: Path, dtype: Any, shape: tuple[int, ...], head: bytes = b"", tail: bytes = b"") -> np.memmap:
    """Return an array that lies in a new file between `head` and `tail`; all of it has its place on the disk."""
    kind = np.dtype(dtype)
    end = len(head) + math.prod(shape) * kind.itemsize
    path.write_bytes(head)
    claim(path, end + len(tail))
    if tail:
        with path.open("r+b") as file:
            file.seek(end)
            file.write(tail)
    return Mapped(path, kind, "r+", len(head), shape)
