"""LAS: features as extra dimensions feat_0, feat_1, … beside all dimensions of the scan's own LAS file.

Records of metadata, the reference system and every dimension of a source that is LAS or LAZ are kept as they are.
"""

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..._util.words import either, option
from ...errors import FileError, InputError
from .. import las
from . import Fields, Metadata

SUFFIXES = (".las",)
TITLE = "LAS"
HOLDS = (
    "all dimensions of a scan in LAS or LAZ; else x y z in steps of 0.1 mm, colour, classification, and nx ny nz, "
    "instance; the features are extra dimensions feat_0, feat_1, …, at most 341 with those that are there"
)
METADATA = "a variable length record of the user `msm3d`, JSON"
DTYPES = ("float32",)
EXTRA = "las"
NEEDS = {"laspy": "LAS and LAZ files"}
KEEPS = True

_MOST = 341  # extra dimensions: each takes 192 bytes of a record with a length of 16 bits
_RECORD = ("msm3d", 1)  # user and number of the record of metadata
_FEATURE = re.compile(r"feat_\d+")
_CHUNK = 100_000  # points at a time


@contextmanager
def create(
    path: Path,
    fields: Fields,
    shape: tuple[int, int],
    dtype: np.dtype,
    meta: Metadata,
    source: Path | None = None,
    compressed: bool = False,
) -> Iterator[np.ndarray]:
    """Yield the features to fill; then write them beside what `source` has, where that is LAS of these points."""
    import laspy

    count, channels = shape
    if not np.isfinite(fields["coord"]).all():
        raise InputError(
            f"LAS has no place for points without a position; leave out {option('invalid', 'nan')}, or write .npz."
        )
    header, rows = _kept(laspy, source, fields)
    own = {} if rows is not None else _own(laspy, header, fields)
    if "rows" in fields:
        own["row"] = fields["rows"].astype(np.int64)
    before = len(list(header.point_format.extra_dimension_names)) + len(own)
    if before + channels > _MOST:
        fewer = either("extract fewer levels=", "give fewer --levels")
        raise InputError(
            f"LAS holds {_MOST} extra dimensions, which {before} of the scan's and {channels} features exceed; "
            f"{fewer}, or write .npz."
        )
    params = [(name, array.dtype) for name, array in own.items()]
    params += [(f"feat_{i}", np.dtype(np.float32)) for i in range(channels)]
    header.add_extra_dims([laspy.ExtraBytesParams(name, kind) for name, kind in params])
    if meta is not None:
        text = json.dumps(dict(meta)).encode()
        header.vlrs.append(laspy.VLR(*_RECORD, "features of msm3d", text[:65535]))
    feat = np.empty(shape, np.float32)
    yield feat
    stream = io.BytesIO()  # its compressor has no words for a full disk
    options: dict[str, Any] = {"do_compress": True, "laz_backend": laspy.LazBackend.Lazrs, "closefd": False}
    with laspy.open(stream if compressed else path, "w", header=header, **(options if compressed else {})) as writer:
        for start, records in _records(laspy, source if rows is not None else None, rows, count):
            points = laspy.ScaleAwarePointRecord.zeros(len(records), header=header)
            part = slice(start, start + len(records))
            for name in records.dtype.names or ():
                if name in points.array.dtype.names:
                    points.array[name] = records[name]
            if rows is None or not np.array_equal(_places(points), fields["coord"][part]):
                points.x, points.y, points.z = fields["coord"][part].T
            if rows is None:
                _paint(points, fields, part)
            for name, array in own.items():
                points.array[name] = array[part]
            for i in range(channels):
                points.array[f"feat_{i}"] = feat[part, i]
            writer.write_points(points)
    if compressed:
        path.write_bytes(stream.getbuffer())


