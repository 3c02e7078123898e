"""The bytes of files of features: arrays, features mapped from the disk, and metadata as JSON, for each kind of file.

.npz has the metadata in its member `meta`, .safetensors under "msm3d" in its `__metadata__`, .ply in lines
`comment msm3d NAME JSON`. NPY has no place for it, so it follows the array: JSON, its length in eight bytes (little
endian) and `MSM3DNPY`; what reads NPY stops at the end of the array.
"""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .._util import memory
from .._util.atomic import claim
from ..errors import FileError

Fields = Mapping[str, np.ndarray]
Metadata = Mapping[str, Any] | None

_LONGEST = 1 << 20  # bytes of metadata, or of a header
_NPY_END = b"MSM3DNPY"
_SAFETENSORS = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64"}
_SAFETENSORS |= {"int32": "I32", "int16": "I16", "uint8": "U8"}
_PLY = {"<f8": "double", "<f4": "float", "<i4": "int", "|u1": "uchar"}
_PLY_NAMES = {
    "coord": ("x", "y", "z"),
    "color": ("red", "green", "blue", "alpha"),
    "normal": ("nx", "ny", "nz"),
    "segment": ("label",),
    "instance": ("instance",),
    "rows": ("row",),
}


def mapped(path: Path, dtype: Any, shape: tuple[int, ...], head: bytes = b"", tail: bytes = b"") -> np.ndarray:
    """Return an array that lies in a new file between `head` and `tail`; all of it has its place on the disk."""
    kind = np.dtype(dtype)
    end = len(head) + math.prod(shape) * kind.itemsize
    path.write_bytes(head)
    claim(path, end + len(tail))
    if tail:
        with path.open("r+b") as file:
            file.seek(end)
            file.write(tail)
    return np.memmap(path, kind, "r+", len(head), shape)


# --- NPZ ------------------------------------------------------------------------------------------------------------


def write_npz(path: Path, fields: Fields, feat: np.ndarray, meta: Metadata) -> None:
    """Write all at once: a ZIP file cannot be filled bit by bit."""
    beside: dict[str, Any] = dict(fields)
    if meta is not None:
        beside["meta"] = np.array(json.dumps(dict(meta)))
    with path.open("wb") as file:
        np.savez(file, **beside, feat=feat)


def npz_features(path: Path) -> np.ndarray:
    """Return the features, read into memory."""
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("feat.npy").file_size > memory.available():
            raise FileError("does not fit into memory; extract to .npy or .safetensors instead.")
        with archive.open("feat.npy") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)


def npz_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of the features without reading them."""
    with zipfile.ZipFile(path) as archive, archive.open("feat.npy") as stream:
        shape, dtype, start, _ = _npy_header(stream)
        if archive.getinfo("feat.npy").file_size != start + math.prod(shape) * dtype.itemsize:
            raise FileError("is damaged; extract it again.")
        return shape


def npz_metadata(path: Path) -> str | None:
    """Return the metadata's JSON, or None."""
    with zipfile.ZipFile(path) as archive:
        if "meta.npy" not in archive.namelist() or archive.getinfo("meta.npy").file_size > 4 * _LONGEST:
            return None
        with archive.open("meta.npy") as stream:
            return str(np.lib.format.read_array(stream, allow_pickle=False))


# --- NPY ------------------------------------------------------------------------------------------------------------


def create_npy(path: Path, shape: tuple[int, int], dtype: np.dtype, meta: Metadata) -> np.ndarray:
    """Return the features to fill; the metadata follows them."""
    head = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, described)
    text = b"" if meta is None else json.dumps(dict(meta)).encode()
    text += b" " * (-(len(text) + 16) % 64)  # whoever maps the whole rest of the file gets whole numbers
    tail = b"" if meta is None else text + len(text).to_bytes(8, "little") + _NPY_END
    return mapped(path, dtype, shape, head.getvalue(), tail)


def npy_features(path: Path) -> np.ndarray:
    """Return the features, mapped."""
    with path.open("rb") as file:
        shape, dtype, start, fortran = _npy_header(file)
    if dtype.hasobject:
        raise FileError("holds Python objects, which are never unpickled.")
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def npy_metadata(path: Path) -> str | None:
    """Return the metadata's JSON, or None."""
    with path.open("rb") as file:
        shape, dtype, start, _ = _npy_header(file)
        file.seek(start + math.prod(shape) * dtype.itemsize)
        rest = file.read(_LONGEST)
    length = int.from_bytes(rest[-16:-8], "little")
    return rest[:length].decode() if rest.endswith(_NPY_END) and length + 16 == len(rest) else None


def _npy_header(file: Any) -> tuple[tuple[int, ...], np.dtype, int, bool]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, dtype, file.tell(), fortran


# --- safetensors ----------------------------------------------------------------------------------------------------


