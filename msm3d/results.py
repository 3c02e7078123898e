"""Descriptors to files, row by row as they come: whole files or nothing."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from . import memory
from .atomic import replacing
from .errors import InputError

FORMATS = (".npz", ".npy", ".safetensors", ".ply")
"""What can be written, by ending."""


def check_format(path: str | os.PathLike[str]) -> Path:
    """Return `path`, or fail before any work is done if its ending or its folder is not good.

    >>> check_format("features.xyz")
    Traceback (most recent call last):
    msm3d.errors.InputError: features.xyz cannot hold features; end it with one of .npz, .npy, .safetensors, .ply.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path} cannot hold features; end it with one of {', '.join(FORMATS)}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}; make it first: mkdir -p {path.parent}")
    return path


@contextmanager
def writing(
    path: str | os.PathLike[str],
    coord: np.ndarray,
    channels: int,
    dtype: str = "float32",
    rows: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Yield the array (n, channels) to fill with one scan's descriptors; at the end it is the file `path`.

    All but .npz are mapped from disk, so that a result larger than memory can be written. If anything fails, an older
    file of that name stays as it was.

    Args:
        path: .npz or .safetensors with `coord`, `feat` (and `rows`), .npy with `feat` alone, or .ply with x, y, z and
            feat_0, feat_1, …
        coord: (n, 3) float64 metres, z up.
        channels: width of a descriptor.
        dtype: of the descriptors, "float32" or "float16".
        rows: (n,) row of the file that each point came from, where rows of it were dropped.

    Raises:
        InputError: the path or the dtype is not good, or an .npz would not fit into memory.
    """
    path, shape, kind = check_format(path), (len(coord), channels), np.dtype(dtype)
    beside: dict[str, Any] = {"coord": coord} | ({} if rows is None else {"rows": rows})
    suffix = path.suffix.lower()
    if suffix == ".npz" and shape[0] * channels * kind.itemsize > memory.available():
        gigabytes = shape[0] * channels * kind.itemsize / 1e9
        raise InputError(f"{path} would hold {gigabytes:.1f} GB, more than memory; write .npy or .safetensors instead.")
    if suffix == ".ply" and kind != np.float32:
        raise InputError(f"PLY has no {kind.name}; write .npy, .npz or .safetensors, or leave out --dtype.")
    with replacing(path) as partial:
        if suffix == ".npz":
            feat = np.empty(shape, kind)
            yield feat
            with partial.open("wb") as file:
                np.savez(file, **beside, feat=feat)
        elif suffix == ".npy":
            yield np.lib.format.open_memmap(partial, "w+", kind, shape)
        elif suffix == ".safetensors":
            yield _safetensors(partial, beside, shape, kind)
        else:
            yield _ply(partial, coord, channels)


def _safetensors(path: Path, beside: dict[str, np.ndarray], shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Write all but the features, which are last; the format is eight bytes of length, JSON, data."""
    names = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64"}
    described, end = {}, 0
    for name, (size, kind) in {**{k: (v.shape, v.dtype) for k, v in beside.items()}, "feat": (shape, dtype)}.items():
        start, end = end, end + int(np.prod(size)) * kind.itemsize
        described[name] = {"dtype": names[kind.name], "shape": list(size), "data_offsets": [start, end]}
    header = json.dumps(described).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for array in beside.values():
            _write_rows(file, array)
        offset = file.tell()
        file.truncate(offset + shape[0] * shape[1] * dtype.itemsize)
    return np.memmap(path, dtype, "r+", offset, shape)


def _ply(path: Path, coord: np.ndarray, channels: int) -> np.ndarray:
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(coord)}"]
    header += [f"property double {axis}" for axis in "xyz"] + [f"property float feat_{i}" for i in range(channels)]
    text = "\n".join([*header, "end_header\n"]).encode()
    record = np.dtype([("xyz", "<f8", 3), ("feat", "<f4", channels)])
    with path.open("wb") as file:
        file.write(text)
        file.truncate(len(text) + len(coord) * record.itemsize)
    vertices = np.memmap(path, record, "r+", len(text), (len(coord),))
    vertices["xyz"] = coord
    return vertices["feat"]


def _write_rows(file: BinaryIO, array: np.ndarray) -> None:
    for start in range(0, len(array), 1 << 20):
        file.write(np.ascontiguousarray(array[start : start + (1 << 20)]).tobytes())
