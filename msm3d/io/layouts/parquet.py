"""Parquet: a column by each name, vectors as lists of a fixed size, metadata under "msm3d" in the schema's own."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FileError
from .. import limits
from . import Fields, Metadata

SUFFIXES = (".parquet",)
TITLE = "Parquet"
HOLDS = "columns as in `.npz`, vectors as lists of a fixed size; of a scan with viewpoints these are in the metadata"
METADATA = "`msm3d` in the metadata of the schema, JSON"
EXTRA = "parquet"
NEEDS = {"pyarrow": "Parquet files"}

_GROUP = 1 << 16  # rows that are compressed together
_VIEWPOINT = b"msm3d.viewpoint"  # which is no column: it has a row for each place


@contextmanager
def create(path: Path, fields: Fields, shape: tuple[int, int], dtype: np.dtype, meta: Metadata) -> Iterator[np.ndarray]:
    """Yield the features to fill, and write all at once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    feat = np.empty(shape, dtype)
    yield feat
    arrays = {name: array for name, array in fields.items() if name != "viewpoint"} | {"feat": feat}
    said = {} if meta is None else {b"msm3d": json.dumps(dict(meta)).encode()}
    if "viewpoint" in fields:
        said[_VIEWPOINT] = json.dumps(fields["viewpoint"].tolist()).encode()
    table = pa.table({name: _column(pa, array) for name, array in arrays.items()}).replace_schema_metadata(said)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=_GROUP, compression="zstd")
    path.write_bytes(sink.getvalue())


def _column(pa: Any, array: np.ndarray) -> Any:
    """Return an array (n,) as a column, and one (n, k) as one of lists of k."""
    flat = pa.array(np.ascontiguousarray(array).reshape(-1))
    return flat if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, array.shape[1])


def columns(path: Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """Return the columns of numbers, or of lists of one length, whose names are `wanted`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema, count = file.schema_arrow, file.metadata.num_rows
        sizes = {field.name: _size(pa, field.type) for field in schema}
        names = [name for name, size in sizes.items() if size and wanted(name)]
        limits.fits(sum(count * 8 * sizes[name] for name in names), f"declares {count} rows")
        table = file.read(columns=names)
        viewpoint = (schema.metadata or {}).get(_VIEWPOINT)
    found = {name: _array(pa, table[name], sizes[name]) for name in names}
    if viewpoint and wanted("viewpoint"):
        found["viewpoint"] = np.array(json.loads(viewpoint), dtype=np.float64)
    return found


def _size(pa: Any, kind: Any) -> int:
    """Return how many numbers a value is, 0 for what are no numbers."""
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size * _size(pa, kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):  # whose length the values tell
        return 3 * _size(pa, kind.value_type)
    return int(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _array(pa: Any, column: Any, size: int) -> np.ndarray:
    """Return a column as an array (n,) or (n, k); NaN where it has nothing."""
    kind, count = column.type, len(column)
    if not hasattr(kind, "value_type"):
        return column.to_numpy()
    pieces = [piece.flatten() for piece in column.chunks]  # `.values` would be those of the whole file
    flat = pa.chunked_array(pieces, type=kind.value_type).to_numpy() if pieces else np.empty(0)
    width = kind.list_size if pa.types.is_fixed_size_list(kind) else len(flat) // max(count, 1)
    if len(flat) != count * width:
        raise FileError(f"has lists of several lengths, or rows without one, where (n, {width}) is needed.")
    return flat.reshape(count, width)


def features(path: Path) -> np.ndarray:
    """Return the features, read into memory."""
    return columns(path, "feat".__eq__)["feat"]


def shape(path: Path) -> tuple[int, ...]:
    """Return the shape of the features without reading them."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.metadata.num_rows, file.schema_arrow.field("feat").type.list_size


def metadata(path: Path) -> str | None:
    """Return the metadata's JSON, or None."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        found = (file.schema_arrow.metadata or {}).get(b"msm3d")
    return None if found is None else found.decode()


def coord(path: Path) -> np.ndarray:
    """Return the positions of the points."""
    return columns(path, "coord".__eq__)["coord"]
