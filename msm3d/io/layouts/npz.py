"""NPZ: an array by each name."""

import json
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..._util import memory
from ...errors import FileError
from . import LONGEST, Fields, Metadata
from .npy import npy_header

SUFFIXES = (".npz",)
TITLE = "NPZ"
HOLDS = (
    "`coord` (float64), `color`, `normal`, `segment`, `instance`, `rows`, `viewpoint`, `station`: what the scan has; "
    "the features are `feat`"
)
METADATA = "`meta`, JSON"


@contextmanager
def create(path: Path, fields: Fields, shape: tuple[int, int], dtype: np.dtype, meta: Metadata) -> Iterator[np.ndarray]:
    """Yield the features to fill, and write all at once: a ZIP file cannot be filled bit by bit."""
    feat = np.empty(shape, dtype)
    yield feat
    beside: dict[str, Any] = {**fields} if meta is None else {**fields, "meta": np.array(json.dumps(dict(meta)))}
    with path.open("wb") as file:
        np.savez(file, **beside, feat=feat)


def features(path: Path) -> np.ndarray:
    """Return the features, read into memory."""
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("feat.npy").file_size > memory.available():
            raise FileError("does not fit into memory; extract to .npy or .safetensors instead.")
        with archive.open("feat.npy") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)


def shape(path: Path) -> tuple[int, ...]:
    """Return the shape of the features without reading them."""
    with zipfile.ZipFile(path) as archive, archive.open("feat.npy") as stream:
        shape, dtype, start, _ = npy_header(stream)
        if archive.getinfo("feat.npy").file_size != start + math.prod(shape) * dtype.itemsize:
            raise FileError("is damaged; extract it again.")
        return shape


def metadata(path: Path) -> str | None:
    """Return the metadata's JSON, or None."""
    with zipfile.ZipFile(path) as archive:
        if "meta.npy" not in archive.namelist() or archive.getinfo("meta.npy").file_size > 4 * LONGEST:
            return None
        with archive.open("meta.npy") as stream:
            return str(np.lib.format.read_array(stream, allow_pickle=False))


def coord(path: Path) -> np.ndarray:
    """Return the positions of the points."""
    with np.load(path) as arrays:
        return arrays["coord"]
