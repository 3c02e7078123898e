"""PLY: every field a property of the points, the features feat_0, feat_1, …, metadata as `comment msm3d NAME JSON`.

Headers come from plyfile, which knows the format's words. Reading is our own, in `io.ply`: plyfile takes the memory
that a header declares before it looks at the file, and a second for 100,000 faces.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from plyfile import PlyData, PlyElement

from ..._util.mapped import mapped
from ...errors import FileError
from ..ply import Property, header, vertices
from . import Fields, Metadata

SUFFIXES = (".ply",)
TITLE = "PLY"
HOLDS = (
    "x y z, red green blue, nx ny nz, label, instance, row, and what else a scan in PLY has of numbers; the features "
    "are feat_0, feat_1, …"
)
METADATA = "lines `comment msm3d NAME JSON`"
DTYPES = ("float32",)
MAPPED = True
KEEPS = True

_PROPERTIES = {"coord": "x y z", "color": "red green blue alpha", "normal": "nx ny nz"}
_PROPERTIES |= {"segment": "label", "instance": "instance", "rows": "row"}
_OURS = {"x", "y", "z", "row"}
_WIDER = {"i1": "<i4", "u1": "<i4", "i2": "<i4", "u2": "<i4", "i8": "<f8"}


def write(path: Path, columns: Fields, comments: Sequence[str] = ()) -> None:
    """Write points, as binary little-endian PLY: arrays (n, k), or (n,), by their k properties, such as "x y z"."""
    _laid_out(path, {names: array.reshape(len(array), -1) for names, array in columns.items()}, comments)


@contextmanager
def create(
    path: Path,
    fields: Fields,
    shape: tuple[int, int],
    dtype: np.dtype,
    meta: Metadata,
    source: Path | None = None,
) -> Iterator[np.ndarray]:
    """Write all but the features, which are yielded to fill; also what else `source` has, where that is PLY.

    Torch can only use records of a multiple of four bytes: so colours have an alpha, which is 255, and labels four
    bytes, or eight, as doubles, where they need them, since PLY has no such integers.
    """
    feat = " ".join(f"feat_{i}" for i in range(shape[1]))
    columns = {names: _column(name, fields[name]) for name, names in _PROPERTIES.items() if name in fields}
    if source is not None and source.suffix.lower() in SUFFIXES:
        columns |= _kept(source, fields, {name for names in columns for name in names.split()})
    comments = [f"msm3d {name} {json.dumps(value)}" for name, value in (meta or {}).items()]
    yield _laid_out(path, columns, comments, [(feat, "<f4", shape[1:])])[feat]


def _laid_out(path: Path, columns: Fields, comments: Sequence[str], more: Sequence[Any] = ()) -> np.ndarray:
    """Return the records of a new file, mapped: the columns are there, fields for `more` are to be filled."""
    kinds = [(names, array.dtype.newbyteorder("<"), array.shape[1:]) for names, array in columns.items()]
    record, n = np.dtype([*kinds, *more]), len(next(iter(columns.values())))
    flat = np.dtype([(name, record[names].base) for names in record.names or () for name in names.split()])
    vertices = PlyElement.describe(np.broadcast_to(np.zeros(1, flat), (n,)), "vertex")  # which takes no memory
    header = PlyData([vertices], byte_order="<", comments=list(comments)).header
    rows = mapped(path, record, (n,), f"{header}\n".encode("ascii"))
    for names, array in columns.items():
        rows[names] = array
    return rows


def _column(name: str, array: np.ndarray) -> np.ndarray:
    """Return a field as it is stored, (n, k)."""
    if name == "color":
        opaque = np.full((len(array), 1), 255, np.uint8)
        return np.concatenate([np.rint(array).astype(np.uint8), opaque], axis=1)
    if name in ("coord", "normal"):
        return array
    return array[:, None].astype("<i4" if np.abs(array).max() < 1 << 31 else "<f8")


def _kept(source: Path, fields: Fields, taken: set[str]) -> Fields:
    """Return the other numbers of the vertices that these points are, each in four or eight bytes.

    Points that were spread over a mesh are no vertices, and have none.
    """
    found = vertices(source)
    rows = fields.get("rows", np.arange(len(next(iter(found.values())))))
    if len(rows) != len(fields["coord"]):
        return {}
    more = {name: array[rows] for name, array in found.items() if name.lower() not in taken | _OURS}
    more = {name: array for name, array in more.items() if name.isascii() and not name.startswith("feat_")}
    return {name: array.astype(_WIDER.get(array.dtype.str[1:], array.dtype)) for name, array in more.items()}


def features(path: Path) -> np.ndarray:
    """Return the features, mapped."""
    with path.open("rb") as file:
        order, elements, _ = header(file)
        start = file.tell()
    if len(elements) > 1:
        raise FileError("has other elements than points; give a file as msm3d extract writes it.")
    name, count, properties = elements[0] if elements else ("", 0, [])
    first = next((i for i, one in enumerate(properties) if one.name == "feat_0"), len(properties))
    before, feat = properties[:first], properties[first:]
    whole = feat == [Property(f"feat_{i}", "f4") for i in range(len(feat))] and not any(one.length for one in before)
    if name != "vertex" or order != "<" or not feat or not whole:
        raise FileError("holds no features of msm3d extract.")
    fields = [*((f"{i}", f"<{one.kind}") for i, one in enumerate(before)), ("feat", "<f4", (len(feat),))]
    return np.memmap(path, np.dtype(fields), "r", start, (count,))["feat"]


def metadata(path: Path) -> str | None:
    """Return the metadata's JSON, or None."""
    with path.open("rb") as file:
        comments = header(file)[2]
    mine = [line.split(maxsplit=2)[1:] for line in comments if line.startswith("msm3d ")]
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in mine) + "}" if mine else None
