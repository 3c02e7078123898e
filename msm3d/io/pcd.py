"""PCD: ascii, binary and binary_compressed, organised or not."""

import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .._util.words import cut
from ..errors import FileError
from ..scan import columns
from ..scan.options import ReadOptions
from . import limits, records, text

SUFFIXES = (".pcd",)
TITLE = "PCD"

_KINDS = ("F4", "F8", "I1", "I2", "I4", "I8", "U1", "U2", "U4", "U8")
_LONGEST_RUN = 264  # bytes that the three of a back reference stand for, at most
_Field = tuple[str, str, int]  # name, type, values per point


def content(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the points' arrays by field name."""
    with file.open("rb") as stream:
        fields, count, encoding, viewpoint = _header(stream)
        columns.chosen(name for name, _, _ in fields)
        if encoding == "binary":
            named = _binary(stream, fields, count)
        else:
            read = {"ascii": text.declared, "binary_compressed": _compressed}.get(encoding)
            if read is None:
                raise FileError(f"has DATA {cut(encoding)}; one of ascii, binary, binary_compressed is needed.")
            named = columns.fields(read(stream, fields, count), text=encoding == "ascii")
    return {**named, "own": True} if viewpoint is None else {**named, "own": True, "viewpoint": viewpoint}


def _header(stream: BinaryIO) -> tuple[list[_Field], int, str, np.ndarray | None]:
    entries: dict[str, list[str]] = {}
    while "DATA" not in entries:
        raw = stream.readline(1 << 16)
        if not raw.endswith(b"\n") or stream.tell() > 1 << 20:
            raise FileError("has no DATA line, so it is truncated or not a PCD file; export it again.")
        words = raw.decode("latin-1").split()
        if words and not words[0].startswith("#"):
            entries[words[0].upper()] = words[1:]
    for key in ("FIELDS", "SIZE", "TYPE"):
        if key not in entries:
            raise FileError(f"has no {key} line, so it is not a PCD file; export it again.")
    names, sizes, kinds = entries["FIELDS"], entries["SIZE"], entries["TYPE"]
    numbers = entries.get("COUNT", ["1"] * len(names))
    points = entries.get("POINTS") or [*entries.get("WIDTH", ["0"]), *entries.get("HEIGHT", ["1"])]
    whole = [*sizes, *numbers, *points, *entries["DATA"][1:]]
    small = all(word.isdecimal() and len(word) < 20 for word in whole)
    if not len(names) == len(sizes) == len(kinds) == len(numbers) or not small:
        raise FileError("has FIELDS, SIZE, TYPE, COUNT or POINTS that do not fit together; export it again.")
    fields = []
    for i, (name, kind, size, number) in enumerate(zip(names, kinds, sizes, numbers, strict=True)):
        if kind.upper() + size not in _KINDS:
            raise FileError(
                f"has the field {cut(name)} of type {cut(kind)} and size {cut(size)}; "
                f"one of {', '.join(_KINDS)} is needed."
            )
        padding = name == "_" or name in names[:i]
        fields.append((f"_{i}" if padding else name.lower(), "<" + kind.lower() + size, int(number)))
    count = math.prod(int(word) for word in points)
    if count == 0:
        raise FileError("declares 0 points; there is nothing to read.")
    return fields, count, " ".join(entries["DATA"]).lower(), _viewpoint(entries.get("VIEWPOINT", []))


def _viewpoint(words: list[str]) -> np.ndarray | None:
    """Return where the sensor stood, (1, 3), or None: the origin without a turn is what all write who do not know it.

    It is in the frame of the points [PCL, NormalEstimation], so the quaternion behind it turns nothing.

    >>> _viewpoint("1 2 0.5 1 0 0 0".split()), _viewpoint("0 0 0 1 0 0 0".split())
    (array([[1. , 2. , 0.5]]), None)
    """
    try:
        pose = [float(word) for word in words]
    except ValueError:
        return None
    known = len(pose) == 7 and all(map(math.isfinite, pose)) and pose != [0, 0, 0, 1, 0, 0, 0]
    return np.array([pose[:3]]) if known else None


def _record(fields: list[_Field]) -> int:
    return sum(int(kind[2:]) * number for _, kind, number in fields)


def _binary(stream: BinaryIO, fields: list[_Field], count: int) -> dict[str, np.ndarray]:
    starts = np.cumsum([0, *(_record([field]) for field in fields)]).tolist()
    held = [(name, kind, start) for (name, kind, number), start in zip(fields, starts, strict=False) if number]
    layout: Any = {key: [one[i] for one in held] for i, key in enumerate(("names", "formats", "offsets"))}
    layout["itemsize"] = starts[-1]
    record: np.dtype = np.dtype(layout)  # of several values in a field the first
    types = {name: record[name] for name in record.names or ()}
    return columns.gathered(records.pieces(stream, record, count), types, count)


def _compressed(stream: BinaryIO, fields: list[_Field], count: int) -> dict[str, np.ndarray]:
    size, there = _record(fields), limits.left(stream) - 8
    packed, unpacked = (int.from_bytes(stream.read(4), "little") for _ in range(2))
    good = there >= packed and unpacked <= packed * _LONGEST_RUN
    limits.whole(good, f"{packed} compressed bytes", str(max(there, 0)))
    if unpacked != count * size:
        raise FileError(f"declares {count} points of {size} bytes but {unpacked} uncompressed bytes; export it again.")
    data, start, found = memoryview(_unpacked(stream.read(packed), unpacked)), 0, {}
    for name, kind, number in fields:  # field by field, not point by point
        end = start + count * number * int(kind[2:])
        if number:
            found[name] = np.frombuffer(data[start:end], dtype=kind).reshape(count, number)[:, 0]
        start = end
    return found


def _unpacked(data: bytes, size: int) -> bytearray:
    """Return the `size` bytes that `data` stands for in LZF: runs of literal bytes, and references to what came before.

    >>> bytes(_unpacked(bytes([1, 97, 98, 0b01000000, 1]), 6))
    b'ababab'
    """
    out, i, n = bytearray(), 0, len(data)
    try:
        while i < n:
            control = data[i]
            if control < 32:
                out += data[i + 1 : i + control + 2]
                i += control + 2
                continue
            length = control >> 5
            if length == 7:
                i += 1
                length += data[i]
            distance = ((control & 31) << 8) + data[i + 1] + 1
            i += 2
            length += 2
            start = len(out) - distance
            if start < 0:
                raise IndexError
            piece = out[start : start + length]
            out += piece if len(piece) == length else (piece * (length // distance + 1))[:length]
    except IndexError:
        out.clear()
    if len(out) != size:
        raise FileError("has compressed data that does not unpack to its declared size; export it again.")
    return out
