"""The child process that decodes LAZ and E57 for `guard`: run as a script, imports nothing of msm3d.

Reads a request as JSON from its input. Answers with lines of JSON: the types of a table's columns; a number of points,
behind which follow the bytes of each column; that this was all; or an error.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, BinaryIO

_CHUNK = 50_000  # points at a time, for each thread: so many are in a chunk of LAZ
_LARGE = 1 << 28  # bytes of a chunk of LAZ above which one thread reads it point by point
_CODES = {"<f8": "d", "<f4": "f", "<u2": "H", "|u1": "B"}
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
    """Yield a table for each of the `parts` of LAZ files: its points' records, of which the columns `names` are there.

    A part is the path, the nodes as `_points` takes them, or None; the number of points, the bytes of a record; where
    the points begin, and the record of how they are compressed, in hexadecimal digits.
    """
    for file, nodes, count, size, start, how in request["parts"]:
        if nodes is None:
            pieces = _whole(file, count, size, start, bytes.fromhex(how), request["names"])
        else:
            pieces = (piece.array.view("u1").data for piece in _points(file, nodes, request["names"]))
        yield {}, {"records": f"|V{size}"}, count, ([piece] for piece in pieces)


def _whole(file: str, count: int, size: int, start: int, how: bytes, names: list[str]) -> Iterator[Any]:
    """Yield the records of a file in pieces, each of which overwrites the one before it."""
    import lazrs

    threads = int(os.environ.get("RAYON_NUM_THREADS", "1"))
    with open(file, "rb") as stream:
        stream.seek(start)
        chunks = lazrs.read_chunk_table(stream, lazrs.LazVlr(how))
        stream.seek(start)
        held = max((points for points, _ in chunks), default=0) * size  # several threads keep a whole chunk
        kind = lazrs.ParLasZipDecompressor if held <= _LARGE else lazrs.LasZipDecompressor
        decompressor = kind(stream, how, _selection(lazrs, names))
        room = memoryview(bytearray(min(count, max(1, min(_CHUNK * threads, (1 << 26) // size))) * size))
        while count:
            piece = room[: count * size]
            decompressor.decompress_many(piece)
            count -= len(piece) // size
            yield piece


def _points(file: str, nodes: list[list[int]], names: list[str]) -> Iterator[Any]:
    """Yield the points of `nodes`, each its offset, bytes and number of points, in pieces.

    laspy's own `seek` goes to other points where the pieces that were compressed are of different sizes, as in COPC.
    """
    import laspy
    import lazrs
    import numpy as np
    from laspy.point.record import PackedPointRecord, ScaleAwarePointRecord

    with laspy.open(file, laz_backend=laspy.LazBackend.Lazrs, read_evlrs=False) as reader:
        header: Any = reader.header
        size = max(header.point_format.size, 1)
        most = max(1, min(_CHUNK, (1 << 26) // size))  # 64 MB
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
            lazrs.decompress_points_with_chunk_table(data, record, raw, table, _selection(lazrs, names))
            packed = PackedPointRecord.from_buffer(raw, header.point_format)
            yield ScaleAwarePointRecord(packed.array, packed.point_format, header.scales, header.offsets)


def _selection(lazrs: Any, names: list[str]) -> Any:
    """Return what is to be decompressed for some dimensions: colours need no times, which take longest."""
    known: dict[str, Any] = dict.fromkeys(("x", "y"), lazrs.SELECTIVE_DECOMPRESS_XY_RETURNS_CHANNEL)
    known |= {"z": lazrs.SELECTIVE_DECOMPRESS_Z, "classification": lazrs.SELECTIVE_DECOMPRESS_CLASSIFICATION}
    known |= dict.fromkeys(("red", "green", "blue"), lazrs.SELECTIVE_DECOMPRESS_RGB)
    found = known["x"]
    for name in names:
        found |= known.get(name, lazrs.SELECTIVE_DECOMPRESS_ALL)
    return lazrs.DecompressionSelection(found)


def e57(request: dict[str, Any]) -> Iterator[Table]:
    """Yield a table for each scan of an E57 file that has points.

    Of pye57 only its binding of libE57Format is used, which needs no numpy.
    """
    from pye57 import libe57

    opened = libe57.ImageFile(request["file"], "r")
    try:
        for node in opened.root()["data3D"]:
            points = node["points"]
            prototype, count = libe57.StructureNode(points.prototype()), points.childCount()
            if not count:
                continue
            there = [field.elementName() for field in prototype]
            names = _names(there)
            about = {"pose": _pose(node), "range": _range(libe57, node, prototype, names)}
            about["grid"] = names[0] not in _XYZ or {"rowIndex", "columnIndex"} <= set(there)
            types = {name: _type(libe57, prototype[name]) for name in names}
            yield about, types, count, _pieces(libe57, opened, points, count, types)
    finally:
        opened.close()


def _type(libe57: Any, field: Any) -> str:
    """Return the type of a column: as few bytes as hold it whole go through the pipe."""
    if isinstance(field, libe57.FloatNode) and field.precision() == libe57.E57_SINGLE:
        return "<f4"
    if isinstance(field, libe57.IntegerNode) and field.minimum() == 0:
        return next((kind for kind, most in (("|u1", 255), ("<u2", 65535)) if field.maximum() <= most), "<f8")
    return "<f8"


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


def _range(libe57: Any, node: Any, prototype: Any, names: list[str]) -> list[float] | None:
    """Return what stands for no colour and for all of it: the sensor's limits, else those of the numbers."""
    if not set(_RGB) <= set(names):
        return None
    if node.isDefined("colorLimits"):
        limits = {child.elementName(): float(_value(child)) for child in node["colorLimits"]}
        low, high = ([limits[one] for name in _RGB if (one := name + end) in limits] for end in ("Minimum", "Maximum"))
        if low and high and min(low) < max(high):
            return [min(low), max(high)]
    fields = [prototype[name] for name in _RGB]
    if not all(isinstance(field, (libe57.IntegerNode, libe57.ScaledIntegerNode)) for field in fields):
        return None
    scaled = [getattr(field, "scaledMaximum", field.maximum)() for field in fields]
    return [0.0, float(max(scaled))] if 1 <= max(scaled) <= 65535 else None


