"""glTF 2.0, as GLB or as JSON with files beside it: y up, metres, and colours that are linear until they are shown."""

import base64
import json
import struct
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .._util.words import cut
from ..errors import FileError
from . import limits, pictures
from .surface import Mesh, Paint, joined, together

_NUMBERS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_INSTANCES = "EXT_mesh_gpu_instancing"
_WEBP = "EXT_texture_webp"
_MOVED = "KHR_texture_transform"
_READ = {_INSTANCES, _WEBP, _MOVED, "KHR_mesh_quantization"}
_OF_THE_LOOK = ("KHR_materials_", "KHR_lights_", "EXT_lights_", "KHR_xmp")  # nothing of these moves a point
_CURES = {
    "KHR_draco_mesh_compression": "is compressed with Draco",
    "EXT_meshopt_compression": "is compressed with meshopt",
    "KHR_meshopt_compression": "is compressed with meshopt",
    "KHR_texture_basisu": "has textures compressed with Basis Universal (KTX2)",
}


def mesh(file: Path) -> Mesh:
    """Return the meshes of the scene that is shown first, node by node, in the file's own axes."""
    asset = _Asset(file)
    placed = list(asset.nodes())
    places = [place for node, _ in placed for place, _ in asset.shared(node["mesh"])]
    count = sum(int(asset.entry("accessors", place).get("count", 0)) for place in places)
    limits.fits(count * 100, f"places {count} vertices, which stand for a cloud")
    meshes = [_moved(piece, matrix) for node, matrix in placed for piece in asset.pieces(node["mesh"])]
    if not meshes:
        raise FileError("holds no vertices; there is nothing to read.")
    return joined(meshes)


def _moved(piece: Mesh, matrix: np.ndarray) -> Mesh:
    """Return a mesh where a node puts it; a node that mirrors turns the faces over."""
    if np.array_equal(matrix, np.eye(4)):
        return piece
    a, b, c = linear = matrix[:3, :3]
    mirrored, paint = np.linalg.det(linear) < 0, piece.paint
    if mirrored and paint and paint.place is not None:
        paint = replace(paint, place=paint.place[:, [0, 2, 1]])
    across = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)]) * (-1 if mirrored else 1)  # also where flat
    return replace(
        piece,
        coord=piece.coord @ linear.T + matrix[:3, 3],
        normal=None if piece.normal is None else piece.normal @ across.T,
        faces=piece.faces[:, [0, 2, 1]] if mirrored else piece.faces,
        paint=paint,
    )


def shown(linear: np.ndarray) -> np.ndarray:
    """Return linear colours, 0 to 1, as a screen and a camera's picture have them, 0 to 255.

    >>> shown(np.array([0, 0.2140, 1])).round().tolist()
    [0.0, 127.0, 255.0]
    """
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def linear(shown: np.ndarray) -> np.ndarray:
    """Return colours of a picture, 0 to 255, as linear ones, 0 to 1."""
    value = shown / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


