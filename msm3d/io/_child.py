"""The child process that decodes LAZ and E57 for `guard`: run as a script, imports nothing of msm3d.

Reads a request as JSON from its input. Answers with lines of JSON: the types of a table's columns; a number of points,
behind which follow the bytes of each column; that this was all; or an error.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, BinaryIO

PACKAGES = {"laz": ("numpy", "laspy", "lazrs"), "e57": ("numpy", "pye57")}
_CHUNK = 1_000_000  # points at a time
_XYZ = ("cartesianX", "cartesianY", "cartesianZ")
_SPHERICAL = ("sphericalRange", "sphericalAzimuth", "sphericalElevation")
_RGB = ("colorRed", "colorGreen", "colorBlue")

Table = tuple[dict[str, Any], dict[str, str], int, Iterable[list[Any]]]  # what it is, types, rows, pieces of columns


def bound(memory: int) -> None:
    """Allow this process no more than `memory` bytes beyond what it has, where the system can, and no core dump."""
    try:
        import resource
    except ImportError:  # Windows
        return
    try:
        with open("/proc/self/statm") as file:
            there = int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        there = 1 << 30
    for what, most in ((resource.RLIMIT_AS, there + memory), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(what)[1]
        try:
            resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
        except (OSError, ValueError):  # a system that does not know this limit
            continue


def laz(request: dict[str, Any]) -> Iterator[Table]:
    """Yield the one table of LAZ files: the columns `names` of the points of all their `parts`, one after another."""
    import numpy as np

    names, types = request["names"], dict[str, str]()
    pieces = (piece for file, nodes in request["parts"] for piece in _points(file, nodes, names))
    columns = ([np.ascontiguousarray(piece[name], types.get(name)) for name in names] for piece in pieces)
    first = next(columns, [])
    types |= {name: column.dtype.str for name, column in zip(names, first, strict=False)}
    yield {}, types, request["count"], (one for part in ([first], columns) for one in part)


def _points(file: str, nodes: list[list[int]] | None, names: list[str]) -> Iterator[Any]:
    """Yield the points of a file in pieces: all, or of `nodes` as offset, bytes and number of points.

    laspy's own `seek` goes to other points where the pieces that were compressed are of different sizes, as in COPC.
    """
    import laspy
    import lazrs
    import numpy as np
    from laspy.point.record import PackedPointRecord, ScaleAwarePointRecord

    chosen = _selection(laspy, names)
    one: Any = laspy.LazBackend.Lazrs
    with laspy.open(file, laz_backend=one, read_evlrs=False, decompression_selection=chosen) as reader:
        header = reader.header
        size = max(header.point_format.size, 1)
        most = max(1, min(_CHUNK, (1 << 26) // size))  # 64 MB
        if nodes is None:
            yield from reader.chunk_iterator(most)
            return
        record = header.vlrs[header.vlrs.index("LasZipVlr")].record_data
    with open(file, "rb") as stream:
        while nodes:
            end, count = 0, 0
            while end < len(nodes) and (not end or count + nodes[end][2] <= most):
                end, count = end + 1, count + nodes[end][2]
            data, table = b"", [(points, length) for _, length, points in nodes[:end]]
            for offset, length, _ in nodes[:end]:
                stream.seek(offset)
                data += stream.read(length)
            raw, nodes = np.zeros(count * size, np.uint8), nodes[end:]
            lazrs.decompress_points_with_chunk_table(data, record, raw, table, chosen.to_lazrs())
            packed = PackedPointRecord.from_buffer(raw, header.point_format)
            yield ScaleAwarePointRecord(packed.array, packed.point_format, header.scales, header.offsets)


def _selection(laspy: Any, names: list[str]) -> Any:
    """Return what is to be decompressed for some dimensions: colours need no times, which take longest."""
    every = laspy.DecompressionSelection
    known = {"z": every.Z, "classification": every.CLASSIFICATION, **dict.fromkeys(("x", "y"), every.base())}
    known |= dict.fromkeys(("red", "green", "blue"), every.RGB)
    if not set(names) <= known.keys():
        return every.all()
    found = every.base()
    for name in names:
        found |= known[name]
    return found


def e57(request: dict[str, Any]) -> Iterator[Table]:
    """Yield a table for each scan of an E57 file that has points, all columns as doubles."""
    import pye57

    with pye57.E57(request["file"]) as opened:
        for i in range(opened.scan_count):
            header = opened.get_header(i)
            if header.point_count:
                names = _names(header.point_fields)
                about = {"pose": _pose(header.node), "range": _range(header.node, names)}
                about["grid"] = names[0] not in _XYZ or {"rowIndex", "columnIndex"} <= set(header.point_fields)
                pieces = _pieces(pye57.libe57, opened.image_file, header, names)
                yield about, dict.fromkeys(names, "<f8"), header.point_count, pieces


def _names(there: list[str]) -> list[str]:
    """Return the columns to read: places as x, y and z where a scan has them, else as range and angles."""
    places = next((group for group in (_XYZ, _SPHERICAL) if set(group) <= set(there)), None)
    if places is None:
        raise ValueError(f"a scan has the fields {', '.join(there)}, which are not positions")
    states = (f"{places[0][:9]}InvalidState", "isColorInvalid")
    return [*places, *(_RGB if set(_RGB) <= set(there) else ()), *(name for name in states if name in there)]


def _pose(node: Any) -> list[float]:
    """Return a scan's quaternion (w, x, y, z) and its translation."""
    parts = {"rotation": {"w": 1.0, "x": 0.0, "y": 0.0, "z": 0.0}, "translation": {"x": 0.0, "y": 0.0, "z": 0.0}}
    pose = node["pose"] if node.isDefined("pose") else None
    for name, values in parts.items():
        if pose is not None and pose.isDefined(name):
            values |= {child.elementName(): float(_value(child)) for child in pose[name]}
    return [value for values in parts.values() for value in list(values.values())]


