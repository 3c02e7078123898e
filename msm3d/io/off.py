"""OFF: vertices, with colours (COFF) and normals (NOFF) where there are, and polygons."""

import re
from pathlib import Path

import numpy as np

from .._util.words import cut
from ..errors import FileError
from . import limits
from .surface import Mesh, Paint, fans
from .text import rows


def mesh(file: Path) -> Mesh:
    """Return what an OFF file holds."""
    data = re.sub(rb"#[^\n]*", b"", file.read_bytes())
    head = re.match(rb"\s*(ST)?(C)?(N)?OFF\b[ \t]*(BINARY)?", data)
    if not head or head[4]:
        raise FileError("does not start with 'OFF', followed by text; export it as ascii OFF, or as PLY.")
    lines = [line for line in data[head.end() :].splitlines() if line.strip()]
    counts = lines[0].split()[:2] if lines else []
    if len(counts) < 2 or not all(word.isdigit() and len(word) < 19 for word in counts):
        raise FileError("does not declare its numbers of vertices and faces; export it again.")
    count, number = map(int, counts)
    there = len(lines) - 1
    limits.whole(count + number <= there, f"{count} vertices and {number} faces", f"{there} lines")
    if not count:
        raise FileError("declares 0 vertices; there is nothing to read.")
    try:
        table = rows(lines[1 : count + 1])
        faces, plain = _faces(lines[count + 1 : count + 1 + number])
    except FileError:
        raise
    except (ValueError, IndexError, OverflowError) as error:
        raise FileError(f"has a line that is not the numbers of a vertex or a face ({cut(error)}).") from error
    normal = table[:, 3:6] if head[3] else None
    color = table[:, 6 if head[3] else 3 :][:, :3] if head[2] else None
    if table.shape[1] < 3 or any(part is not None and part.shape[1] != 3 for part in (normal, color)):
        raise FileError(f"has vertices of {table.shape[1]} numbers, fewer than its first line says; export it again.")
    paint = Paint(plain=plain) if color is None and not np.isnan(plain).all() else None
    return Mesh(coord=table[:, :3], faces=faces, color=color, normal=normal, paint=paint)


def _faces(lines: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return the triangles, and the colours 0-255 of each, NaN where a face has none."""
    words = [line.split() for line in lines]
    sizes = np.array([int(row[0]) for row in words], dtype=np.int64)
    if (sizes < 1).any() or any(len(row) <= size for row, size in zip(words, sizes, strict=True)):
        raise FileError("has a face with fewer vertices than it declares; export it again.")
    flat = np.fromiter((int(word) for row in words for word in row[1 : int(row[0]) + 1]), np.int64)
    plain = np.full((len(lines), 3), np.nan)
    for i, row in enumerate(words):
        color = row[int(row[0]) + 1 :][:3]
        if len(color) == 3:
            plain[i] = [float(word) for word in color]
            if any(b"." in word for word in color):
                plain[i] *= 255  # by the format, integers are 0 to 255 and others 0 to 1
    corners, polygon = fans(sizes)
    return flat[corners] if len(corners) else np.zeros((0, 3), dtype=np.int64), plain[polygon]
