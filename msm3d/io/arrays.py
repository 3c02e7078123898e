"""NPZ and NPY, never unpickled, and the authors' scene dictionary saved with torch, read by its safe loader."""

import math
import re
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .._util.words import cut
from ..errors import FileError
from ..scan import columns
from ..scan.objects import NAMES, parts
from ..scan.options import ReadOptions
from . import limits
from .layouts.npy import npy_header

SUFFIXES = (".npz", ".npy", ".safetensors", ".pth", ".pt")
TITLE = "NPZ, NPY, safetensors, PTH, PT"
NOTE = "PTH and PT are scene dictionaries saved with torch; nothing in them is executed"

_COORD = NAMES["coord"]
_HEAD = 1 << 24  # bytes in which the names of what a file holds are looked for


def content(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the arrays by field name."""
    kind = file.suffix.lower()
    if kind == ".npz":
        return _npz(file)
    if kind == ".npy":
        with file.open("rb") as stream:
            array = _array(stream, file.stat().st_size)
        if array.dtype.names:
            return columns.fields({name: array[name] for name in array.dtype.names})
        return parts(array)
    if kind == ".safetensors":
        return _safetensors(file)
    found = _scene(file)
    for name, array in found.items():  # one number can stand for an array of any shape
        limits.fits(array.nbytes, f"has {name!r}, an array of shape {array.shape},")
    return found


def _npz(file: Path) -> dict[str, Any]:
    found = {}
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        there = {name: members[name] for names in NAMES.values() for name in names if name in members}
        for name, info in there.items():
            size, packed = info.file_size, info.compress_size
            if size > packed * 1032 or packed > file.stat().st_size:  # for no more a byte of a ZIP file can stand
                raise FileError(f"declares {size} bytes for {name!r}, more than it can hold; export it again.")
        limits.fits(sum(info.file_size for info in there.values()), "stands for arrays")
        for name, info in there.items():
            with archive.open(info) as stream:
                found[name] = _array(stream, info.file_size)
    if any(name in found for name in NAMES["coord"]):
        return parts(found)
    key = next((name for name in ("means3d", "means3D", "means") if name in members), None)
    if key:
        raise FileError(f"holds {key!r}, the places of Gaussian splats; export them as PLY, or save them as 'coord'.")
    keys = cut(", ".join(map(repr, members)) or "nothing", 200)
    raise FileError(f"holds {keys}; an array named {' or '.join(map(repr, NAMES['coord'][:3]))} is needed.")


def _safetensors(file: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as tensors:
        names = list(tensors.keys())
        found = {name: tensors.get_tensor(name) for group in NAMES.values() for name in group if name in names}
    if any(name in found for name in NAMES["coord"]):
        return parts(found)
    keys = cut(", ".join(map(repr, names)) or "nothing", 200)
    raise FileError(f"holds {keys}; a tensor named {' or '.join(map(repr, NAMES['coord'][:3]))} is needed.")


def _array(stream: Any, size: int) -> np.ndarray:
    """Return the array of an NPY file of `size` bytes."""
    shape, dtype, start, fortran = npy_header(stream)
    if dtype.hasobject:
        raise FileError("holds Python objects, which are never unpickled; save plain arrays of numbers.")
    limits.fits(size, "holds an array")
    needed, there = math.prod(shape) * dtype.itemsize, size - start
    if needed > there:
        raise FileError(
            f"declares an array of shape {shape}, {needed} bytes, but holds {there}; it is truncated, save it again."
        )
    data = np.frombuffer(stream.read(needed), dtype=dtype)
    return data.reshape(shape[::-1]).T if fortran else data.reshape(shape)


def loaded(file: Path) -> Any:
    """Return what was saved with `torch.save`, of plain values, arrays and tensors; nothing in it is executed.

    Raises:
        FileError: it is something else, or larger than memory.
    """
    import torch

    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            limits.fits(sum(info.file_size for info in archive.infolist()), "stands for tensors")
    try:
        with torch.serialization.safe_globals(_numpy_globals()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = cut(error, 200).rstrip(".") or type(error).__name__
        raise FileError(
            f"is not a dictionary of plain arrays that torch loads safely ({reason}); "
            "save its arrays with np.savez(path, coord=..., color=..., normal=...) instead."
        ) from error


def _scene(file: Path) -> dict[str, Any]:
    """Return a dictionary of arrays or tensors that was saved with `torch.save`."""
    scene = loaded(file)
    if not isinstance(scene, dict):
        raise FileError(f"holds a {type(scene).__name__}; a dictionary with 'coord', 'color' and 'normal' is needed.")
    return {name: np.asarray(value) for name, value in parts(scene).items()}


def _numpy_globals() -> list[Any]:
    """Return what a pickled array of numbers consists of, under the names of numpy 1 and 2."""
    import _codecs

    reconstruct, scalar = np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(code)) for code in "?bhilqBHILQefd"}
    named = [(reconstruct, "_reconstruct"), (scalar, "scalar")]
    named = [(value, f"numpy.{core}.multiarray.{name}") for value, name in named for core in ("core", "_core")]
    return [np.ndarray, np.dtype, _codecs.encode, *dtypes, *named]


def is_weights(file: Path) -> bool:
    """Whether a file of one of these kinds, or a BIN, holds weights of a network: names of layers and no coordinates.

    What was pickled is looked at as bytes; nothing in it is executed.
    """
    if (suffix := file.suffix.lower()) not in (".safetensors", ".pth", ".pt", ".bin"):
        return False
    try:
        with file.open("rb") as stream:
            start = stream.read(8)
            if suffix == ".safetensors":
                data = stream.read(min(int.from_bytes(start, "little"), _HEAD))
                return bool(re.search(rb'[._]weight"', data)) and not any(
                    f'"{name}"'.encode() in data for name in _COORD
                )
            if start[:2] == b"PK":
                with zipfile.ZipFile(stream) as archive:
                    name = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
                    data = b"" if name is None else archive.open(name).read(_HEAD)
            else:
                data = start + stream.read(_HEAD) if start[:1] == b"\x80" else b""
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, zlib.error):
        return False
    return b".weight" in data and not any(len(n).to_bytes(4, "little") + n.encode() in data for n in _COORD)
