"""Zarr: a folder with an array by each name, in pieces of rows, metadata under "msm3d" in the group's attributes."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FileError
from .. import limits
from . import Fields, Metadata

SUFFIXES = (".zarr",)
TITLE = "Zarr"
HOLDS = "a folder with the arrays of `.npz`, in pieces of rows, with named dimensions as xarray reads them"
METADATA = "`msm3d` in the attributes of the group"
EXTRA = "zarr"
NEEDS = {"zarr": "Zarr arrays"}
FOLDER = True

_ROWS = 1 << 16  # of a piece, which is a file
_PLACES = ("viewpoint",)  # arrays whose rows are no points


@contextmanager
def create(path: Path, fields: Fields, shape: tuple[int, int], dtype: np.dtype, meta: Metadata) -> Iterator[np.ndarray]:
    """Yield the features to fill, and write all at once to the folder `path`."""
    import zarr

    feat = np.empty(shape, dtype)
    yield feat
    group = zarr.open_group(path, mode="a", zarr_format=3)  # "w" would take the folder away, and its lock
    if meta is not None:
        group.attrs["msm3d"] = json.loads(json.dumps(dict(meta)))
    for name, array in {**fields, "feat": feat}.items():
        names = ("place" if name in _PLACES else "point", "channel" if name == "feat" else "axis")[: array.ndim]
        pieces = (min(_ROWS, max(len(array), 1)), *array.shape[1:])
        # pieces of zeros are written too: what is missing is then known from what is zero
        kept: Any = {"write_empty_chunks": True}
        target = group.create_array(
            name, shape=array.shape, dtype=array.dtype, chunks=pieces, dimension_names=names, config=kept
        )
        target[...] = array


def is_store(path: Path) -> bool:
    """Whether a folder is a group or an array of Zarr, of version 3 or 2."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def opened(path: Path) -> Any:
    """Return the group or the array of a folder."""
    import zarr

    if not is_store(path):
        raise FileError("is not a Zarr store: it has no zarr.json, .zgroup or .zarray; give one that has.")
    return zarr.open(path, mode="r")


def arrays(path: Path, wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """Return those of the `wanted` arrays that a store has; a store that is one array has it under "points"."""
    store = opened(path)
    members = {"points": store} if hasattr(store, "shape") else {name: store[name] for name in wanted if name in store}
    found = {name: one for name, one in members.items() if hasattr(one, "shape") and one.dtype.kind in "fiub"}
    limits.fits(sum(one.size * one.dtype.itemsize for one in found.values()), "declares arrays")
    for one in found.values():
        if "msm3d" in store.attrs and one.nchunks_initialized != one.nchunks:
            raise FileError("is damaged: pieces of its arrays are missing; extract it again.")
    return {name: np.asarray(one[...]) for name, one in found.items()}


def features(path: Path) -> np.ndarray:
    """Return the features, read into memory."""
    return arrays(path, ["feat"])["feat"]


def shape(path: Path) -> tuple[int, ...]:
    """Return the shape of the features without reading them."""
    feat = opened(path)["feat"]
    if feat.nchunks_initialized != feat.nchunks:
        raise FileError("is damaged: pieces of its arrays are missing; extract it again.")
    return feat.shape


def metadata(path: Path) -> str | None:
    """Return the metadata's JSON, or None."""
    found = opened(path).attrs.get("msm3d")
    return None if found is None else json.dumps(found)


def coord(path: Path) -> np.ndarray:
    """Return the positions of the points."""
    return arrays(path, ["coord"])["coord"]
