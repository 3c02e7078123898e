"""PTX, the text of Leica's scanners: blocks, each a grid of points with the pose of the scanner."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .._util.words import cut
from ..errors import FileError
from ..scan.options import ReadOptions
from . import limits, stations, text

SUFFIXES = (".ptx",)
TITLE = "PTX"
NOTE = "all blocks, each with its viewpoint"

_LINES = 1_000_000  # at a time
_WIDTHS = (4, 7)  # x y z intensity, and r g b behind them


def content(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the points' arrays by field name, each block in the frame that its matrix leads to.

    A cell of the grid is a row, also where nothing came back, which is written as 0 0 0. Intensity is not a colour.
    """
    with file.open("rb") as stream:
        if stream.read(3) != b"\xef\xbb\xbf":  # a byte order mark
            stream.seek(0)
        parts = list(_blocks(stream))
    if not parts:
        raise FileError("does not start with a number of columns and one of rows; it is not a PTX file.")
    return stations.joined(parts)


def _blocks(stream: BinaryIO) -> Iterator[stations.Part]:
    number = 0
    while first := next((line for line in stream if line.strip()), b""):
        number += 1
        wide, high = _whole(first, number), _whole(next(stream, b""), number)
        head = [_numbers(next(stream, b""), number) for _ in range(8)]
        if wide * high == 0:
            raise FileError(f"declares 0 points in its block {number}; there is nothing to read.")
        if [len(line) for line in head] != [3] * 4 + [4] * 4:
            raise FileError(
                f"has no position, three axes and matrix of 4 x 4 in its block {number}; it is truncated or damaged, "
                "export it again."
            )
        coord, color = _points(stream, wide * high)
        pose, place = _pose(np.array(head[4:]), number), np.array(head[0])
        if not np.array_equal(pose, np.eye(4)):
            coord, place = coord @ pose[:3, :3] + pose[3, :3], pose[3, :3]
        known = place.any() or (wide > 1 and high > 1)  # lists without a grid are no scanner's, and the origin is none
        yield stations.Part(coord, color, place if known and np.isfinite(place).all() else None)


def _whole(line: bytes, number: int) -> int:
    word = line.strip()
    if not word.isdigit() or len(word) > 9:
        found = cut(line.decode("latin-1").strip()) or "nothing"
        raise FileError(
            f"has {found} where its block {number} needs a number of columns, then one of rows; it is truncated or not "
            "a PTX file, export it again."
        )
    return int(word)


def _numbers(line: bytes, number: int) -> list[float]:
    try:
        return [float(word) for word in line.split()]
    except ValueError as error:
        found = cut(line.decode("latin-1").strip())
        raise FileError(f"has the line {found!r} in the head of its block {number}; export it again.") from error


def _pose(matrix: np.ndarray, number: int) -> np.ndarray:
    """Return the matrix (4, 4) that rows are multiplied by; some write its transpose, which the zeros tell.

    >>> _pose(np.array([[1, 0, 0, 5.0], [0, 1, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]]), 1)[3].tolist()
    [5.0, 6.0, 7.0, 1.0]
    """
    for found in (matrix, matrix.T):
        turn = found[:3, :3]
        if found[:, 3].tolist() == [0, 0, 0, 1] and np.isfinite(found).all() and abs(np.linalg.det(turn)) > 1e-6:
            return found
    raise FileError(f"has a matrix in its block {number} that is not a pose; export it again.")


def _points(stream: BinaryIO, count: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return places and colours of the next `count` lines."""
    start = stream.tell()
    width = len(stream.readline(1 << 12).split())
    stream.seek(start)
    if width not in _WIDTHS:
        raise FileError(
            f"has lines of {width} values; 4 (x y z intensity) or 7 (with r g b) are needed, export it again."
        )
    there = limits.left(stream)
    limits.whole(there >= count * 2 * width - 1, f"{count} points", f"{there} bytes of them")
    limits.fits(count * 27, f"declares {count} points")
    coord, color = np.empty((count, 3)), np.empty((count, 3), np.float32) if width == 7 else None
    for done in range(0, count, _LINES):
        table = text.table(stream, width, min(_LINES, count - done))
        rows = slice(done, done + len(table))
        coord[rows] = np.where((table[:, :3] == 0).all(1, keepdims=True), np.nan, table[:, :3])
        if color is not None:
            color[rows] = table[:, 4:]
    return coord, _bytes(color)


def _bytes(color: np.ndarray | None) -> np.ndarray | None:
    """Return colours that are 0-255, as the format says, as bytes; others as they are."""
    if color is None or not ((color >= 0) & (color <= 255) & (color == np.rint(color))).all():
        return color
    return color.astype(np.uint8)
