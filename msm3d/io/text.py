"""Text: one point a line, values set apart by white space, commas or semicolons; also what ascii PLY and PCD hold."""

import re
import warnings
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .._util.words import cut, warn
from ..errors import FileError
from ..scan import columns
from ..scan.options import ReadOptions
from . import limits

SUFFIXES = (".txt", ".xyz", ".pts", ".csv")
TITLE = "TXT, XYZ, PTS, CSV"

_LAYOUTS = {3: "x y z", 4: "x y z intensity", 6: "x y z red green blue", 7: "x y z intensity red green blue"}
_LAYOUTS[9] = "x y z red green blue nx ny nz"


def content(file: Path, options: ReadOptions) -> dict[str, np.ndarray]:
    """Return the arrays by field name: columns by the header's names where it has one, else by their number."""
    with file.open("rb") as stream:
        start = 3 if stream.read(3) == b"\xef\xbb\xbf" else 0  # a byte order mark
        stream.seek(start)
        head = [line.decode("latin-1").strip() for line in islice(stream, 100)]
        header, declared, skip = _head(head)
        delimiter, comma = _separators(head[skip:])
        width = len(head[skip].split(delimiter))
        odd = header is None and any(re.search(r"(^|,)\s*-?0\d", line) for line in head[skip:])  # 0,548,1,234,0,000
        if delimiter == "," and odd:
            raise FileError("has commas both between numbers and before decimals; export it with points or semicolons.")
        stream.seek(start)
        for _ in islice(stream, skip):
            pass
        data = table(stream, width, declared, delimiter, comma)
        if declared is not None:
            data = _all_blocks(file, stream, data, delimiter, comma)
    if header is not None:
        names = _names(header, delimiter, head[skip])
    elif width in _LAYOUTS:
        names = _guessed(file, data)
    else:
        raise FileError(
            f"has {width} columns; give 3 (xyz), 4 (xyz, intensity), 6 (xyz, rgb), 7 (xyz, intensity, rgb), "
            "9 (xyz, rgb, normal), or a first line with their names."
        )
    if len(names) != width:
        raise FileError(f"names {len(names)} columns but its lines have {width}; give one name per column.")
    return columns.fields({name: data[:, i] for i, name in enumerate(names)}, text=True)


def _all_blocks(file: Path, stream: BinaryIO, data: np.ndarray, delimiter: str | None, comma: bool) -> np.ndarray:
    """Return a first block and those that follow it: a PTS file may hold several scans, each with its count."""
    blocks, width = [data], data.shape[1]
    while line := stream.readline():
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        if len(words) == 1 and words[0].isdigit() and len(words[0]) < 20:
            blocks.append(table(stream, width, int(words[0]), delimiter, comma))
            continue
        stream.seek(-len(line), 1)
        blocks.append(table(stream, width, None, delimiter, comma))
        declared, there = (sum(map(len, part)) for part in (blocks[:-1], blocks))
        warn(f"{file}: declares {declared} points but holds {there}; all were read.")
    return np.concatenate(blocks) if len(blocks) > 1 else data


def _guessed(file: Path, data: np.ndarray) -> list[str]:
    """Return names for columns that have none; what might be otherwise is said."""
    names, rest = _LAYOUTS[data.shape[1]].split(), data[:, 3:]
    if len(names) == 6 and (rest < 0).any() and (np.abs(np.linalg.norm(rest, axis=1) - 1) < 0.01).mean() > 0.9:
        names[3:] = ["nx", "ny", "nz"]
    if len(names) == 7 and file.suffix.lower() != ".pts" and _bytes(data[:, 3:6]):  # PTS says that intensity is first
        other = [*_LAYOUTS[6].split(), "label"]
        if not _bytes(data[:, 6:]):
            return [*other[:6], "scalar"]
        # A label is small beside colours, but blue is not beside red and green.
        names, other = (other, names) if data[:, 6].max() * 2 < data[:, 3:6].max(0).min() else (names, other)
        warn(
            f"{file}: its 7 columns have no names and are taken as {' '.join(names)}; "
            f"if they are {' '.join(other)}, write that as its first line."
        )
    return names


def _bytes(values: np.ndarray) -> bool:
    """Tell whole numbers from 0 to 255, which colours and labels are."""
    return bool(((values >= 0) & (values <= 255) & (values == np.floor(values))).all())