def _kept(laspy: Any, source: Path | None, fields: Fields) -> tuple[Any, np.ndarray | None]:
    """Return the header to write, and the rows of a LAS source that are these points; None where it is no such file."""
    count, coord = len(fields["coord"]), fields["coord"]
    if source is not None and source.suffix.lower() in las.SUFFIXES:
        with laspy.open(source) as reader:
            header = reader.header.copy()
        rows = fields["rows"] if "rows" in fields else np.arange(header.point_count)
        if len(rows) == count:
            header.remove_extra_dims([name for name in header.point_format.extra_dimension_names if _ours(name)])
            header.vlrs = las.kept(header.vlrs, _RECORD[0])
            with laspy.open(source) as reader:
                first = next(iter(reader.chunk_iterator(int(rows[0]) + 1)))
            if not np.array_equal(_places(first)[rows[0]], coord[0]):  # turned, or in other units
                header.vlrs = [one for one in header.vlrs if one.user_id != "LASF_Projection"]
                header.scales, header.offsets = las.grid(coord)
            return header, rows
    header = laspy.LasHeader(point_format=7 if "color" in fields else 6, version="1.4")
    header.scales, header.offsets = las.grid(coord)
    return header, None


def _ours(name: str) -> bool:
    return name == "row" or bool(_FEATURE.fullmatch(name))


def _places(points: Any) -> np.ndarray:
    return np.stack([np.asarray(points[axis]) for axis in "xyz"], axis=1)


def _own(laspy: Any, header: Any, fields: Fields) -> dict[str, np.ndarray]:
    """Return what has no dimension in LAS: normals, objects, and classes that a byte does not hold."""
    found = {}
    if "normal" in fields:
        found |= dict(zip(("nx", "ny", "nz"), fields["normal"].astype(np.float32).T, strict=True))
    for name in ("segment", "instance", "station"):
        if name in fields and not (name == "segment" and _is_byte(fields[name])):
            small = np.abs(fields[name]).max() < 1 << 31
            found[name] = fields[name].astype(np.int32 if small else np.int64)
    return found


def _is_byte(labels: np.ndarray) -> bool:
    return labels.min() >= 0 and labels.max() <= 255


def _paint(points: Any, fields: Fields, part: slice) -> None:
    """Write colours, of 16 bits, and classes of one byte."""
    if "color" in fields:
        paint = np.rint(fields["color"][part].astype(np.float64) * 257).astype(np.uint16)
        points.red, points.green, points.blue = paint.T
    if "segment" in fields and _is_byte(fields["segment"]):
        points.classification = fields["segment"][part].astype(np.uint8)


def _records(laspy: Any, source: Path | None, rows: np.ndarray | None, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the place of each piece of the result and the records of the source that it is made of, if there are."""
    if source is None or rows is None:
        for start in range(0, count, _CHUNK):
            yield start, np.empty(min(_CHUNK, count - start), dtype=[])
        return
    done = at = 0
    with laspy.open(source) as reader:
        for chunk in reader.chunk_iterator(_CHUNK):
            end = int(np.searchsorted(rows, at + len(chunk)))
            if end > done:
                yield done, chunk.array[rows[done:end] - at]
            done, at = end, at + len(chunk)
    if done != count:
        raise FileError(f"{source} has changed meanwhile; extract it again.")


def features(path: Path) -> np.ndarray:
    """Return the features, read into memory."""
    found = las.dimensions(path, lambda names: [name for name in names if _FEATURE.fullmatch(name)])
    if not found:
        raise FileError("holds no dimensions feat_0, feat_1, …; write it with msm3d extract.")
    return np.stack([found[f"feat_{i}"] for i in range(len(found))], axis=1)


def shape(path: Path) -> tuple[int, ...]:
    """Return the shape of the features without reading them; of LAZ one dimension is read, to see that it is whole."""
    header = las.header(path)
    end = header.offset_to_point_data + header.point_count * header.point_format.size
    whole = not header.are_points_compressed and path.stat().st_size >= end
    if not whole and len(las.dimensions(path, lambda names: ["X"])["X"]) != header.point_count:
        raise FileError("is damaged; extract it again.")
    return header.point_count, sum(bool(_FEATURE.fullmatch(name)) for name in header.point_format.dimension_names)


def metadata(path: Path) -> str | None:
    """Return the metadata's JSON, or None."""
    found = [one for one in las.header(path).vlrs if (one.user_id, one.record_id) == _RECORD]
    return found[0].record_data_bytes().decode() if found else None


def coord(path: Path) -> np.ndarray:
    """Return the positions of the points."""
    return np.stack(list(las.dimensions(path, lambda _: ["x", "y", "z"]).values()), axis=1)
