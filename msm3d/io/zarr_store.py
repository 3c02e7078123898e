"""Zarr, through zarr-python (the extra `zarr`): a group with arrays by name, or one array of points."""

from pathlib import Path
from typing import Any

from .._util.words import cut
from ..errors import FileError
from ..scan.objects import NAMES, parts
from ..scan.options import ReadOptions
from .layouts import zarr_store

SUFFIXES = (".zarr",)
TITLE = "Zarr"
NOTE = "a folder: a group with arrays named as in a dictionary, or one array (n, 3 \\| 6 \\| 9)"
EXTRA = "zarr"
NEEDS = {"zarr": "Zarr arrays"}
FOLDER = True


def content(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the arrays by field name."""
    found = zarr_store.arrays(file, [name for names in NAMES.values() for name in names])
    if "points" in found and len(found) == 1:
        return parts(found["points"])
    if not any(name in found for name in NAMES["coord"]):
        there = cut(", ".join(map(str, zarr_store.opened(file))) or "nothing", 200)
        raise FileError(f"holds {there}; an array named 'coord' is needed.")
    return parts(found)
