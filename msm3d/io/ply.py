"""PLY: the vertices of an ascii or binary file, little or big endian, and the faces where there are any."""

import os
import re
import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .._util.words import cut, option
from ..errors import FileError
from ..scan import columns
from ..scan.options import ReadOptions
from . import limits, records, surface, text
from .surface import fans

SUFFIXES = (".ply",)
TITLE = "PLY"
NOTE = "of 3D Gaussian splats, too: `min_opacity=0.1` leaves floaters out"
SPLATS = True

_LONGEST_HEADER = 1 << 20  # bytes
_MORE = ("opacity",)  # what is read beside the fields of a cloud
_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


class Property(NamedTuple):
    """One property of an element, as a PLY header declares it."""

    name: str
    kind: str  # numpy's code of its values
    length: str = ""  # of a list, the code of the number before its values


_NAMED = re.compile(rb"^comment (?:label|class) (\d{1,4}) (\S.*?)\s*$", re.MULTILINE)

Element = tuple[str, int, list[Property]]  # name, count and properties


def content(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the vertices' arrays by field name; where there are faces, perhaps points on them instead."""
    with file.open("rb") as stream:
        order, elements, position = _start(stream)
        columns.chosen(one.name for one in elements[position][2])
        fields = _fields(stream, order, elements, position)
        bare = all(name != "face" for name, _, _ in elements[position:])
        if bare or options.mesh == "vertices" or options.min_opacity is not None:
            if options.mesh == "surface":
                raise FileError(f"has no faces to sample; leave {option('mesh')} out to take its vertices.")
            return _opaque(fields, options.min_opacity) | {"own": True}
        try:
            fields.pop("opacity", None)
            faces = _polygons(stream, order, elements[position + 1 :])
            labels = {name: value for name, value in fields.items() if name in ("segment", "instance")}
            own: dict[str, Any] = {name: value for name, value in fields.items() if name not in labels}
            found = surface.points(file, surface.Mesh(**own, faces=faces, labels=labels), options)
            return fields | {"own": True} if found["coord"] is fields["coord"] else found
        except FileError as error:
            cure = f"or pass {option('mesh', 'vertices')} to read its vertices alone"
            raise FileError(f"{str(error).rstrip('.')}, {cure}.") from error


def scalar(file: Path, name: str) -> np.ndarray | None:
    """Return one property (n,) of the vertices of a file as it is stored, or None where they do not have it."""
    with file.open("rb") as stream:
        order, elements, position = _start(stream)
        if all(one.name != name for one in elements[position][2]):
            return None
        return _vertices(stream, order, elements, position)[name]


def _start(stream: BinaryIO) -> tuple[str, list[Element], int]:
    """Return the byte order and the elements of a file, and which of them are the points."""
    order, elements, _ = header(stream)
    names = [name for name, _, _ in elements]
    if "vertex" not in names:
        raise FileError(f"has the elements {cut(', '.join(names)) or 'nothing'}; a 'vertex' element is needed.")
    if elements[names.index("vertex")][1] == 0:
        raise FileError("declares 0 points; there is nothing to read.")
    return order, elements, names.index("vertex")


def _fields(stream: BinaryIO, order: str, elements: list[Element], position: int) -> dict[str, np.ndarray]:
    """Return the fields of the points, and `opacity` where they have it; the header has been read."""
    if order == "=":
        found = _vertices(stream, order, elements, position)
        return columns.fields(found, text=True) | {name: found[name] for name in _MORE if name in found}
    return columns.gathered(*_records(stream, order, elements, position), _MORE)


def _vertices(stream: BinaryIO, order: str, elements: list[Element], position: int) -> dict[str, np.ndarray]:
    """Return the properties of the points by their names; the header has been read."""
    if order == "=":
        _, count, properties = elements[position]
        _skip(stream, order, elements, position)
        return text.declared(stream, [(one.name, one.kind, 1) for one in properties], count)
    return columns.held(*_records(stream, order, elements, position))


def _records(
    stream: BinaryIO, order: str, elements: list[Element], position: int
) -> tuple[Iterator[np.ndarray], dict[str, np.dtype], int]:
    """Return the points of a binary file in pieces, the types of their properties, and how many there are."""
    _, count, properties = elements[position]
    _skip(stream, order, elements, position)
    record = np.dtype([(one.name, order + one.kind) for one in properties])
    return records.pieces(stream, record, count), {name: record[name] for name in record.names or ()}, count


def _skip(stream: BinaryIO, order: str, elements: list[Element], position: int) -> None:
    """Skip what stands before the points."""
    if any(one.length for one in elements[position][2]):
        raise FileError("has a list among its vertex properties; export it with plain vertex properties.")
    if order == "=":
        for _ in islice(stream, sum(number for _, number, _ in elements[:position])):
            pass
        return
    skipped = 0
    for name, number, others in elements[:position]:
        if number and any(one.length for one in others):
            raise FileError(f"has the lists of {name!r} before its vertices; export it with the vertices first.")
        skipped += number * sum(np.dtype(one.kind).itemsize for one in others)
    stream.seek(min(skipped, limits.left(stream)), 1)


def vertices(file: Path) -> dict[str, np.ndarray]:
    """Return every property (n,) of the vertices by its name, as it stands in a file."""
    with file.open("rb") as stream:
        return dict(_vertices(stream, *_start(stream)))


def _opaque(fields: dict[str, Any], least: float | None) -> dict[str, Any]:
    """Return the fields of the Gaussian splats that are opaque enough, and as `rows` which of the `total` they are.

    Opacity is written before its sigmoid [gaussian-splatting, save_ply].
    """
    opacity = fields.pop("opacity", None)
    if least is None:
        return fields
    if opacity is None:
        raise FileError(f"has no opacity; leave {option('min_opacity')} out.")
    with np.errstate(all="ignore"):
        rows = np.flatnonzero(1 / (1 + np.exp(-opacity.astype(np.float64))) >= least)
    if not len(rows):
        raise FileError(f"has no splat as opaque as {least:g}; pass a smaller {option('min_opacity')}.")
    if len(rows) == len(opacity):
        return fields
    return {name: value[rows] for name, value in fields.items()} | {"rows": rows, "total": len(opacity)}


def faces(file: Path) -> np.ndarray:
    """Return the triangles (m, 3) of a file, as rows of its vertices; none where it has no faces."""
    with file.open("rb") as stream:
        order, elements, _ = header(stream)
        if all(name != "face" for name, _, _ in elements):
            return np.zeros((0, 3), dtype=np.int64)
        return _polygons(stream, order, elements)


def header(stream: BinaryIO) -> tuple[str, list[Element], Sequence[str]]:
    """Return numpy's sign of the byte order, or "=" for text; the elements; and the comments."""
    if stream.readline(8).strip() != b"ply":
        raise FileError("does not start with 'ply'; it is not a PLY file.")
    order, elements, comments = "", [], []
    while True:
        raw = stream.readline(_LONGEST_HEADER)
        if not raw.endswith(b"\n") or stream.tell() > _LONGEST_HEADER:
            raise FileError("has no 'end_header', so it is truncated or not a PLY file; export it again.")
        match raw.decode("latin-1").split():
            case ["end_header"]:
                break
            case ["comment", *_]:
                comments.append(raw.decode("latin-1").strip().removeprefix("comment").lstrip(" "))
            case [] | ["obj_info", *_]:
                pass
            case ["format", name, _] if name in _ORDERS:
                order = _ORDERS[name]
            case ["element", name, count] if count.isdecimal() and len(count) < 20:
                elements.append((name, int(count), []))
            case ["property", "list", size, kind, name] if size in _TYPES and kind in _TYPES and elements:
                elements[-1][2].append(Property(name, _TYPES[kind], _TYPES[size]))
            case ["property", kind, name] if kind in _TYPES and elements:
                elements[-1][2].append(Property(name, _TYPES[kind]))
            case _:
                line = raw[:80].decode("latin-1").strip()
                raise FileError(f"has the header line {line!r}, which PLY does not know; export it again.")
    if not order:
        raise FileError(f"names no format; one of {', '.join(_ORDERS)} is needed.")
    return order, elements, comments


def _polygons(stream: BinaryIO, order: str, elements: Sequence[Element]) -> np.ndarray:
    """Return the triangles (m, 3) of the element `face`, one of the `elements` at which the stream is.

    `order` is numpy's sign of the byte order, or "=" for text.
    """
    at = [name for name, _, _ in elements].index("face")
    _, count, properties = elements[at]
    lists = ("vertex_indices", "vertex_index")
    chosen = next((i for i, one in enumerate(properties) if one.length and one.name in lists), None)
    if chosen is None or not count:
        return np.zeros((0, 3), dtype=np.int64)
    before = elements[:at]
    for name, number, others in before:
        if number and any(one.length for one in others) and order != "=":
            raise FileError(f"has the lists of {cut(name)!r} before its faces; export it with the faces first.")
    there = limits.left(stream)
    limits.whole(count <= there, f"{count} faces", f"{there} bytes of them")
    try:
        if order == "=":
            for _ in islice(stream, sum(number for _, number, _ in before)):
                pass
            return _text(stream, count, properties, chosen)
        stream.seek(sum(number * _record(others, order).itemsize for _, number, others in before), 1)
        return _alike(stream, count, properties, chosen, order)
    except (ValueError, IndexError, OverflowError, struct.error) as error:
        raise FileError("has faces that are not whole; it is truncated, export it again.") from error


def _record(properties: Sequence[Property], order: str, lengths: Sequence[int] = ()) -> np.dtype:
    """Return the type of a record whose lists have the given lengths."""
    fields, lists = [], iter(lengths)
    for i, one in enumerate(properties):
        if one.length:
            fields.append((f"{i}n", order + one.length))
        fields.append((f"{i}", order + one.kind, (next(lists),) if one.length else ()))
    return np.dtype(fields)


def _alike(stream: BinaryIO, count: int, properties: list[Property], chosen: int, order: str) -> np.ndarray:
    """Return the triangles of faces that are all as long as the first; where they are not, each is looked at."""
    start = stream.tell()
    head = stream.read(1 << 12)
    stream.seek(start)
    lengths = _lengths(head, properties, order)
    if lengths is not None and max(lengths) < 1000:
        record = _record(properties, order, lengths)
        data = np.fromfile(stream, dtype=record, count=count)
        lists = [i for i, one in enumerate(properties) if one.length]
        if len(data) == count and all((data[f"{i}n"] == n).all() for i, n in zip(lists, lengths, strict=True)):
            corners = data[f"{chosen}"]
            if corners.shape[1] == 3:
                return corners.astype(np.int64)
            return corners.astype(np.int64).reshape(-1)[fans(np.full(count, corners.shape[1]))[0]]
        stream.seek(start)
    return _walked(stream.read(), count, properties, chosen, order)


def _lengths(head: bytes, properties: list[Property], order: str) -> list[int] | None:
    """Return the lengths of the first record's lists, or None where it is longer than the part that is looked at."""
    lengths: list[int] = []
    for i, one in enumerate(properties):
        if one.length:
            at = _record(properties[:i], order, lengths).itemsize
            if at + np.dtype(one.length).itemsize > len(head):
                return None
            lengths.append(int(np.frombuffer(head, order + one.length, 1, at)[0]))
    return lengths if min(lengths, default=0) >= 0 else None


def _walked(data: bytes, count: int, properties: list[Property], chosen: int, order: str) -> np.ndarray:
    """Return the triangles of faces of any length."""
    steps = []
    for i, one in enumerate(properties):
        length = struct.Struct(order + np.dtype(one.length).char) if one.length else None
        steps.append((length, np.dtype(one.kind).itemsize, i == chosen))
    at, sizes, pieces = 0, np.empty(count, dtype=np.int64), []
    for face in range(count):
        for length, width, wanted in steps:
            number = 1
            if length is not None:
                number = int(length.unpack_from(data, at)[0])
                at += length.size
            end = at + number * width
            if number < 0 or end > len(data):
                raise IndexError
            if wanted:
                sizes[face] = number
                pieces.append(data[at:end])
            at = end
    flat = np.frombuffer(b"".join(pieces), order + properties[chosen].kind).astype(np.int64)
    return flat[fans(sizes)[0]]


def _text(stream: BinaryIO, count: int, properties: list[Property], chosen: int) -> np.ndarray:
    sizes, flat = [], []
    for line in islice((line for line in stream if line.strip()), count):
        words, at = line.split(), 0
        for one in properties[:chosen]:
            at += 1 + int(words[at]) if one.length else 1
        sizes.append(int(words[at]))
        if not 0 <= sizes[-1] < len(words) - at:
            raise IndexError
        flat += map(int, words[at + 1 : at + 1 + sizes[-1]])
    if len(sizes) < count:
        raise IndexError
    return np.array(flat, dtype=np.int64)[fans(np.array(sizes, dtype=np.int64))[0]]


def names_with(scan: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names in the header of a PLY file, from lines such as `comment label 4 chair`; none in other files."""
    if Path(scan).suffix.lower() != ".ply":
        return ()
    with open(scan, "rb") as file:
        head = file.read(1 << 20).partition(b"\nend_header")[0]
    found = {int(number): name.decode("utf-8", "replace") for number, name in _NAMED.findall(head)}
    return tuple(found.get(i, f"label {i}") for i in range(max(found, default=-1) + 1))