def _range(node: Any, names: list[str]) -> list[float] | None:
    """Return what stands for no colour and for all of it: the sensor's limits, else those of the numbers."""
    if not set(_RGB) <= set(names):
        return None
    if node.isDefined("colorLimits"):
        limits = {child.elementName(): float(_value(child)) for child in node["colorLimits"]}
        low, high = ([limits[one] for name in _RGB if (one := name + end) in limits] for end in ("Minimum", "Maximum"))
        if low and high and min(low) < max(high):
            return [min(low), max(high)]
    from pye57 import libe57

    prototype = libe57.StructureNode(node["points"].prototype())
    fields = [prototype[name] for name in _RGB]
    if not all(isinstance(field, (libe57.IntegerNode, libe57.ScaledIntegerNode)) for field in fields):
        return None
    scaled = [getattr(field, "scaledMaximum", field.maximum)() for field in fields]
    return [0.0, float(max(scaled))] if 1 <= max(scaled) <= 65535 else None


def _value(node: Any) -> float:
    return node.scaledValue() if hasattr(node, "scaledValue") else node.value()


def _pieces(libe57: Any, image_file: Any, header: Any, names: list[str]) -> Iterator[list[Any]]:
    """Yield the columns of a scan in pieces; each overwrites the one before it."""
    import numpy as np

    size = min(header.point_count, _CHUNK)
    columns, buffers = [np.empty(size) for _ in names], libe57.VectorSourceDestBuffer()
    for name, column in zip(names, columns, strict=True):
        buffers.append(libe57.SourceDestBuffer(image_file, name, column, size, True, True))
    reader = header.points.reader(buffers)
    while count := reader.read():
        yield [column[:count] for column in columns]
    reader.close()


KINDS = {"laz": laz, "e57": e57}


def send(request: dict[str, Any], out: BinaryIO) -> None:
    """Write all tables of a file."""
    for about, types, count, pieces in KINDS[request["kind"]](request):
        say(out, types=list(types.values()), names=list(types), count=count, about=about)
        for columns in pieces:
            say(out, points=len(columns[0]) if columns else 0)
            for column in columns:
                out.write(column.data)
    say(out, end=True)


def say(out: BinaryIO, **message: Any) -> None:
    """Write a line."""
    out.write(json.dumps(message).encode() + b"\n")


def main() -> None:
    """Answer one request."""
    request: dict[str, Any] = json.load(sys.stdin)
    sys.path[:] = request["path"]
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # where a library of C++ may write what it likes
    for package in PACKAGES[request["kind"]]:  # before the memory is bounded
        import_module(package)
    bound(request["memory"])
    try:
        send(request, out)
    except BaseException as error:  # a panic of the decompressor, written in Rust, is no Exception
        say(out, error=str(error).strip().partition("\n")[0][:1000], kind=type(error).__name__)
    out.flush()


if __name__ == "__main__":
    main()