def create_safetensors(
    path: Path, fields: Fields, shape: tuple[int, int], dtype: np.dtype, meta: Metadata
) -> np.ndarray:
    """Write all but the features, which are returned to fill: eight bytes of length, JSON, then the arrays."""
    sizes = {name: (array.shape, array.dtype) for name, array in fields.items()} | {"feat": (shape, dtype)}
    described: dict[str, Any] = {} if meta is None else {"__metadata__": {"msm3d": json.dumps(dict(meta))}}
    end = 0
    for name, (size, kind) in sorted(sizes.items(), key=lambda item: -item[1][1].itemsize):  # so that each is aligned
        start, end = end, end + math.prod(size) * kind.itemsize
        described[name] = {"dtype": _SAFETENSORS[kind.name], "shape": list(size), "data_offsets": [start, end]}
    header = json.dumps(described).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    claim(path, 8 + len(header) + end)
    maps = {
        name: np.memmap(path, kind, "r+", 8 + len(header) + described[name]["data_offsets"][0], size)
        for name, (size, kind) in sizes.items()
    }
    for name, array in fields.items():
        maps[name][:] = array
    return maps["feat"]


def safetensors_features(path: Path) -> np.ndarray:
    """Return the features, mapped."""
    first, described = _safetensors_header(path)
    entry = described["feat"]
    kind = next(name for name, code in _SAFETENSORS.items() if code == entry["dtype"])
    rows, channels = entry["shape"]
    start, end = entry["data_offsets"]
    last = max(each["data_offsets"][1] for name, each in described.items() if name != "__metadata__")
    if end - start != rows * channels * np.dtype(kind).itemsize or first + last != path.stat().st_size:
        raise FileError("is damaged; extract it again.")
    return np.memmap(path, kind, "r", first + start, (rows, channels))


def safetensors_metadata(path: Path) -> str | None:
    """Return the metadata's JSON, or None."""
    return _safetensors_header(path)[1].get("__metadata__", {}).get("msm3d")


def _safetensors_header(path: Path) -> tuple[int, dict[str, Any]]:
    """Return where the arrays begin, and what is said of them."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LONGEST:
            raise FileError("is not a file of features.")
        return 8 + length, json.loads(file.read(length))


# --- PLY ------------------------------------------------------------------------------------------------------------


def create_ply(path: Path, fields: Fields, channels: int, meta: Metadata) -> np.ndarray:
    """Write all but the features, which are returned to fill.

    Torch can only use records of a multiple of four bytes: so colours have an alpha, which is 255, and labels four
    bytes, or eight, as doubles, where they need them, since PLY has no such integers.
    """
    parts = {}
    for name, array in fields.items():
        if name == "color":
            opaque = np.full((len(array), 1), 255, np.uint8)
            parts[name] = np.concatenate([np.rint(array).astype(np.uint8), opaque], axis=1)
        elif name in ("coord", "normal"):
            parts[name] = array
        else:
            parts[name] = array[:, None].astype("<i4" if np.abs(array).max() < 1 << 31 else "<f8")
    kinds = [(name, parts[name].dtype.str, parts[name].shape[1]) for name in _PLY_NAMES if name in parts]
    record = np.dtype([(name, kind, (width,)) for name, kind, width in [*kinds, ("feat", "<f4", channels)]])
    lines = ["ply", "format binary_little_endian 1.0"]
    lines += [f"comment msm3d {name} {json.dumps(value)}" for name, value in (meta or {}).items()]
    lines += [f"element vertex {len(fields['coord'])}"]
    lines += [f"property {_PLY[kind]} {column}" for name, kind, _ in kinds for column in _PLY_NAMES[name]]
    lines += [f"property float feat_{i}" for i in range(channels)]
    vertices = mapped(path, record, (len(fields["coord"]),), "\n".join([*lines, "end_header\n"]).encode("ascii"))
    for name, array in parts.items():
        vertices[name] = array
    return vertices["feat"]


def ply_features(path: Path) -> np.ndarray:
    """Return the features, mapped."""
    lines, start = _ply_header(path)
    sizes = {word: int(kind[2:]) for kind, word in _PLY.items()}
    form, count, before, channels, size = "", 0, 0, 0, 0
    for line in lines:
        match line.split():
            case ["format", form, _]:
                pass
            case ["element", "vertex", number] if not count:
                count = int(number)
            case ["property", "float", name] if name == f"feat_{channels}" and size == before + 4 * channels:
                channels, size = channels + 1, size + 4
            case ["property", word, _]:
                size += sizes[word]
                before = before if channels else size
            case ["element", _, number]:
                raise FileError("has other elements than points; give a file as msm3d extract writes it.")
    if form != "binary_little_endian" or not channels:
        raise FileError("holds no features of msm3d extract.")
    record = np.dtype({"names": ["feat"], "formats": [("<f4", (channels,))], "offsets": [before], "itemsize": size})
    return np.memmap(path, record, "r", start, (count,))["feat"]


def ply_metadata(path: Path) -> str | None:
    """Return the metadata's JSON, or None."""
    mine = [line.split(maxsplit=3)[2:] for line in _ply_header(path)[0] if line.startswith("comment msm3d ")]
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in mine) + "}" if mine else None


def _ply_header(path: Path) -> tuple[list[str], int]:
    """Return the lines of the header and where the points begin."""
    with path.open("rb") as file:
        lines = list(_lines(file))
        return lines, file.tell()


def _lines(file: BinaryIO) -> Any:
    while True:
        line = file.readline(_LONGEST)
        if not line.endswith(b"\n") or file.tell() > _LONGEST:
            raise FileError("has no 'end_header'; it is truncated or no PLY file.")
        if line.strip() == b"end_header":
            return
        yield line.decode("ascii", "replace").strip()
