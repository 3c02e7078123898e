"""Scans with a label for each point: PLY, LAS, LAZ, NPZ and NPY, with all that the scan's own file has of each point.

Of a PLY or LAS file every property is kept as it is, in its own units; of other kinds what a `PointCloud` holds. What
the scan's own labels were called gets `given_` before it, since readers take the first labels that they find.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._util.atomic import replacing
from .._util.output_path import output_path
from ..errors import DependencyError, InputError, cut
from ..scan import columns
from ..scan.attributes import turned
from ..scan.cloud import PointCloud
from ..scan.options import ReadOptions
from ..scan.plausible import UNITS
from . import las, ply, results
from .layouts.npy import create as create_npy
from .layouts.ply import write as write_ply
from .reading import named

SUFFIXES = (".ply", ".las", ".laz", ".npz", ".npy")
UNSURE = 255  # what a label of -1 is as LAS's classification, which is a byte
_OWNER, _RECORD = "msm3d", 1  # of LAS's record of our metadata
_LONGEST = 65_000  # bytes that such a record holds
_KEPT = ("x y z", "red green blue", "nx ny nz")


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """What there is of each point, by the name of a property; arrays (n,), of `x y z` and the like (n, 3)."""

    kept: Mapping[str, np.ndarray]
    own: bool = False  # whether they are as they stand in the scan's file, in its units and axes
    las: Any = None  # the laspy object that they are of, where they are of one

    @classmethod
    def of(cls, cloud: PointCloud, source: Path | None, options: ReadOptions) -> "Columns":
        """Return the columns of the file that a cloud was read from, in its rows, or else what the cloud holds."""
        own = None if source is None or source.is_dir() else _own(source)
        if own is not None and _same(own, cloud, options):
            rows = None if cloud.total is not None else cloud.rows
            return own if rows is None else own.take(rows)
        fields = results._fields(cloud)
        names = {"coord": "x y z", "color": "red green blue", "normal": "nx ny nz", "rows": "row"}
        kept = {names.get(name, name): array for name, array in fields.items() if name != "viewpoint"}
        return cls(kept=kept)

    def take(self, rows: np.ndarray) -> "Columns":
        """Return some rows."""
        las = None if self.las is None else self.las[rows]
        return replace(self, kept={name: array[rows] for name, array in self.kept.items()}, las=las)

    def __len__(self) -> int:
        return len(next(iter(self.kept.values())))


def check_path(path: str | os.PathLike[str]) -> Path:
    """Return `path`, or fail before any work is done if labels cannot be written there.

    >>> check_path("labels.obj")
    Traceback (most recent call last):
    msm3d.errors.InputError: labels.obj cannot hold labels; end it with one of .ply, .las, .laz, .npz, .npy.
    """
    path = output_path(path, SUFFIXES, "labels")
    if path.suffix.lower() in las.SUFFIXES:
        _laspy()
    return path


def write(
    path: str | os.PathLike[str],
    columns: Columns,
    labels: np.ndarray,
    confidence: np.ndarray,
    meta: Mapping[str, Any],
    colors: np.ndarray | None = None,
) -> Path:
    """Write labels (n,), -1 where unsure, how likely each is (n,), and metadata; whole or not at all.

    Args:
        path: ends with one of `SUFFIXES`; of NPY it holds the labels alone.
        columns: what else there is of each point.
        labels: (n,) whole numbers from -1.
        confidence: (n,) 0 to 1.
        meta: plain values, read back by `metadata`; `classes` are the names by number. What it says of `units` and
            `up` is left out where the columns are as in the scan's file.
        colors: (n, 3) uint8, instead of the scan's own.

    Raises:
        InputError: nothing like that can be written there.
    """
    path, labels = check_path(path), labels.astype(np.int32)
    meta = {name: value for name, value in meta.items() if not (columns.own and name in ("units", "up"))}
    confidence = confidence.astype(np.float32)
    suffix = path.suffix.lower()
    with replacing(path) as partial:
        if suffix == ".npy":
            with create_npy(partial, {}, labels.shape, labels.dtype, meta) as rows:
                rows[:] = labels
        elif suffix in las.SUFFIXES:
            _write_las(partial, columns, labels, confidence, meta, colors, suffix == ".laz")
        else:
            kept = _renamed(columns.kept)
            if colors is not None:
                kept = {name: array for name, array in kept.items() if name != "alpha"} | {"red green blue": colors}
            kept |= {"label": labels, "confidence": confidence}
            (_write_npz if suffix == ".npz" else _write_ply)(partial, kept, meta)
    return path


def metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a file of `write` says of its labels, nothing of other files."""
    path = Path(path)
    try:
        if path.suffix.lower() not in las.SUFFIXES:
            return results.metadata(path) or {}
        with named(path), _laspy().open(path) as reader:
            records = [one for one in reader.header.vlrs if one.user_id == _OWNER and one.record_id == _RECORD]
        found = json.loads(records[0].record_data_bytes()) if records else {}
    except (InputError, DependencyError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def is_done(path: str | os.PathLike[str], meta: Mapping[str, Any]) -> bool:
    """Whether `path` is a whole file of the labels that `meta` describes; the hash says which weights they were."""
    there, asked = metadata(path), json.loads(json.dumps(dict(meta)))
    compared = asked.keys() - {"msm3d", "model", "licence", "units", "up"}
    return bool(asked.get("sha256")) and all(there.get(name) == asked[name] for name in compared)


def only_classified(path: str | os.PathLike[str]) -> bool:
    """Whether the labels in a file are LAS's classification, of which 0 and 1 are no class."""
    path = Path(path)
    if path.suffix.lower() not in las.SUFFIXES:
        return False
    with named(path), _laspy().open(path) as reader:
        names = [name.lower() for name in reader.header.point_format.dimension_names]
    return columns.chosen(["x", "y", "z", *names])["segment"] == ["classification"]


def _own(source: Path) -> Columns | None:
    """Return all columns of a PLY or LAS file, None of other kinds."""
    suffix = source.suffix.lower()
    if suffix in ply.SUFFIXES:
        with named(source):
            return Columns(kept=_grouped(ply.vertices(source)), own=True)
    if suffix not in las.SUFFIXES:
        return None
    with named(source):
        data = _laspy().read(source)
    names = [name for name in data.point_format.dimension_names if name not in "XYZ"]
    found = {"x y z": np.stack([np.array(data[axis]) for axis in "xyz"], 1)}
    found |= {name: np.array(data[name]) for name in names if name not in ("red", "green", "blue")}
    if "red" in names:
        wide = np.stack([np.array(data[name]) for name in ("red", "green", "blue")], 1)
        found["red green blue"] = (wide >> 8).astype(np.uint8) if wide.max(initial=0) > 255 else wide.astype(np.uint8)
    return Columns(kept={name: array for name, array in found.items() if array.ndim < 3}, own=True, las=data)


def _grouped(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return columns (n,), of which those of places, colours and normals are put together."""
    known = {name: array for name, array in found.items()}
    for group in _KEPT:
        parts = group.split()
        if all(part in known for part in parts) and len({known[part].dtype for part in parts}) == 1:
            held = np.stack([known[part] for part in parts], 1)
            known = {name: array for name, array in known.items() if name not in parts} | {group: held}
    return known


def _same(own: Columns, cloud: PointCloud, options: ReadOptions) -> bool:
    """Whether a cloud's points are rows of a file, not points on its faces."""
    raw = own.kept.get("x y z")
    if raw is None or (cloud.rows is None and len(raw) != len(cloud)):
        return False
    raw = raw if cloud.rows is None else raw[cloud.rows]
    placed = turned(raw, options.up or "z", UNITS[options.units or "m"])
    return bool(np.array_equal(placed, cloud.coord))


def _renamed(kept: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return columns of which none is taken for our labels."""
    ours = {name for names in columns.COLUMNS["segment"] for name in names.split()} | {"confidence"}
    return {f"given_{name}" if name.lower() in ours else name: array for name, array in kept.items()}


def _write_ply(path: Path, kept: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    comments = [f"msm3d {name} {json.dumps(value)}" for name, value in meta.items()]
    for number, name in meta.get("classes", {}).items():
        if name.isascii():
            comments.append(f"label {number} {name}")
    plain = {name.replace(" ", "_") if name not in _KEPT else name: _narrow(array) for name, array in kept.items()}
    write_ply(path, {name: array for name, array in plain.items() if array.ndim == 1 or name in _KEPT}, comments)


def _narrow(array: np.ndarray) -> np.ndarray:
    """Return numbers of a kind that PLY has: none of eight bytes but doubles."""
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        fits = len(array) == 0 or (array.min() >= -(1 << 31) and array.max() < 1 << 31)
        return array.astype(np.int32 if fits else np.float64)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _write_npz(path: Path, kept: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    names = {"x y z": "coord", "red green blue": "color", "nx ny nz": "normal", "row": "rows"}
    arrays: dict[str, Any] = {names.get(name, name): array for name, array in kept.items()}
    with path.open("wb") as file:
        np.savez(file, **arrays, meta=np.array(json.dumps(meta)))


def _write_las(
    path: Path,
    columns: Columns,
    labels: np.ndarray,
    confidence: np.ndarray,
    meta: Mapping[str, Any],
    colors: np.ndarray | None,
    compress: bool,
) -> None:
    laspy = _laspy()
    data = _as_las(laspy, columns, colors is not None)
    data.classification = np.where((labels < 0) | (labels >= UNSURE), UNSURE, labels).astype(np.uint8)
    for name, array in (("label", labels), ("confidence", confidence)):
        if name in data.point_format.dimension_names:
            data.remove_extra_dim(name)
        data.add_extra_dim(laspy.ExtraBytesParams(name=name, type=array.dtype))
        data[name] = array
    if colors is not None:
        for axis, name in enumerate(("red", "green", "blue")):
            data[name] = colors[:, axis].astype(np.uint16) * 257
    text = json.dumps(meta).encode()
    if len(text) > _LONGEST:
        raise InputError(f"the names of {len(meta['classes'])} classes do not fit into LAS; write .ply instead.")
    data.vlrs[:] = las.kept(data.vlrs, _OWNER)
    data.evlrs = laspy.vlrs.vlrlist.VLRList(las.kept(data.evlrs, _OWNER))
    data.vlrs.append(laspy.VLR(user_id=_OWNER, record_id=_RECORD, description="labels", record_data=text))
    with path.open("wb") as file:
        data.write(file, do_compress=compress)


def _as_las(laspy: Any, columns: Columns, painted: bool) -> Any:
    """Return a laspy object that has a byte for the classification, and colours where there are to be some."""
    kept = columns.kept
    if columns.las is not None:
        data, number = columns.las, columns.las.header.point_format.id
        colored = "red" in data.point_format.dimension_names
        wanted = number if number > 5 and (colored or not painted) else 7 if colored or painted else 6
        return data if wanted == number else laspy.convert(data, point_format_id=wanted)
    colored = "red green blue" in kept or painted
    header = laspy.LasHeader(point_format=7 if colored else 6, version="1.4")
    coord = kept["x y z"].astype(np.float64)
    header.scales, header.offsets = las.grid(coord)
    header.creation_date = None  # the same scan gives the same bytes on every day
    data = laspy.LasData(header)
    data.xyz = coord
    for name, array in _renamed(kept).items():
        if name == "red green blue":
            for axis, one in enumerate(name.split()):
                data[one] = np.rint(array[:, axis]).astype(np.uint16) * 257
        elif name != "x y z":
            parts = [(name, array)] if array.ndim == 1 else list(zip(name.split(), array.T, strict=True))
            for one, column in parts:
                data.add_extra_dim(laspy.ExtraBytesParams(name=one[:32], type=_narrow(column).dtype))
                data[one[:32]] = _narrow(column)
    return data


def _laspy() -> Any:
    try:
        import laspy
    except ImportError as error:
        raise DependencyError(f'writing LAS needs {cut(error.name)}; type: pip install "msm3d[las]".') from error
    return laspy
