"""LAS and LAZ, through laspy (the extra `las`)."""

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DependencyError, FileError
from ..scan import columns
from ..scan.options import ReadOptions
from . import guard, limits

SUFFIXES = (".las", ".laz")
TITLE = "LAS, LAZ"
EXTRA = "las"
NEEDS = {"laspy": "LAS and LAZ files"}

_CHUNK = 1_000_000  # points read at a time: what a header declares is believed only as it arrives


def content(file: Path, options: ReadOptions) -> dict[str, np.ndarray]:
    """Return the points' arrays by field name; the classification is the segment."""
    import laspy  # noqa: F401  # so that it is missed before anything is looked at

    found = columns.fields(dimensions(file, _chosen))
    limits.not_at_one_place(found["coord"], len(found["coord"]))
    return found


def _chosen(names: list[str]) -> list[str]:
    return [name for parts in columns.chosen(["x", "y", "z", *names]).values() for name in parts]


def dimensions(file: Path, wanted: Callable[[list[str]], list[str]]) -> dict[str, np.ndarray]:
    """Return those dimensions of a file that `wanted` chooses among the names of all."""
    import laspy

    _check(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # laspy's and numpy's
        return _dimensions(laspy, file, wanted)


def header(file: Path) -> Any:
    """Return the header of a file, as laspy has it."""
    import laspy

    _check(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with laspy.open(file, read_evlrs=False) as reader:
            return reader.header


def _dimensions(laspy: Any, file: Path, wanted: Callable[[list[str]], list[str]]) -> dict[str, np.ndarray]:
    with laspy.open(file, laz_backend=laspy.LazBackend.Lazrs) as reader:
        header = reader.header
        compressed = header.are_points_compressed
        if compressed and not laspy.LazBackend.Lazrs.is_available():
            raise DependencyError('reading LAZ needs lazrs; type: pip install "msm3d[las]".')
        count, size = header.point_count, header.point_format.size
        there = file.stat().st_size - header.offset_to_point_data
        if count == 0:
            raise FileError("declares 0 points; there is nothing to read.")
        whole = compressed or there >= count * size
        limits.whole(whole, f"{count} points of {size} bytes", f"{max(there, 0)} bytes of them")
        names = wanted([name for name in header.point_format.dimension_names if name not in "XYZ"])
        if not names:
            return {}
        start = guard.command() if compressed else None
        if start is not None:
            return guard.decompressed(file, names, count, start)
        limits.fits(count * 8 * len(names), f"declares {count} points")
        chunks = [{name: np.array(chunk[name]) for name in names} for chunk in reader.chunk_iterator(_CHUNK)]
    found = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in names}
    limits.whole(len(found[names[0]]) == count, f"{count} points", str(len(found[names[0]])))
    return found


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
