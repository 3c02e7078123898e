"""How features lie in files, a module for each kind: arrays of the scan, the features, and metadata as JSON."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..._util.atomic import claim

Fields = Mapping[str, np.ndarray]
Metadata = Mapping[str, Any] | None

LONGEST = 1 << 20  # bytes of metadata, or of a header


def mapped(path: Path, dtype: Any, shape: tuple[int, ...], head: bytes = b"", tail: bytes = b"") -> np.ndarray:
    """Return an array that lies in a new file between `head` and `tail`; all of it has its place on the disk."""
    kind = np.dtype(dtype)
    end = len(head) + math.prod(shape) * kind.itemsize
    path.write_bytes(head)
    claim(path, end + len(tail))
    if tail:
        with path.open("r+b") as file:
            file.seek(end)
            file.write(tail)
    return np.memmap(path, kind, "r+", len(head), shape)
