"""Parquet, through pyarrow (the extra `parquet`): vectors as lists in one column, or a column for each number."""

from pathlib import Path
from typing import Any

from .._util.words import cut
from ..errors import FileError
from ..scan import columns
from ..scan.objects import NAMES, parts
from ..scan.options import ReadOptions
from .layouts import parquet

SUFFIXES = (".parquet",)
TITLE = "Parquet"
NOTE = "columns as in a dictionary, or x, y, z and the like"
EXTRA = "parquet"
NEEDS = {"pyarrow": "Parquet files"}


def content(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the arrays by field name."""
    names = {name for group in (*NAMES.values(), *_COLUMNS) for name in group}
    found = parquet.columns(file, lambda name: name in names or name.lower() in names)
    if any(name in found for name in NAMES["coord"]):
        return parts(found)
    flat = {name: array for name, array in found.items() if array.ndim == 1}
    if not {"x", "y", "z"} <= {name.lower() for name in flat}:
        there = cut(", ".join(found) or "nothing that are numbers", 200)
        raise FileError(f"has the columns {there}; x, y and z, or lists of three named 'coord', are needed.")
    return columns.fields(flat)


_COLUMNS = [names.split() for group in columns.COLUMNS.values() for names in group]
_COLUMNS += [["rgb", "rgba", "f_dc_0", "f_dc_1", "f_dc_2"]]