class _Asset:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.buffers: dict[int, bytes] = {}
        self.images: dict[tuple[Any, ...], np.ndarray | None] = {}
        self.built: dict[int, list[Mesh]] = {}
        text, self.chunk = _parts(file.read_bytes())
        try:
            self.json: dict[str, Any] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FileError(f"is not glTF: its JSON cannot be read ({cut(error)}); export it again.") from error
        if not isinstance(self.json, dict) or not isinstance(self.json.get("asset"), dict):
            raise FileError("is not glTF: its JSON has no 'asset'; export it again.")
        version = str(self.json["asset"].get("version"))
        if not version.startswith("2."):
            raise FileError(f"is glTF {cut(version)}; export it as glTF 2.0.")
        for name in self.json.get("extensionsRequired", []):
            if name not in _READ and not str(name).startswith(_OF_THE_LOOK):
                _refuse(str(name))

    def entry(self, kind: str, index: Any) -> dict[str, Any]:
        entries = self.json.get(kind, [])
        if type(index) is not int or not isinstance(entries, list) or not 0 <= index < len(entries):
            raise FileError(f"names {kind}[{cut(index)}], which it does not have; export it again.")
        if not isinstance(entries[index], dict):
            raise FileError(f"has {kind}[{index}] that is not an object; export it again.")
        return entries[index]

    def nodes(self) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        """Give the nodes with a mesh, parents before their children, each with its place; one for each instance."""
        if self.json.get("scenes"):
            roots = self.entry("scenes", self.json.get("scene", 0)).get("nodes", [])
        else:
            below = {child for node in self.json.get("nodes", []) for child in node.get("children", [])}
            roots = [index for index in range(len(self.json.get("nodes", []))) if index not in below]
        seen = set()
        stack = [(index, np.eye(4)) for index in reversed(roots)]
        while stack:
            index, above = stack.pop()
            node = self.entry("nodes", index)
            if index in seen:
                raise FileError(f"has the node {index} at two places of its tree; export it again.")
            seen.add(index)
            matrix = above @ _matrix(node)
            if "mesh" in node:
                for inner in self.instances(node):
                    yield node, matrix @ inner
            stack += [(child, matrix) for child in reversed(node.get("children", []))]

    def instances(self, node: dict[str, Any]) -> Iterator[np.ndarray]:
        """Give the places of a node's instances, within the node."""
        attributes = node.get("extensions", {}).get(_INSTANCES, {}).get("attributes")
        if not attributes:
            yield np.eye(4)
            return
        keys = {"TRANSLATION": "translation", "ROTATION": "rotation", "SCALE": "scale"}
        values = {keys[name]: self.accessor(index, True) for name, index in attributes.items() if name in keys}
        for row in zip(*values.values(), strict=True):
            yield _matrix(dict(zip(values, row, strict=True)))

    def shared(self, index: Any) -> dict[tuple[Any, Any], list[dict[str, Any]]]:
        """Return the primitives of a mesh by their vertices: positions and colours."""
        shared: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
        for primitive in self.entry("meshes", index).get("primitives", []):
            attributes = primitive.get("attributes", {})
            if "POSITION" in attributes:
                shared.setdefault((attributes["POSITION"], attributes.get("COLOR_0")), []).append(primitive)
        return shared

    def pieces(self, index: int) -> list[Mesh]:
        """Return the primitives of a mesh; those that share their vertices, as one."""
        if index not in self.built:
            self.built[index] = [self.piece(primitives) for primitives in self.shared(index).values()]
        return self.built[index]

    def piece(self, primitives: list[dict[str, Any]]) -> Mesh:
        attributes = primitives[0]["attributes"]
        for primitive in primitives:
            for name in primitive.get("extensions", {}):
                if name in _CURES and "bufferView" not in self.entry("accessors", attributes["POSITION"]):
                    _refuse(name)
        coord = self.accessor(attributes["POSITION"]).astype(np.float64)
        if coord.shape[1] != 3:
            raise FileError(f"has positions of {coord.shape[1]} numbers; x, y and z are needed.")
        normal = self.accessor(attributes["NORMAL"], True) if "NORMAL" in attributes else None
        tint = self.accessor(attributes["COLOR_0"], True, colour=True)[:, :3] if "COLOR_0" in attributes else None
        for name, value in (("normals", normal), ("colours", tint)):
            if value is not None and value.shape != coord.shape:
                raise FileError(f"has {len(value)} {name} for {len(coord)} positions; export it again.")
        faces = [self.faces(primitive, len(coord)) for primitive in primitives]
        found = Mesh(coord=coord, faces=np.concatenate(faces), normal=normal)
        paints = [self.paint(primitive, face) for primitive, face in zip(primitives, faces, strict=True)]
        if any(paints):
            found = replace(found, paint=together(paints, [np.full((len(face), 3), np.nan) for face in faces]))
        if not len(found.faces) and paints[0]:
            found = replace(found, color=np.tile(paints[0].plain[:1], (len(coord), 1)).astype(np.float32), paint=None)
        if tint is None or (found.paint and (tint == 1).all()):
            return found
        under = found.colors()
        # The look is the product of all three; of a picture under a tint only the vertices' colours are kept.
        color = shown(tint if under is None else tint * linear(under))
        return replace(found, color=color.astype(np.float32), paint=None)

    def faces(self, primitive: dict[str, Any], count: int) -> np.ndarray:
        """Return the triangles of a primitive; points and lines have none."""
        mode = primitive.get("mode", 4)
        if mode not in (4, 5, 6):
            return np.zeros((0, 3), dtype=np.int64)
        corners = self.accessor(primitive["indices"])[:, 0] if "indices" in primitive else np.arange(count)
        corners = corners.astype(np.int64)
        if mode == 4:
            return corners[: len(corners) // 3 * 3].reshape(-1, 3)
        first = corners[:-2] if mode == 5 else np.broadcast_to(corners[:1], (max(len(corners) - 2, 0),))
        strip = np.stack([first, corners[1:-1], corners[2:]], axis=1)
        if mode == 5:
            strip[1::2] = strip[1::2][:, [0, 2, 1]]
        return strip

    def paint(self, primitive: dict[str, Any], faces: np.ndarray) -> Paint | None:
        """Return what a primitive's material says: a picture, or one plain colour; None where it says neither."""
        if "material" not in primitive:
            return None
        material = self.entry("materials", primitive["material"])
        look, factor, texture = material.get("pbrMetallicRoughness", {}), "baseColorFactor", "baseColorTexture"
        older = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness")
        if older is not None:
            look, factor, texture = older, "diffuseFactor", "diffuseTexture"
        color = np.array(look.get(factor, [1, 1, 1, 1])[:3], dtype=np.float64)
        if color.shape != (3,) or not np.isfinite(color).all():
            raise FileError(f"has a {factor} that is not four numbers; export it again.")
        count = max(len(faces), 1)
        place = look.get(texture)
        if place is not None:
            number, moved = place.get("texCoord", 0), place.get("extensions", {}).get(_MOVED, {})
            name = f"TEXCOORD_{moved.get('texCoord', number)}"
            picture = self.picture(place.get("index"), tuple(color.tolist()))
            if picture is not None and name in primitive["attributes"] and len(faces):
                at = self.accessor(primitive["attributes"][name], True)
                if len(at) <= faces.max() or at.shape[1] != 2:
                    raise FileError(f"has {len(at)} texture coordinates for more vertices; export it again.")
                blank, which = np.full((count, 3), np.nan), np.zeros(count, dtype=np.int64)
                return Paint(plain=blank, pictures=[picture], picture=which, place=_slid(at, moved)[faces])
        return Paint(plain=np.tile(shown(color), (count, 1))) if factor in look else None

    def picture(self, index: Any, factor: tuple[float, ...]) -> np.ndarray | None:
        """Return a texture's picture times a factor; None, with a warning, where its file is missing."""
        texture = self.entry("textures", index)
        source = texture.get("extensions", {}).get(_WEBP, texture).get("source", texture.get("source"))
        if source is None:
            return None
        if (source, factor) not in self.images:
            image = self.entry("images", source)
            name = str(image.get("uri") or image.get("name") or f"images[{source}]")
            data = self.view(image["bufferView"])[0] if "bufferView" in image else self.uri(name)
            found = None if data is None else pictures.picture(data, name)
            if found is None:
                pictures.missing(self.file, [name])
            elif min(factor) < 1:
                scale = shown(linear(np.arange(256))[:, None] * factor).round().astype(np.uint8)
                found = np.stack([scale[found[..., i], i] for i in range(3)], axis=-1)
            self.images[source, factor] = found
        return self.images[source, factor]

    def accessor(self, index: Any, floats: bool = False, colour: bool = False) -> np.ndarray:
        """Return the numbers of an accessor as (n, width); `floats` makes normalised integers -1 or 0 to 1."""
        entry = self.entry("accessors", index)
        kind, width, count = entry.get("componentType"), _WIDTHS.get(str(entry.get("type"))), entry.get("count")
        if kind not in _NUMBERS or width is None or type(count) is not int or count < 1:
            raise FileError(f"has accessors[{index}] of an unknown type or count; export it again.")
        dtype = np.dtype(_NUMBERS[kind])
        if "bufferView" in entry:
            values = self.values(entry["bufferView"], entry.get("byteOffset", 0), dtype, count, width).copy()
        elif "sparse" in entry:
            limits.fits(count * width * dtype.itemsize, "declares numbers")
            values = np.zeros((count, width), dtype=dtype)
        else:
            raise FileError(f"has accessors[{index}] without data; export it again, uncompressed.")
        if "sparse" in entry:
            where, what, number = (entry["sparse"][name] for name in ("indices", "values", "count"))
            place = np.dtype(_NUMBERS[where["componentType"]])
            rows = self.values(where["bufferView"], where.get("byteOffset", 0), place, number, 1)[:, 0].astype(np.int64)
            if rows.max(initial=0) >= count:
                raise FileError(f"has accessors[{index}] with rows that it does not have; export it again.")
            values[rows] = self.values(what["bufferView"], what.get("byteOffset", 0), dtype, number, width)
        if floats and dtype.kind in "iu" and (entry.get("normalized") or colour):
            return np.maximum(values / np.iinfo(dtype).max, -1)
        return values

    def values(self, view: Any, start: Any, dtype: np.dtype, count: int, width: int) -> np.ndarray:
        data, stride = self.view(view)
        row = dtype.itemsize * width
        stride = stride or row
        good = all(type(number) is int and number >= 0 for number in (start, count, stride))
        if not good or stride < row or start + (count - 1) * stride + row > len(data):
            view = cut(view)
            raise FileError(f"has numbers beyond the end of bufferViews[{view}]; it is truncated, export it again.")
        return np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize))

    def view(self, index: Any) -> tuple[bytes, int]:
        """Return the bytes of a buffer view, and the distance of its rows or 0."""
        entry = self.entry("bufferViews", index)
        for name in _CURES.keys() & entry.get("extensions", {}).keys():
            _refuse(name)
        buffer, start, size = entry.get("buffer"), entry.get("byteOffset", 0), entry.get("byteLength")
        data = self.buffer(buffer)
        if type(start) is not int or type(size) is not int or start < 0 or size < 0 or start + size > len(data):
            raise FileError(f"has bufferViews[{cut(index)}] beyond its data; it is truncated, export it again.")
        return data[start : start + size], int(entry.get("byteStride", 0))

    def buffer(self, index: Any) -> bytes:
        """Return a buffer: the GLB's own, one in the JSON, or a file beside it."""
        if index not in self.buffers:
            uri = self.entry("buffers", index).get("uri")
            data = self.chunk if uri is None else self.uri(str(uri))
            if data is None:
                what = "names no data for its buffer" if uri is None else f"needs {cut(uri)!r}, which is not beside it"
                raise FileError(f"{what}; put all files of the export in one folder.")
            self.buffers[index] = data
        return self.buffers[index]

    def uri(self, uri: str) -> bytes | None:
        """Return what a URI stands for: data in itself, or a file beside ours; None where there is none."""
        if uri.startswith("data:"):
            return base64.b64decode(uri.partition(",")[2])
        path = pictures.beside(self.file, urllib.parse.unquote(uri))
        if path is None:
            return None
        limits.fits(path.stat().st_size, f"needs {cut(uri)!r}")
        return path.read_bytes()


