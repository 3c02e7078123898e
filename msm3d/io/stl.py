"""STL, binary or ascii: a vertex is written once for each of its triangles, and read once."""

import re
import struct
from pathlib import Path

import numpy as np

from ..errors import FileError
from .surface import Mesh, merged
from .text import rows

_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")])


def mesh(file: Path) -> Mesh:
    """Return what an STL file holds."""
    data = file.read_bytes()
    count = struct.unpack_from("<I", data, 80)[0] if len(data) >= 84 else 0
    size = 84 + count * _TRIANGLE.itemsize
    if count and size <= len(data) and (size == len(data) or not data.lstrip().startswith(b"solid")):
        corners = np.frombuffer(data, _TRIANGLE, count, 84)["corners"].reshape(-1, 3)
    elif data.lstrip().startswith(b"solid"):
        lines = re.findall(rb"^\s*vertex[ \t]+([^\n]*)", data, re.MULTILINE | re.IGNORECASE)
        corners = rows(lines) if lines else np.zeros((0, 3))
        if corners.shape[1] != 3 or len(corners) % 3 or len(corners) != len(lines):
            raise FileError("has triangles that are not three vertices of three numbers; export it again.")
    else:
        raise FileError(
            f"declares {count} triangles of 50 bytes but holds {max(len(data) - 84, 0)} bytes of them; "
            "it is not STL or truncated, export it again."
        )
    if not len(corners):
        raise FileError("holds no vertices; there is nothing to read.")
    return merged(Mesh(coord=corners.astype(np.float64), faces=np.arange(len(corners)).reshape(-1, 3)))