def table(stream: BinaryIO, width: int, count: int | None, mark: str | None = None, comma: bool = False) -> np.ndarray:
    """Return the next `count` lines of `width` numbers, or all for None, as (n, width) float64.

    Numbers are set apart by `mark`, None for white space, and with `comma` their decimals by a comma.
    """
    if count == 0:
        raise FileError("declares 0 points; there is nothing to read.")
    if count is not None:
        there = limits.left(stream)
        limits.whole(there >= count * 2 * width - 1, f"{count} points", f"{there} bytes of them")  # a digit, a space
    lines = stream if count is None else (line for line in stream if line.strip() and not line.startswith(b"#"))
    if comma:
        lines = (line.replace(b",", b".") for line in lines)
    try:
        data = rows(lines, delimiter=mark, max_rows=count)
    except ValueError as error:
        reason = cut(error).rstrip(".")
        raise FileError(f"has a line that is not {width} numbers ({reason}); correct or remove it.") from error
    limits.whole(count is None or len(data) >= count, f"{count} points", str(len(data)))
    if data.shape[1] != width:
        raise FileError(f"has lines of {data.shape[1]} values where {width} are declared; export it again.")
    return data


def rows(lines: Iterable[bytes], **how: Any) -> np.ndarray:
    """Return lines of numbers as an array; where no line has any, it has no rows.

    >>> rows([b"1 2", b"3 4"]).tolist(), len(rows([b" "]))
    ([[1.0, 2.0], [3.0, 4.0]], 0)
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is nothing, is said by its length
        return np.loadtxt(lines, comments="#", ndmin=2, encoding="latin-1", **how)


def declared(stream: BinaryIO, fields: Sequence[tuple[str, str, int]], count: int) -> dict[str, np.ndarray]:
    """Return the columns that a header declares, each by name, type and how many values; of several the first."""
    data, column, found = table(stream, sum(number for _, _, number in fields), count), 0, {}
    for name, kind, number in fields:
        if number:
            packed = name.lower() in ("rgb", "rgba") and "f" in kind  # float32 rounds the whole numbers that some write
            found[name] = data[:, column] if packed else _typed(data[:, column], kind[-2:])
        column += number
    return found


def _typed(values: np.ndarray, kind: str) -> np.ndarray:
    """Return float64 values as the type a header declares, or wider where they do not fit it."""
    if kind[0] in "iu" and (np.abs(values) < 1 << 62).all():
        good = np.iinfo(kind)
        return values.astype(kind if good.min <= values.min() and values.max() <= good.max else np.int64)
    with np.errstate(all="ignore"):  # too large for float32: infinite, and no position
        return values.astype(kind) if kind == "f4" else values


def _head(lines: list[str]) -> tuple[str | None, int | None, int]:
    """Return the line with the columns' names and the number of points, if the file has them, and the first line."""
    header, declared = None, None
    for i, line in enumerate(lines):
        values = line.lstrip("#/").replace(",", " ").replace(";", " ").replace('"', " ").split()
        if {"x", "y", "z"} <= {value.lower() for value in values}:
            header = line
        elif not values or line[0] in "#/":
            continue
        elif len(values) == 1 and values[0].isdecimal() and len(values[0]) < 20 and declared is None:
            declared = int(values[0])  # PTS starts with it
        else:
            try:
                float(values[0])
            except ValueError as error:
                line = cut(line)
                raise FileError(
                    f"has the line {line!r}; give numbers, after at most one line of column names."
                ) from error
            return header, declared, i
    raise FileError("holds no line of numbers; give one point per line: x y z, or x y z red green blue.")


def _separators(lines: list[str]) -> tuple[str | None, bool]:
    """Return what sets the numbers apart, None for white space, and whether a comma sets off their decimals.

    >>> _separators(["0,5;1;2"]), _separators(["0,5 1 2"]), _separators(["0.5, 1, 2"]), _separators(["0 1 2"])
    ((';', True), (None, True), (',', False), (None, False))
    """
    line = next((line for line in lines if "," in line or ";" in line), "")
    if ";" in line:
        return ";", "," in line
    if "," not in line:
        return None, False
    words = line.split()
    decimal = len(words) >= 3 and all(re.fullmatch(r"[+-]?\d*,?\d+([eE][+-]?\d+)?", word) for word in words)
    return (None, True) if decimal else (",", False)


def _names(header: str, delimiter: str | None, first: str) -> list[str]:
    """Return the columns' names, set apart as the numbers are: a name may hold spaces."""
    line = header.lstrip("#/ ")
    mark = delimiter or ("\t" if "\t" in line and "\t" in first else None)
    names = [name.strip(' "') for name in line.split(mark)]
    if {"x", "y", "z"} <= {name.lower() for name in names}:
        return names
    return line.replace(",", " ").replace(";", " ").replace('"', " ").split()
