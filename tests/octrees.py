"""Octrees to read: COPC, which laspy cannot write, and EPT, of points that a short rule puts into nodes."""

import io
import json
import struct
from pathlib import Path

import laspy
import lazrs
import numpy as np

SPACING, LEVELS = 0.5, 3  # metres between points of the root; levels of the octree


def nodes(xyz: np.ndarray) -> tuple[np.ndarray, float, dict[tuple[int, ...], np.ndarray]]:
    """Return the low corner and the edge of the cube, and the rows of each node by its level, x, y and z."""
    low = np.floor(xyz.min(0))
    width = float(np.ceil((xyz - low).max()))
    left, found = np.arange(len(xyz)), {}
    for level in range(LEVELS):
        cells = np.floor((xyz[left] - low) / (SPACING / 2**level))
        first = np.unique(cells, axis=0, return_index=True)[1] if level < LEVELS - 1 else np.arange(len(left))
        taken, left = np.sort(left[first]), np.delete(left, first)
        places = np.minimum(np.floor((xyz[taken] - low) / (width / 2**level)), 2**level - 1).astype(int)
        for place in np.unique(places, axis=0):
            found[(level, *place.tolist())] = taken[(places == place).all(1)]
    return low, width, found


def records(xyz: np.ndarray, rgb: np.ndarray, label: np.ndarray, scale: float = 0.001) -> laspy.LasData:
    las = laspy.LasData(laspy.LasHeader(point_format=7, version="1.4"))
    las.header.global_encoding.wkt = True  # as COPC wants it
    las.header.scales, las.header.offsets = [scale] * 3, np.floor(xyz.min(0))
    las.x, las.y, las.z = xyz.T
    las.red, las.green, las.blue = rgb.T.astype(np.uint16) * 257
    las.classification = label
    return las


def copc(file: Path, las: laspy.LasData, pages: int = 1) -> np.ndarray:
    """Write COPC 1.0, and return the rows in the order of the file; of two `pages`, one is below the root."""
    low, width, tree = nodes(np.stack([las.x, las.y, las.z], 1))
    points, body = las.points.array, io.BytesIO()
    vlr = lazrs.LazVlr.new_for_compression(7, 0, use_variable_size_chunks=True)
    start = 375 + 54 + 160 + 54 + len(vlr.record_data())
    body.write(bytes(start))
    compressor, entries, order = lazrs.LasZipCompressor(body, vlr), {}, []
    compressor.reserve_offset_to_chunk_table()
    for key, rows in reversed(tree.items()):  # the root need not come first
        before = body.tell()
        compressor.compress_many(np.frombuffer(points[rows].tobytes(), np.uint8))
        compressor.finish_current_chunk()
        entries[key] = struct.pack("<iiiiQii", *key, before, body.tell() - before, len(rows))
        order.append(rows)
    compressor.done()
    data = bytearray(body.getvalue())
    at, below = len(data) + 60, b""
    if pages > 1:
        for first in [key for key in entries if key[0] == 1]:
            page = b"".join(entries.pop(key) for key in list(entries) if key[0] and _above(key, 1) == first)
            entries[first] = struct.pack("<iiiiQii", *first, at + len(below), len(page), -1)
            below += page
    root = b"".join(entries.values())
    hierarchy = below + root
    center = low + width / 2
    info = struct.pack("<dddddQQdd88x", *center, width / 2, SPACING, at + len(below), len(root), 0, 0)
    header = bytearray(375)
    stream = io.BytesIO()
    las.write(stream, do_compress=True, laz_backend=laspy.LazBackend.Lazrs)
    header[:] = stream.getvalue()[:375]
    struct.pack_into("<II", header, 96, start, 2)
    struct.pack_into("<QI", header, 235, len(data), 1)
    data[:start] = bytes(header) + _vlr("copc", 1, info) + _vlr("laszip encoded", 22204, vlr.record_data())
    file.write_bytes(bytes(data) + struct.pack("<H16sHQ32s", 0, b"copc", 1000, len(hierarchy), b"") + hierarchy)
    return np.concatenate(order)


def _above(key: tuple[int, ...], level: int) -> tuple[int, ...]:
    return level, *(place >> (key[0] - level) for place in key[1:])


def _vlr(user: str, record: int, data: bytes) -> bytes:
    return struct.pack("<H16sHH32s", 0, user.encode(), record, len(data), b"") + data


def ept(folder: Path, las: laspy.LasData, apart: bool = False) -> np.ndarray:
    """Write an EPT of LAZ, and return the rows in the order of its nodes; `apart`, with a file of a hierarchy below."""
    low, width, tree = nodes(np.stack([las.x, las.y, las.z], 1))
    (folder / "ept-data").mkdir(parents=True)
    (folder / "ept-hierarchy").mkdir()
    counts = {}
    for key, rows in tree.items():
        part = laspy.LasData(las.header)
        part.points = las.points[rows]
        counts[name := "-".join(map(str, key))] = len(rows)
        part.write(folder / "ept-data" / f"{name}.laz")
    if apart:
        first = next(name for name in counts if name.startswith("1-"))
        key = tuple(map(int, first.split("-")))
        below = {name: n for name, n in counts.items() if name[0] != "0" and _above(_key(name), 1) == key}
        counts = {name: n for name, n in counts.items() if name not in below} | {first: -1}
        (folder / "ept-hierarchy" / f"{first}.json").write_text(json.dumps(below))
    (folder / "ept-hierarchy" / "0-0-0-0.json").write_text(json.dumps(counts))
    about = {
        "bounds": [*low.tolist(), *(low + width).tolist()],
        "boundsConforming": [*las.header.mins.tolist(), *las.header.maxs.tolist()],
        "dataType": "laszip",
        "hierarchyType": "json",
        "points": len(las.points),
        "schema": [{"name": axis, "type": "signed", "size": 4, "scale": 0.001, "offset": 0} for axis in "XYZ"],
        "span": round(width / SPACING),
        "srs": {},
        "version": "1.0.0",
    }
    (folder / "ept.json").write_text(json.dumps(about))
    return np.concatenate([tree[key] for key in sorted(tree)])


def _key(name: str) -> tuple[int, ...]:
    return tuple(map(int, name.split("-")))
