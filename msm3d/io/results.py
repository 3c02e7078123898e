"""Descriptors to files and back, row by row as they come: whole files or nothing, with what made them."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from .._util import memory
from .._util.atomic import replacing
from .._util.output_path import output_path
from .._util.words import cut, option, require_one_of
from ..errors import FileError, InputError
from ..model import PRECISIONS, Model
from ..scan.attributes import compact
from ..scan.cloud import PointCloud
from ..scan.objects import LABELS
from .reading import needing
from .registry import WRITERS, Kind

DTYPES = ("float32", "float16")  # of the descriptors


def check_format(path: str | os.PathLike[str]) -> Path:
    """Return `path`, or fail before any work is done if its ending or its folder is not good.

    >>> check_format("features.xyz")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    msm3d.errors.InputError: features.xyz cannot hold features; end it with one of .npz, .npy, ...
    """
    return output_path(path, WRITERS.suffixes(), "features")


def provenance(
    model: Model,
    levels: int | Sequence[int] | None = None,
    sampling: str | None = None,
    source: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
) -> dict[str, Any]:
    """Return what descriptors of `model` are, as plain values for the `meta` of `writing`.

    Args:
        model: that makes them.
        levels: as for `Model.extract`; likewise `sampling`.
        sampling: see `levels`.
        source: the file of the scan; its name is kept.
        dtype: of the descriptors.

    Returns:
        `msm3d` (version), `model` (name), `sha256` (of its model.safetensors; None if it is of no file), `precision`,
        `levels`, `channels` (of each of them), `voxel_size`, `sampling`, `dtype`, `units` and `up` of the coordinates,
        `licence` (of the weights) and `source`.
    """
    kept, weight = model._levels(levels), model.backbone.weight.dtype
    return {
        "msm3d": __version__,
        "model": model.meta.get("name") or "untrained",
        "sha256": model.meta.get("sha256"),
        "precision": next((name for name, kind in PRECISIONS.items() if kind == weight), str(weight)),
        "levels": kept,
        "channels": [model.config.widths[level] for level in kept],
        "voxel_size": model.config.inputs.voxel_size,
        "sampling": model._sampling(sampling),
        "dtype": dtype,
        "units": "m",
        "up": "z",
        "licence": model.meta.get("licence") or "not stated",
        "source": None if source is None else Path(source).name,
    }


@contextmanager
def writing(
    path: str | os.PathLike[str],
    cloud: PointCloud,
    channels: int,
    dtype: str = "float32",
    meta: Mapping[str, Any] | None = None,
    source: str | os.PathLike[str] | None = None,
) -> Iterator[np.ndarray]:
    """Yield the array (n, channels) to fill with one scan's descriptors; at the end it is the file `path`.

    That of .npy, .safetensors and .ply is mapped from the disk, so that a result larger than memory can be written. If
    anything fails, an older file of that name stays as it was.

    Args:
        path: .npz or .safetensors with `coord` (float64), `feat` and what the scan has of `color` (uint8 where it is
            whole numbers), `normal`, `segment`, `instance`, `rows`, `viewpoint` and `station`; .ply with the same as
            properties, the features as feat_0, feat_1, …; .npy with `feat` alone; or of another kind of `WRITERS`.
        cloud: the scan, metres and z up.
        channels: width of a descriptor.
        dtype: of the descriptors, "float32" or "float16".
        meta: what they are, as `provenance` says; `metadata` reads it back, with the `columns` that the scan has.
        source: the file that the scan was read from: .las, .laz and .ply keep what else a file of their own kind holds.

    Raises:
        InputError: the path or the dtype is not good, or an .npz would not fit into memory.
        FileError: it cannot be written, for example since the disk is full: that is known before anything is yielded.
    """
    path = check_format(path)
    require_one_of("dtype", dtype, DTYPES)
    fields, writer = _fields(cloud), WRITERS.find(path)
    assert writer is not None
    shape = len(fields["coord"]), channels
    if not writer.mapped and (needed := math.prod(shape) * np.dtype(dtype).itemsize) > memory.available():
        others = _others(lambda kind: kind.mapped and dtype in kind.dtypes)
        raise InputError(f"{path} would hold {needed / 1e9:.1f} GB, more than memory; write {others} instead.")
    if dtype not in writer.dtypes:
        others = _others(lambda kind: dtype in kind.dtypes)
        raise InputError(f"{writer.title} has no {dtype}; write {others}, or leave out {option('dtype')}.")
    columns = [name for name in ("coord", "color", "normal", "segment", "instance") if getattr(cloud, name) is not None]
    values = None if meta is None else {**meta, "dtype": dtype, "columns": columns}
    beside = {"source": Path(source)} if writer.keeps and source is not None else {}
    with ExitStack() as stack:
        partial = stack.enter_context(replacing(path, settled=False))
        with needing(writer, "writing"):
            created = writer.module.create(partial, fields, shape, np.dtype(dtype), values, **beside)
            feat = stack.enter_context(created)
        yield feat


def _others(good: Callable[[Kind], bool]) -> str:
    """Return the endings of the good writers, such as ".npy or .safetensors"."""
    *some, last = [suffix for kind in WRITERS if good(kind) for suffix in kind.suffixes]
    return f"{', '.join(some)} or {last}" if some else last


def features(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the descriptors (n, c) in a file of `writing`; of .npy, .safetensors and .ply mapped, not read.

    Raises:
        FileError: the file is missing or damaged, or holds no features.
    """
    found = _read(path, "features")
    if found.ndim != 2 or found.dtype.kind != "f":
        raise FileError(f"{path}: holds {found.dtype} of shape {found.shape} where features (n, c) are needed.")
    return found


