"""Text: one point a line, values set apart by white space, commas or semicolons; also what ascii PLY and PCD hold."""

from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import FileError
from ..reading import ReadOptions
from . import columns

_LAYOUTS = {
    3: ("x", "y", "z"),
    4: ("x", "y", "z", "intensity"),
    6: ("x", "y", "z", "red", "green", "blue"),
    7: ("x", "y", "z", "intensity", "red", "green", "blue"),
    9: ("x", "y", "z", "red", "green", "blue", "nx", "ny", "nz"),
}


def content(file: Path, options: ReadOptions) -> dict[str, np.ndarray]:
    """Return the arrays by field name: columns by the header's names where it has one, else by their number."""
    with file.open("rb") as stream:
        start = 3 if stream.read(3) == b"\xef\xbb\xbf" else 0  # a byte order mark
        stream.seek(start)
        head = [line.decode("latin-1").strip() for line in islice(stream, 100)]
        names, declared, skip = _head(head)
        delimiter = next((mark for mark in ",;" if mark in head[skip]), None)
        width = len(head[skip].split(delimiter))
        stream.seek(start)
        for _ in islice(stream, skip):
            pass
        data = table(stream, width, declared, delimiter)
    if names is None:
        if width not in _LAYOUTS:
            raise FileError(
                f"has {width} columns; give 3 (xyz), 4 (xyz, intensity), 6 (xyz, rgb), 7 (xyz, intensity, rgb), "
                "9 (xyz, rgb, normal), or a first line with their names."
            )
        names = list(_LAYOUTS[width])
        if width == 6 and _unit(data[:, 3:]):
            names[3:] = ["nx", "ny", "nz"]
    if len(names) != width:
        raise FileError(f"names {len(names)} columns but its lines have {width}; give one name per column.")
    return columns.fields({name: data[:, i] for i, name in enumerate(names)})


def table(stream: BinaryIO, width: int, count: int | None, delimiter: str | None = None) -> np.ndarray:
    """Return the next `count` lines of numbers, or all for None, as (n, width) float64.

    Raises:
        FileError: a line has another number of values, or one that is no number; or there are fewer lines.
    """
    start = stream.tell()
    there = stream.seek(0, 2) - start
    stream.seek(start)
    if count is not None and there < count * 2 * width - 1:  # a digit and a space per value
        raise FileError(f"declares {count} points but holds {there} bytes of them; it is truncated, export it again.")
    try:
        data = np.loadtxt(stream, delimiter=delimiter, comments="#", ndmin=2, max_rows=count, encoding="latin-1")
    except ValueError as error:
        raise FileError(
            f"has a line that is not {width} numbers ({str(error).rstrip('.')}); correct or remove it."
        ) from error
    if count is not None and len(data) < count:
        raise FileError(f"declares {count} points but holds {len(data)}; it is truncated, export it again.")
    if data.shape[1] != width:
        raise FileError(f"has lines of {data.shape[1]} values where {width} are declared; export it again.")
    return data


def typed(values: np.ndarray, kind: str) -> np.ndarray:
    """Return float64 values as the type a header declares, or wider where they do not fit it."""
    if kind[0] in "iu" and np.isfinite(values).all():
        return values.astype(kind if kind == "u2" and values.min() >= 0 and values.max() < 1 << 16 else np.int64)
    return values.astype(kind) if kind == "f4" else values


def _head(lines: list[str]) -> tuple[list[str] | None, int | None, int]:
    """Return the names of the columns and the number of points, if the file says them, and the line of the first."""
    names, declared = None, None
    for i, line in enumerate(lines):
        values = line.lstrip("#/").replace(",", " ").replace(";", " ").replace('"', " ").split()
        if {"x", "y", "z"} <= {value.lower() for value in values}:
            names = values
        elif not values or line[0] in "#/":
            continue
        elif len(values) == 1 and values[0].isdecimal() and declared is None:
            declared = int(values[0])  # PTS starts with it
        elif _is_number(values[0]):
            return names, declared, i
        else:
            raise FileError(f"has the line {line[:80]!r}; give numbers, after at most one line of column names.")
    raise FileError("holds no line of numbers; give one point per line: x y z, or x y z red green blue.")


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _unit(vectors: np.ndarray) -> bool:
    """Tell normals from colours: of unit length, with a negative part somewhere."""
    lengths = np.linalg.norm(vectors, axis=1)
    return bool((vectors < 0).any() and (np.abs(lengths - 1) < 0.01).mean() > 0.9)