def _value(node: Any) -> float:
    return node.scaledValue() if hasattr(node, "scaledValue") else node.value()


def _pieces(libe57: Any, opened: Any, points: Any, count: int, types: dict[str, str]) -> Iterator[list[Any]]:
    """Yield the columns of a scan in pieces; each overwrites the one before it."""
    size = min(count, _CHUNK)
    columns, buffers = list[Any](), libe57.VectorSourceDestBuffer()
    for name, kind in types.items():
        code: Any = _CODES[kind]
        columns.append(memoryview(bytearray(size * _bytes(kind))).cast(code))
        buffers.append(libe57.SourceDestBuffer(opened, name, columns[-1], size, True, True))
    reader = points.reader(buffers)
    while number := reader.read():
        yield [column[:number] for column in columns]
    reader.close()


KINDS = {"laz": laz, "e57": e57}


def _needed(request: dict[str, Any]) -> tuple[str, ...]:
    """Return the packages that a request needs; whole files no numpy, whose import takes longer than most of them."""
    if request["kind"] == "e57":
        found = find_spec("pye57")
        package = ModuleType("pye57")  # without what its own __init__ imports
        package.__path__ = list(found.submodule_search_locations or []) if found else []
        sys.modules["pye57"] = package
        return ("pye57.libe57",)
    return ("lazrs",) if all(part[1] is None for part in request["parts"]) else ("numpy", "laspy", "lazrs")


def send(request: dict[str, Any], out: BinaryIO) -> None:
    """Write all tables of a file."""
    for about, types, count, pieces in KINDS[request["kind"]](request):
        say(out, types=list(types.values()), names=list(types), count=count, about=about)
        for columns in pieces:
            views = [memoryview(column).cast("B") for column in columns]
            say(out, points=len(views[0]) // _bytes(next(iter(types.values()))))
            for view in views:
                out.write(view)
    say(out, end=True)


def _bytes(kind: str) -> int:
    """Return how long a value is, of the type whose code is such as '<f8'."""
    return int(kind[2:])


def say(out: BinaryIO, **message: Any) -> None:
    """Write a line."""
    out.write(json.dumps(message).encode() + b"\n")


def main() -> None:
    """Answer one request."""
    request: dict[str, Any] = json.load(sys.stdin)
    sys.path[:] = request["path"]
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # where a library of C++ may write what it likes
    for package in _needed(request):  # before the memory is bounded
        import_module(package)
    bound(request["memory"])
    try:
        send(request, out)
    except BaseException as error:  # a panic of the decompressor, written in Rust, is no Exception
        say(out, error=str(error).strip().partition("\n")[0][:1000], kind=type(error).__name__)
    out.flush()


if __name__ == "__main__":
    main()