def metadata(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return what a file of `writing` says of its features, see `provenance`, or None where it says nothing.

    Raises:
        FileError: the file is missing or damaged.
    """
    text = _read(path, "metadata")
    try:
        values = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def is_done(path: str | os.PathLike[str], meta: Mapping[str, Any], rows: int | None = None) -> bool:
    """Whether `path` is a whole file with the features that `meta` describes, so that they need not be made again.

    Args:
        path: as for `writing`.
        meta: as of `provenance`, for the same levels, sampling and dtype. The file must say the same, but for the name
            of the model, its licence and the version of msm3d: the hash tells the weights, and without it none is done.
        rows: of the scan, where they are known.
    """
    try:
        there, shape = metadata(path), _read(path, "shape")
    except InputError:
        return False
    asked = json.loads(json.dumps(dict(meta)))
    compared = asked.keys() - {"msm3d", "model", "licence"}  # the hash says which weights they were
    if there is None or not asked.get("sha256") or any(there.get(name) != asked[name] for name in compared):
        return False
    return tuple(shape) == (shape[0] if rows is None else rows, sum(asked.get("channels", shape[1:])))


def coord(path: str | os.PathLike[str]) -> np.ndarray | None:
    """Return the positions (n, 3) in a file of `writing`, or None where it has none that can be read."""
    try:
        return _read(path, "coord")
    except FileError:
        return None


def _read(path: str | os.PathLike[str], what: str) -> Any:
    """Return what the writer's function `what` finds in a file; whatever goes wrong is a FileError that names it."""
    file = Path(path)
    try:
        writer = WRITERS.find(file)
        if writer is None:
            raise FileError(f"is of a kind that holds no features; give one of {', '.join(WRITERS.suffixes())}.")
        found = getattr(writer.module, what, None)
        if found is None and what == "shape":
            return writer.module.features(file).shape
        if found is None:
            raise FileError(f"is {writer.title}, of which msm3d does not read the {what} back; give another kind.")
        return found(file)
    except FileNotFoundError as error:
        raise FileError(f"{file}: does not exist; check the path.") from error
    except ImportError as error:
        raise FileError(f"{file}: cannot be read without {error.name}; type: pip install {error.name}.") from error
    except FileError as error:
        raise FileError(f"{file}: {error}") from error
    except KeyError as error:  # of a file that is whole, such as a scan's
        raise FileError(f"{file}: holds no array 'feat'; write it with msm3d extract.") from error
    except Exception as error:  # files are hostile, and so are the ways in which they fail
        raise FileError(f"{file}: holds no features that can be read ({cut(error)}); extract it again.") from error


def _fields(cloud: PointCloud) -> dict[str, np.ndarray]:
    """Return the cloud's arrays as they are stored: one row for each of the descriptors."""
    kinds = {"color": compact, **dict.fromkeys(LABELS, _compact)}
    values = {name: getattr(cloud, name) for name in ("coord", "color", "normal", *LABELS)}
    fields = {name: kinds.get(name, np.asarray)(value) for name, value in values.items() if value is not None}
    if cloud.total is not None and cloud.rows is not None:
        fields = {name: _spread(values, cloud.rows, cloud.total, name) for name, values in fields.items()}
    elif cloud.rows is not None:
        fields["rows"] = cloud.rows.astype(np.int64)
    return fields if cloud.viewpoint is None else {**fields, "viewpoint": cloud.viewpoint}


def _spread(values: np.ndarray, rows: np.ndarray, total: int, name: str) -> np.ndarray:
    """Return the values at their rows of the source, and what means "none" at the others."""
    nothing = np.nan if name == "coord" else -1 if name in LABELS else 0
    kind = np.promote_types(values.dtype, np.int16) if nothing == -1 else values.dtype
    full = np.full((total, *values.shape[1:]), nothing, kind)
    full[rows] = values
    return full


def _compact(labels: np.ndarray) -> np.ndarray:
    low, high = labels.min(), labels.max()
    kinds = (np.uint8, np.int16, np.int32, np.int64)
    return labels.astype(next(k for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max))
