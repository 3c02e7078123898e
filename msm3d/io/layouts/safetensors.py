"""safetensors: an array by each name, the metadata under "msm3d" in its `__metadata__`."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..._util.mapped import Mapped, mapped
from ...errors import FileError
from . import LONGEST, Fields, Metadata

SUFFIXES = (".safetensors",)
TITLE = "safetensors"
HOLDS = "the same as `.npz`"
METADATA = "`msm3d` in `__metadata__`, JSON"
MAPPED = True

_KINDS = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64"}
_KINDS |= {"int32": "I32", "int16": "I16", "uint8": "U8"}


@contextmanager
def create(path: Path, fields: Fields, shape: tuple[int, int], dtype: np.dtype, meta: Metadata) -> Iterator[np.ndarray]:
    """Write all but the features, which are yielded to fill: eight bytes of length, JSON, then the arrays."""
    sizes = {name: (array.shape, array.dtype) for name, array in fields.items()} | {"feat": (shape, dtype)}
    described: dict[str, Any] = {} if meta is None else {"__metadata__": {"msm3d": json.dumps(dict(meta))}}
    end = 0
    for name, (size, kind) in sorted(sizes.items(), key=lambda item: -item[1][1].itemsize):  # so that each is aligned
        start, end = end, end + math.prod(size) * kind.itemsize
        described[name] = {"dtype": _KINDS[kind.name], "shape": list(size), "data_offsets": [start, end]}
    header = json.dumps(described).encode()
    header += b" " * (-len(header) % 8)
    head = len(header).to_bytes(8, "little") + header
    mapped(path, np.uint8, (end,), head)
    maps = {}
    for name, (size, kind) in sizes.items():
        maps[name] = Mapped(path, kind, "r+", len(head) + described[name]["data_offsets"][0], size)
    for name, array in fields.items():
        maps[name][:] = array
    yield maps["feat"]


def features(path: Path) -> np.ndarray:
    """Return the features, mapped."""
    first, described = _header(path)
    entry = described["feat"]
    kind = next(name for name, code in _KINDS.items() if code == entry["dtype"])
    rows, channels = entry["shape"]
    start, end = entry["data_offsets"]
    last = max(each["data_offsets"][1] for name, each in described.items() if name != "__metadata__")
    if end - start != rows * channels * np.dtype(kind).itemsize or first + last != path.stat().st_size:
        raise FileError("is damaged; extract it again.")
    return np.memmap(path, kind, "r", first + start, (rows, channels))


def metadata(path: Path) -> str | None:
    """Return the metadata's JSON, or None."""
    return _header(path)[1].get("__metadata__", {}).get("msm3d")


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Return where the arrays begin, and what is said of them."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LONGEST:
            raise FileError("is not a file of features; give one of msm3d extract.")
        return 8 + length, json.loads(file.read(length))


def coord(path: Path) -> np.ndarray:
    """Return the positions of the points."""
    first, described = _header(path)
    start, end = described["coord"]["data_offsets"]
    with path.open("rb") as file:
        return np.fromfile(file, "<f8", (end - start) // 8, offset=first + start).reshape(described["coord"]["shape"])
