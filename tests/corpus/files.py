"""Files of the corpus, written as the programs that people met them in write them."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.corpus import RGB, XYZ, Made

KINDS = {"f4": "float", "f8": "double", "u1": "uchar", "u2": "ushort", "i4": "int", "u4": "uint"}
Column = tuple[str, str, Any]


def axes(points: np.ndarray, kind: str = "f4") -> list[Column]:
    return [(name, kind, points[:, i]) for i, name in enumerate("xyz")]


def colours(values: np.ndarray, kind: str = "u1") -> list[Column]:
    return [(name, kind, values[:, i]) for i, name in enumerate(("red", "green", "blue"))]


def ply(columns: Sequence[Column], name: str = "scan.ply", text: bool = False) -> Made:
    """Return what writes a PLY file of columns: name, numpy's code, values."""

    def write(folder: Path) -> Path:
        rows = np.zeros(len(columns[0][2]), [(column, "<" + kind) for column, kind, _ in columns])
        for column, _, values in columns:
            rows[column] = values
        head = f"ply\nformat {'ascii' if text else 'binary_little_endian'} 1.0\nelement vertex {len(rows)}\n"
        head += "".join(f"property {KINDS[kind]} {column}\n" for column, kind, _ in columns) + "end_header\n"
        body = "".join(" ".join(map(str, row.tolist())) + "\n" for row in rows).encode() if text else rows.tobytes()
        (folder / name).write_bytes(head.encode() + body)
        return folder / name

    return write


def pcd(fields: str, sizes: str, kinds: str, rows: Sequence[str] | bytes, count: int, name: str = "scan.pcd") -> Made:
    """Return what writes a PCD file, ASCII of lines or binary."""
    ones = " ".join("1" for _ in fields.split())
    head = f"VERSION .7\nFIELDS {fields}\nSIZE {sizes}\nTYPE {kinds}\nCOUNT {ones}\nWIDTH {count}\nHEIGHT 1\n"
    head += f"POINTS {count}\nDATA {'binary' if isinstance(rows, bytes) else 'ascii'}\n"
    body = rows if isinstance(rows, bytes) else ("\n".join(rows) + "\n").encode()
    return raw(name, head.encode() + body)


def raw(name: str, content: bytes | str) -> Made:
    """Return what writes a file of this content."""

    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder / name

    return write


def npz(name: str = "scan.npz", **arrays: Any) -> Made:
    def write(folder: Path) -> Path:
        np.savez(folder / name, **arrays)
        return folder / name

    return write


def several(*makers: Made) -> Made:
    """Return what writes several files and gives the first."""

    def write(folder: Path) -> Path:
        first, *_ = [make(folder) for make in makers]
        return first

    return write


def glb(
    attributes: dict[str, tuple[np.ndarray, int, str]],
    *,
    faces: np.ndarray | None = None,
    material: dict[str, Any] | None = None,
    extensions: dict[str, Any] | None = None,
    name: str = "scan.glb",
) -> Made:
    """Return what writes a GLB of one piece: attribute → values, glTF's code of their type, VEC3 or VEC4."""
    accessors, views, data = [], [], b""
    arrays = {key: (value, code, kind) for key, (value, code, kind) in attributes.items()}
    if faces is not None:
        arrays["faces"] = (faces.astype(np.uint32).reshape(-1), 5125, "SCALAR")
    for values, code, kind in arrays.values():
        content = np.ascontiguousarray(values).tobytes()
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(content)})
        accessor = {"bufferView": len(views) - 1, "componentType": code, "count": len(values), "type": kind}
        if values.dtype == np.float32 and kind == "VEC3":
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        accessors.append(accessor | ({"normalized": True} if code in (5121, 5123) else {}))
        data += content + bytes(-len(content) % 4)
    piece: dict[str, Any] = {
        "attributes": {key: i for i, key in enumerate(attributes)},
        "mode": 0 if faces is None else 4,
    }
    tree: dict[str, Any] = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}]}
    if faces is not None:
        piece["indices"] = len(attributes)
    if material:
        piece["material"], tree["materials"] = 0, [material]
    if extensions:
        piece["extensions"] = extensions
        tree |= {"extensionsUsed": list(extensions), "extensionsRequired": list(extensions)}
        for accessor in accessors:
            accessor.pop("bufferView", None)
    tree |= {"meshes": [{"primitives": [piece]}], "accessors": accessors, "bufferViews": views}
    tree |= {"buffers": [{"byteLength": len(data)}]}
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    head = b"glTF" + struct.pack("<II", 2, 28 + len(text) + len(data)) + struct.pack("<I", len(text)) + b"JSON"
    return raw(name, head + text + struct.pack("<I", len(data)) + b"BIN\0" + data)


def y_up(points: np.ndarray) -> np.ndarray:
    """Return points that are z up as glTF holds them."""
    return np.c_[points[:, 0], points[:, 2], -points[:, 1]].astype(np.float32)


CORNERS = np.array([[x, y, z] for x in (0, 6) for y in (0, 4) for z in (0, 2.6)], np.float64)
"""Of a room, z up."""
BOX = np.array(
    [
        [0, 1, 3],
        [0, 3, 2],
        [4, 6, 7],
        [4, 7, 5],
        [0, 4, 5],
        [0, 5, 1],
        [2, 3, 7],
        [2, 7, 6],
        [0, 2, 6],
        [0, 6, 4],
        [1, 5, 7],
        [1, 7, 3],
    ]
)
SCAN = npz(coord=XYZ, color=RGB, normal=np.tile([0.0, 0, 1], (len(XYZ), 1)))
"""A scan that is good in every way."""


def las(colors: np.ndarray | None, name: str = "scan.las") -> Made:
    """Return what writes a LAS file with colours of 16 bits."""

    def write(folder: Path) -> Path:
        las_of(colors).write(str(folder / name))
        return folder / name

    return write


def las_of(colors: np.ndarray | None) -> Any:
    import laspy

    header = laspy.LasHeader(point_format=0 if colors is None else 2)
    header.scales = [0.001] * 3
    scan = laspy.LasData(header)
    scan.x, scan.y, scan.z = XYZ.T
    if colors is not None:
        scan.red, scan.green, scan.blue = colors.T
    return scan
