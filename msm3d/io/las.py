"""LAS and LAZ, through laspy (the extra `las`)."""

import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from .._util.words import option
from ..errors import DependencyError, FileError
from ..scan import columns
from ..scan.options import ReadOptions
from . import guard, limits, records
from .octree import Copc

SUFFIXES = (".las", ".laz")
TITLE = "LAS, LAZ"
EXTRA = "las"
NEEDS = {"laspy": "LAS and LAZ files"}
NOTE = "of COPC (.copc.laz) parts, see [Parts of large scans](#parts-of-large-scans)"
OCTREE = True

_STEP = 1e-4  # metres, of coordinates that are written


@dataclass(frozen=True)
class Part:
    """Points of one LAZ file, of those that are read as one."""

    file: str
    count: int | None = None  # of points, where another file says it
    nodes: list[list[int]] | None = None  # of COPC, each its offset, bytes and number of points; None: the whole file


def content(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the points' arrays by field name; the classification is the segment."""
    import laspy  # noqa: F401  # so that it is missed before anything is looked at

    asked = options.bounds is not None or options.resolution is not None
    if asked:
        _check(file)
    found = Copc.of(file) if asked else None
    if found is None and options.resolution is not None:
        raise FileError(f"is not an octree of points (COPC, EPT); leave {option('resolution')} out.")
    if found is None:
        whole = columns.gathered(*_read([Part(str(file))], _chosen))
        limits.not_at_one_place(whole["coord"], len(whole["coord"]))
        return {**whole, "own": True}
    wanted = found.tree.wanted(options)
    nodes = np.stack([found.offsets, found.sizes, found.tree.counts], axis=1)[wanted].tolist()
    arrays = fields([Part(str(file), int(found.tree.counts[wanted].sum()), nodes)])
    total, taken = int(found.tree.counts.sum()), found.tree.said(wanted, options)
    return {**arrays, "rows": found.tree.rows(wanted), "total": total, "taken": taken}


def fields(parts: Sequence[Part]) -> dict[str, np.ndarray]:
    """Return the arrays by field name of parts of LAZ files, one after another."""
    return columns.gathered(*_read(parts, _chosen))


def _chosen(names: list[str]) -> list[str]:
    return [name for parts in columns.chosen(["x", "y", "z", *names]).values() for name in parts]


def dimensions(file: Path, wanted: Callable[[list[str]], list[str]]) -> dict[str, np.ndarray]:
    """Return those dimensions of a file that `wanted` chooses among the names of all."""
    return columns.held(*_read([Part(str(file))], wanted))


def dimension_names(header: Any) -> list[str]:
    """Return the names of a point's dimensions, but for coordinates that are not scaled."""
    return [name for name in header.point_format.dimension_names if name not in "XYZ"]


def header(file: Path) -> Any:
    """Return the header of a file, as laspy has it."""
    import laspy

    _check(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with laspy.open(file, read_evlrs=False) as reader:
            return reader.header


def kept(records: Any, user: str) -> list[Any]:
    """Return the records of a file that another keeps: none of `user`, nor of an octree, which laspy cannot write."""
    return [one for one in records or [] if one.user_id not in (user, "copc")]


def grid(coord: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps and the origin of whole numbers of 32 bits that hold coordinates (n, 3); NaN is left out.

    >>> [one.tolist() for one in grid(np.array([[0.5, 0, 0], [3e5, 0, 0]]))]
    [[0.001, 0.001, 0.001], [0.0, 0.0, 0.0]]
    """
    low, high = np.nanmin(coord, axis=0), np.nanmax(coord, axis=0)
    step = _STEP
    while (high - low).max() / step >= 1 << 31:
        step *= 10
    return np.full(3, step), np.floor(low)


def _read(
    parts: Sequence[Part], wanted: Callable[[list[str]], list[str]]
) -> tuple[Iterator[Any], dict[str, np.dtype], int]:
    """Return the points of parts, one after another, in pieces; the types of what `wanted` chooses; how many there are.

    A piece has columns by name, each as it is stored until numpy asks for it, and is overwritten by the next one.
    """
    import laspy

    each = list[tuple[Part, Any, int]]()  # with its header and the number of its points
    for part, one in [(part, header(Path(part.file))) for part in parts]:
        number = one.point_count if part.count is None else part.count
        limits.whole(part.nodes is not None or number == one.point_count, f"{number} points", str(one.point_count))
        each.append((part, one, number))
    count, first = sum(number for _, _, number in each), each[0][1]
    if count == 0:
        raise FileError("declares 0 points; there is nothing to read.")
    for part, one, _ in each:
        if not one.are_points_compressed:
            size, there = one.point_format.size, Path(part.file).stat().st_size - one.offset_to_point_data
            whole = there >= one.point_count * size
            limits.whole(whole, f"{one.point_count} points of {size} bytes", f"{max(there, 0)} bytes of them")
    names = wanted(dimension_names(first))
    for part, one, _ in each:
        if lacking := [name for name in names if name not in (*"xyzXYZ", *dimension_names(one))]:
            raise FileError(f"has no {lacking[0]} in {Path(part.file).name}, but in other files of it; make it again.")
    limits.fits(count * 8 * len(names), f"declares {count} points")
    if any(one.are_points_compressed for _, one, _ in each) and not laspy.LazBackend.Lazrs.is_available():
        raise DependencyError('reading LAZ needs lazrs; type: pip install "msm3d[las]".')
    empty = _scaled(first, np.empty(0, first.point_format.dtype()))
    types = {name: np.asarray(empty[name]).dtype for name in names}
    return (_pieces(each, names) if names else iter(())), types, count


def _pieces(each: Sequence[tuple[Part, Any, int]], names: Sequence[str]) -> Iterator[Any]:
    for packed, some in groupby(each, lambda one: one[1].are_points_compressed):
        if packed:
            yield from _decompressed(list(some), names)
        else:
            for part, one, _ in some:
                yield from _plain(Path(part.file), one)


def _scaled(header: Any, records: np.ndarray) -> Any:
    from laspy.point.record import ScaleAwarePointRecord

    return ScaleAwarePointRecord(records, header.point_format, header.scales, header.offsets)


def _plain(file: Path, header: Any) -> Iterator[Any]:
    with file.open("rb") as stream:
        stream.seek(header.offset_to_point_data)
        for piece in records.pieces(stream, header.point_format.dtype(), header.point_count):
            yield _scaled(header, piece)


def _decompressed(some: Sequence[tuple[Part, Any, int]], names: Sequence[str]) -> Iterator[Any]:
    points = sum(count for _, _, count in some)
    request: dict[str, Any] = {"kind": "laz", "names": list(names), "count": points, "parts": []}
    for part, one, count in some:
        how = b"".join(record.record_data for record in one.vlrs.get("LasZipVlr")[:1])
        size = one.point_format.size
        request["parts"].append((part.file, part.nodes, count, size, one.offset_to_point_data, how.hex()))
    tables = guard.tables(request, sum(Path(part.file).stat().st_size for part, _, _ in some))
    for (_, one, _), (_, _, _, pieces) in zip(some, tables, strict=True):
        for (piece,) in pieces:
            yield _scaled(one, piece.view(one.point_format.dtype()))


def _check(file: Path) -> None:
    """Compare the numbers of records that the header declares with the file: laspy loops over them."""
    with file.open("rb") as stream:
        head = stream.read(375)
        size = stream.seek(0, 2)
        if len(head) < 227 or head[:4] != b"LASF":
            raise FileError("does not start with 'LASF' and a header; it is not a LAS file.")
        start, points, records = struct.unpack_from("<HII", head, 94)
        fits = start + 54 * records <= points <= size
        if head[25] >= 4 and len(head) == 375:  # LAS 1.4 has more records after the points
            later, number = struct.unpack_from("<QI", head, 235)
            fits = fits and (not number or later + 60 * number <= size)
        if fits and head[104] & 0x80:  # LAZ: its table of chunks, which the decompressor takes memory for
            stream.seek(points)
            (table,) = struct.unpack("<q", stream.read(8).ljust(8, b"\0"))
            if table == -1:  # written as a stream: the place of the table comes last
                stream.seek(-8, 2)
                (table,) = struct.unpack("<q", stream.read(8))
            if fits := points < table <= size - 8:
                stream.seek(table)
                fits = struct.unpack("<II", stream.read(8))[1] <= size - table
    if not fits:
        raise FileError("has a header that declares more than the file holds; it is truncated, export it again.")
