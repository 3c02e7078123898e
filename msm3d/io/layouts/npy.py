"""NPY: the features alone. It has no place for metadata: they follow the array, at whose end what reads NPY stops."""

import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from ..._util.mapped import mapped
from ...errors import FileError
from . import LONGEST, Fields, Metadata

SUFFIXES = (".npy",)
TITLE = "NPY"
HOLDS = "nothing"
METADATA = "after the array, where readers of NPY do not look: JSON, its length in eight bytes, `MSM3DNPY`"
MAPPED = True

_END = b"MSM3DNPY"


@contextmanager
def create(path: Path, fields: Fields, shape: tuple[int, int], dtype: np.dtype, meta: Metadata) -> Iterator[np.ndarray]:
    """Yield the features to fill, which are all that there is; the metadata follows them."""
    head = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, described)
    text = b"" if meta is None else json.dumps(dict(meta)).encode()
    text += b" " * (-(len(text) + 16) % 64)  # whoever maps the whole rest of the file gets whole numbers
    tail = b"" if meta is None else text + len(text).to_bytes(8, "little") + _END
    yield mapped(path, dtype, shape, head.getvalue(), tail)


def features(path: Path) -> np.ndarray:
    """Return the features, mapped."""
    with path.open("rb") as file:
        shape, dtype, start, fortran = npy_header(file)
    if dtype.hasobject:
        raise FileError("holds Python objects, which are never unpickled; save plain arrays.")
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def metadata(path: Path) -> str | None:
    """Return the metadata's JSON, or None."""
    with path.open("rb") as file:
        shape, dtype, start, _ = npy_header(file)
        file.seek(start + math.prod(shape) * dtype.itemsize)
        rest = file.read(LONGEST)
    length = int.from_bytes(rest[-16:-8], "little")
    return rest[:length].decode() if rest.endswith(_END) and length + 16 == len(rest) else None


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int, bool]:
    """Return shape and type of an NPY file's array, where it starts, and whether its columns lie one after another."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, dtype, file.tell(), fortran
