"""The faces of a PLY file, as triangles."""

import struct
from collections.abc import Sequence
from itertools import islice
from typing import BinaryIO, NamedTuple

import numpy as np

from .._util.words import cut
from ..errors import FileError
from . import limits
from .surface import fans

_NAMES = ("vertex_indices", "vertex_index")


class Property(NamedTuple):
    """One property of an element, as a PLY header declares it."""

    name: str
    kind: str  # numpy's code of its values
    length: str = ""  # of a list, the code of the number before its values


Element = tuple[str, int, list[Property]]  # name, count and properties


def polygons(stream: BinaryIO, order: str, elements: Sequence[Element]) -> np.ndarray:
    """Return the triangles (m, 3) of the element `face`, one of the `elements` at which the stream is.

    `order` is numpy's sign of the byte order, or "=" for text.
    """
    at = [name for name, _, _ in elements].index("face")
    _, count, properties = elements[at]
    chosen = next((i for i, one in enumerate(properties) if one.length and one.name in _NAMES), None)
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