def _parts(data: bytes) -> tuple[bytes, bytes | None]:
    """Return the JSON, and the bytes that follow it in a GLB."""
    if data[:4] != b"glTF":
        return data, None
    if len(data) < 20 or struct.unpack_from("<I", data, 4)[0] != 2:
        raise FileError("is a GLB of another version than 2; export it as glTF 2.0.")
    declared, size = struct.unpack_from("<II", data, 8)
    whole = max(declared, 20 + size) <= len(data) and data[16:20] == b"JSON"
    limits.whole(whole, f"{declared} bytes", str(len(data)))
    text, rest = data[20 : 20 + size], data[20 + size :]
    if len(rest) < 8 or rest[4:8] != b"BIN\0":
        return text, None
    length = struct.unpack_from("<I", rest)[0]
    limits.whole(length <= len(rest) - 8, f"{length} bytes of numbers", str(len(rest) - 8))
    return text, rest[8 : 8 + length]


def _refuse(extension: str) -> None:
    what = _CURES.get(extension, "needs an extension that msm3d does not know")
    raise FileError(f"{what} ({cut(extension)}); export it plain, without it.")


def _matrix(node: dict[str, Any]) -> np.ndarray:
    """Return where a node is within its parent, as (4, 4)."""
    if "matrix" in node:
        matrix = np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    else:
        x, y, z, w = (float(value) for value in node.get("rotation", (0, 0, 0, 1)))
        turn = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        matrix = np.eye(4)
        matrix[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), dtype=np.float64)
        matrix[:3, 3] = node.get("translation", (0, 0, 0))
    if not np.isfinite(matrix).all():
        raise FileError("has a node whose place is not finite; export it again.")
    return matrix


def _slid(at: np.ndarray, moved: dict[str, Any]) -> np.ndarray:
    """Return texture coordinates as KHR_texture_transform moves them."""
    if not moved:
        return at
    (x, y), (across, down), angle = moved.get("offset", (0, 0)), moved.get("scale", (1, 1)), moved.get("rotation", 0)
    cos, sin = np.cos(angle), np.sin(angle)
    return at * [across, down] @ np.array([[cos, -sin], [sin, cos]]) + [x, y]
