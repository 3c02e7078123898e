"""Scans, and what belongs to their points, as other libraries hold them: Open3D, PyTorch Geometric, Pointcept."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from .._util.words import cut
from ..errors import DependencyError, InputError
from ..scan.attributes import array, compact
from ..scan.cloud import PointCloud
from ..scan.objects import LABELS
from .reading import as_cloud
from .registry import WRITERS
from .results import features as features_in
from .results import metadata

_FINE = 1e-4  # metres; what float32 must tell apart of coordinates
_PARTS = ("color", "normal", *LABELS, "rows")  # arrays with a row for each point


def to_open3d(scan: Any, features: Any = None, *, tensor: bool = False) -> Any:
    """Return a scan as a point cloud of Open3D.

    Args:
        scan: whatever `PointCloud.of` takes, a path, or the path of a file of features, which are then taken, too.
        features: (n, c) array or tensor, a row for each point; for `tensor` alone.
        tensor: return an `open3d.t.geometry.PointCloud` instead of an `open3d.geometry.PointCloud`. Its attributes
            beside `positions` (float64), `colors` (uint8, or float32 of 0 to 1) and `normals` are `segment`,
            `instance`, `station`, `rows` (n, 1) and `features` (n, c), each where it is there.

    Raises:
        InputError: the features do not fit, or there is no place for them.
        DependencyError: Open3D is not installed.
    """
    (cloud, rows), open3d = _one(scan, features), _imported("open3d")
    if rows is not None and not tensor:
        raise InputError("a legacy cloud of Open3D has no place for features; pass tensor=True.")
    color = None if cloud.color is None else compact(cloud.color)
    if not tensor:
        found = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(cloud.coord))
        if color is not None:
            found.colors = open3d.utility.Vector3dVector(color / 255.0)
        if cloud.normal is not None:
            found.normals = open3d.utility.Vector3dVector(cloud.normal.astype(np.float64))
        return found
    arrays = {"positions": cloud.coord, "normals": cloud.normal, "features": None if rows is None else rows.numpy()}
    if color is not None:
        arrays["colors"] = color if color.dtype == np.uint8 else (color / 255).astype(np.float32)
    arrays |= {name: one[:, None] for name in (*LABELS, "rows") if (one := getattr(cloud, name)) is not None}
    found = open3d.t.geometry.PointCloud()
    for name, value in arrays.items():
        if value is not None:
            found.point[name] = open3d.core.Tensor(np.ascontiguousarray(value))
    return found


def to_pyg(scan: Any, features: Any = None) -> Any:
    """Return a scan as `torch_geometric.data.Data`, or a list of scans as a `Batch` of these.

    Args:
        scan: as for `to_open3d`, or a list of such.
        features: (n, c), for a list a list.

    Returns:
        `pos` (n, 3), `color` (n, 3) 0 to 255, `normal` (n, 3), `y` (n,) the classes, `instance` (n,) and `x` (n, c) the
        features, each where all scans have it. `pos` is float32, or float64 where that is off by more than 0.1 mm.

    Raises:
        InputError: the features do not fit.
        DependencyError: PyTorch Geometric is not installed.
    """
    data = _imported("torch_geometric.data", "torch_geometric")
    several = isinstance(scan, (list, tuple))
    found = []
    for cloud, rows in _each(scan, features):
        parts = _tensors(cloud, rows)
        named = {"pos": parts.pop("coord"), "y": parts.pop("segment", None), "x": parts.pop("feat", None), **parts}
        found.append({name: value for name, value in named.items() if value is not None})
    names = [name for name in found[0] if all(name in one for one in found)]
    found = [data.Data(**{name: one[name] for name in names}) for one in found]
    return data.Batch.from_data_list(found) if several else found[0]


def to_pointcept(scan: Any, features: Any = None) -> dict[str, torch.Tensor]:
    """Return a scan, or a list of scans, as the dictionary of tensors that Pointcept's models take.

    Args:
        scan: as for `to_open3d`, or a list of such.
        features: (n, c), for a list a list.

    Returns:
        `coord` (n, 3) in metres, `color` (n, 3) 0 to 255, `normal` (n, 3), `segment` and `instance` (n,), `feat`
        (n, c), each where all scans have it; and `offset` (scenes,), where each scan ends. Coordinates as by `to_pyg`.

    Raises:
        InputError: the features do not fit.
    """
    parts = [_tensors(cloud, rows) for cloud, rows in _each(scan, features)]
    names = [name for name in parts[0] if all(name in one for one in parts)]
    ends = np.cumsum([len(one["coord"]) for one in parts])
    return {name: torch.cat([one[name] for one in parts]) for name in names} | {"offset": torch.from_numpy(ends)}


def _each(scan: Any, features: Any) -> list[tuple[PointCloud, torch.Tensor | None]]:
    if not isinstance(scan, (list, tuple)):
        return [_one(scan, features)]
    if features is not None and not isinstance(features, (list, tuple)):
        raise InputError(f"features is a {type(features).__name__}; for a list of scans give a list of arrays.")
    given = [None] * len(scan) if features is None else features
    if not scan or len(given) != len(scan):
        raise InputError(f"there are {len(scan)} scans and {len(given)} of features; give some, and one for each.")
    return [_one(*pair) for pair in zip(scan, given, strict=True)]


def _one(scan: Any, features: Any) -> tuple[PointCloud, torch.Tensor | None]:
    """Return a scan, and its features where there are some."""
    cloud = as_cloud(scan)
    if features is None and _holds_features(scan):
        features = features_in(scan)
    if features is None:
        return cloud, None
    found = array("features", features)
    if cloud.rows is not None and len(found) == cloud.total:
        found = found[cloud.rows]
    if found.ndim != 2 or len(found) != len(cloud) or found.dtype.kind != "f":
        raise InputError(
            f"features is {found.dtype} of shape {found.shape}; give floats ({len(cloud)}, c), a row for each point."
        )
    return cloud, torch.from_numpy(np.array(found, np.float32))


def _holds_features(scan: Any) -> bool:
    known = isinstance(scan, (str, os.PathLike)) and WRITERS.find(scan) is not None
    return bool(known and (metadata(scan) or {}).get("channels"))


def _tensors(cloud: PointCloud, features: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Return what there is of the points, by Pointcept's names."""
    fine = np.spacing(np.float32(np.abs(cloud.coord).max())) <= 2 * _FINE
    found: Mapping[str, Any] = {"coord": cloud.coord.astype(np.float32 if fine else np.float64)}
    found = {**found, **{name: getattr(cloud, name) for name in _PARTS}}
    kept = {name: torch.from_numpy(np.array(value)) for name, value in found.items() if value is not None}
    return kept if features is None else {**kept, "feat": features}


def _imported(module: str, package: str | None = None) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        name = package or module
        raise DependencyError(f"{name} is needed ({cut(error)}); type: pip install {name}.") from error
