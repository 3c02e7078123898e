"""PointCloud: metres, z up, colours 0-255, unit normals. User data is checked here, once; knows no file."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from .errors import InputError
from .plausible import UNITS as UNITS
from .plausible import UPS as UPS
from .plausible import warn_of_units, warn_of_up
from .words import choices

NAMES = {
    "coord": ("coord", "coords", "xyz", "points", "pos"),
    "color": ("color", "colors", "rgb"),
    "normal": ("normal", "normals"),
    "segment": ("segment", "label", "labels", "segment20", "semantic_gt20"),
    "instance": ("instance", "instance_gt"),
}
"""The keys under which a dictionary may hold each part; the first that is there is taken."""
_WIDTHS = "(n, 3) xyz, (n, 6) xyz+rgb or (n, 9) xyz+rgb+normal"


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class PointCloud:
    """One scan, checked: whoever holds a PointCloud need not look again.

    Build it from a user's data with `PointCloud.of`, which converts; the constructor only checks.

    >>> cloud = PointCloud.of(np.array([[0, 0, 0, 255, 0, 0], [1, 2, 3, 0, 255, 0]]))
    >>> len(cloud), cloud.coord.dtype.name, cloud.color.tolist(), cloud.normal
    (2, 'float64', [[255.0, 0.0, 0.0], [0.0, 255.0, 0.0]], None)

    Raises:
        InputError: a field has the wrong shape, dtype or length, or a value that is not finite or out of range.
    """

    coord: np.ndarray
    """(n, 3) float64, metres, z up."""
    color: np.ndarray | None = None
    """(n, 3) float32, 0 to 255; None where the scan has no colour."""
    normal: np.ndarray | None = None
    """(n, 3) float32, unit length, or zeros where unknown; None where the scan has no normals."""
    segment: np.ndarray | None = None
    """(n,) integers, the class of each point."""
    instance: np.ndarray | None = None
    """(n,) integers, the object of each point."""
    rows: np.ndarray | None = None
    """(n,) int64, the row of the file that each point came from; None when every row was kept."""

    def __post_init__(self) -> None:
        n = len(self.coord)
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            vector = field.name in ("coord", "color", "normal")
            shape, dtype = (
                ((n, 3), np.float64 if field.name == "coord" else np.float32) if vector else ((n,), np.integer)
            )
            if not isinstance(value, np.ndarray) or value.ndim != len(shape) or value.shape[1:] != shape[1:]:
                needed = "(n, 3)" if vector else "(n,)"
                raise InputError(f"{field.name} has shape {np.shape(value)}; give {needed}, one row per point.")
            if len(value) != n:
                raise InputError(f"{field.name} has {len(value)} rows, coord has {n}; give one row per point.")
            if not np.issubdtype(value.dtype, dtype):
                raise InputError(f"{field.name} has dtype {value.dtype}; build the cloud with PointCloud.of.")
        if n == 0:
            raise InputError("there are no points (coord has 0 rows); give at least one.")
        bad = ~np.isfinite(self.coord).all(1)
        if bad.any():
            raise InputError(
                f"coord has {_rows(bad)} with NaN or infinity (first: row {bad.argmax()}); "
                "drop them with coord[np.isfinite(coord).all(1)], and the same rows of color and normal."
            )
        if self.color is not None:
            bad = ~((self.color >= 0) & (self.color <= 255)).all(1)
            if bad.any():
                worst = ", ".join(f"{value:g}" for value in self.color[bad.argmax()])
                raise InputError(
                    f"color has {_rows(bad)} outside 0 to 255 (first: row {bad.argmax()}, {worst}); "
                    "give 0-255, or floats within 0-1, for example np.clip(np.nan_to_num(color), 0, 255)."
                )
        if self.normal is not None and not np.isfinite(self.normal).all():
            raise InputError("normal has NaN or infinity; build the cloud with PointCloud.of, which zeroes them.")

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.coord)

    @classmethod
    def of(cls, points: Any, *, color: Any = None, normal: Any = None, up: str = "z", units: str = "m") -> "PointCloud":
        """Check and convert what users have; their arrays are copied, never changed.

        >>> PointCloud.of(np.array([[0, 0, 2500.0]]), color=[[0.5, 0.5, 0.5]], units="mm").coord.tolist()
        [[0.0, 0.0, 2.5]]
        >>> PointCloud.of(np.zeros((4, 2)))
        Traceback (most recent call last):
        msm3d.errors.InputError: points has shape (4, 2); give (n, 3) xyz, (n, 6) xyz+rgb or (n, 9) xyz+rgb+normal.

        Args:
            points: an (n, 3 | 6 | 9) array or tensor of xyz, rgb, normal; a dictionary with the keys coord, color,
                normal, segment, instance (see `NAMES`); a PointCloud; or an Open3D or trimesh object.
            color: (n, 3) colours, or (n, 4) with alpha, which is dropped; replaces those of `points`. Integers and
                floats above 1 are 0-255, floats within 0-1 are 0-1, uint16 above 255 is divided by 257.
            normal: (n, 3) normals, made unit length here; rows with NaN become zeros, which is "unknown".
                Replaces those of `points`.
            up: the axis of the data that points up: "z", "y" or "-y". Coordinates and normals are turned.
            units: the unit of the coordinates: "m", "cm", "mm", "ft" or "in".

        Returns:
            The cloud in metres with z up. A PointCloud passes through, changed only by the other arguments.

        Raises:
            InputError: something has the wrong kind, shape, dtype or length, or there are no points.

        Warns:
            Msm3dWarning: the extent is implausible for `units`, or another axis than `up` looks vertical.
        """
        for name, value, good in (("up", up, UPS), ("units", units, UNITS)):
            if not isinstance(value, str) or value not in good:
                raise InputError(f"{name} is {value!r}; {choices(value, list(good))}")
        known = isinstance(points, PointCloud)
        given = {field.name: getattr(points, field.name) for field in fields(cls)} if known else parts(points)
        coord = _turned(_numbers("coord", given["coord"]).astype(np.float64) * UNITS[units], up)
        chosen = {
            "color": given.get("color")
            if known and color is None
            else _color(given.get("color") if color is None else color),
            "normal": _normal(given.get("normal") if normal is None else normal, up),
        }
        labels = {name: _labels(name, given.get(name)) for name in ("segment", "instance", "rows")}
        cloud = cls(coord=coord, **chosen, **labels)
        if not known:
            warn_of_units(cloud.coord, units)
            warn_of_up(cloud.coord, up)
        return cloud


def parts(points: Any) -> dict[str, Any]:
    """Return the arrays that `points` is made of, by field name, neither checked nor converted.

    >>> sorted(parts(np.zeros((5, 6))))
    ['color', 'coord']
    """
    if isinstance(points, Mapping):
        found = {
            field: next((points[n] for n in names if points.get(n) is not None), None) for field, names in NAMES.items()
        }
        if found["coord"] is None:
            keys = ", ".join(map(repr, points)) or "no keys"
            raise InputError(
                f"the points have {keys}; give 'coord' (n, 3), and 'color' and 'normal' where you have them."
            )
        return {**parts(_numbers("points", found.pop("coord"))), **{k: v for k, v in found.items() if v is not None}}
    if isinstance(points, (np.ndarray, torch.Tensor)):
        if points.ndim != 2 or points.shape[1] not in (3, 6, 9):
            turned = " Did you mean points.T?" if points.ndim == 2 and points.shape[0] in (3, 6, 9) else ""
            raise InputError(f"points has shape {tuple(points.shape)}; give {_WIDTHS}.{turned}")
        columns = {"coord": points[:, :3], "color": points[:, 3:6], "normal": points[:, 6:9]}
        return {name: value for name, value in columns.items() if value.shape[1]}
    if hasattr(points, "to_mesh") and hasattr(points, "geometry"):  # a trimesh.Scene
        points = points.to_mesh()
    if hasattr(points, "points"):  # Open3D point cloud
        return _parts_of(points.points, getattr(points, "colors", None), getattr(points, "normals", None))
    if hasattr(points, "vertices"):  # Open3D mesh, trimesh mesh or cloud
        visual = getattr(points, "visual", None)
        if visual is not None and visual.kind == "texture":
            visual = visual.to_color()
        colors = getattr(points, "vertex_colors", getattr(points, "colors", None))
        if visual is not None:  # trimesh paints a mesh without colours grey: that is not a colour
            colors = visual.vertex_colors if visual.kind is not None else None
        return _parts_of(points.vertices, colors, getattr(points, "vertex_normals", None))
    raise InputError(
        f"points is a {type(points).__name__}; give {_WIDTHS} as an array or tensor, a dictionary with 'coord', "
        "a PointCloud, an Open3D or trimesh object, or the path of a file."
    )


def _parts_of(coord: Any, color: Any, normal: Any) -> dict[str, Any]:
    named = {"coord": coord, "color": color, "normal": normal}
    return {
        name: np.asarray(value)
        for name, value in named.items()
        if value is not None and (name == "coord" or len(value))
    }


def _rows(bad: Any) -> str:
    count = int(bad.sum())
    return f"{count} row" if count == 1 else f"{count} rows"


def _numbers(name: str, value: Any) -> np.ndarray:
    """Return `value` as a real-valued array; may share memory with it."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "iuf":
        raise InputError(
            f"{name} has dtype {array.dtype}; give integers or floats, for example {name}.astype(np.float64)."
        )
    return array


def _vectors(name: str, value: Any, widths: tuple[int, ...]) -> np.ndarray:
    array = _numbers(name, value)
    if array.ndim != 2 or array.shape[1] not in widths:
        raise InputError(f"{name} has shape {array.shape}; give (n, 3), one row per point.")
    return array[:, :3]


def _turned(vectors: np.ndarray, up: str) -> np.ndarray:
    """Return a copy with z up, each axis on its own: what follows goes through one axis after another."""
    axes, signs = UPS[up]
    turned = np.empty_like(vectors, order="F")
    for to, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        np.multiply(vectors[:, axis], sign, out=turned[:, to])
    return turned


def _color(value: Any) -> np.ndarray | None:
    """Return colours as 0 to 255; the largest value says what scale they came in."""
    if value is None:
        return None
    array = _vectors("color", value, (3, 4))
    with np.errstate(over="ignore"):  # an infinite colour is reported like any other out of range
        color, scale = array.astype(np.float32), 1.0
    if array.dtype == np.uint16 and array.max(initial=0) > 255:
        scale = 1 / 257  # LAS: 16 bits, of which 8-bit data uses the lower or both bytes
    elif array.dtype.kind == "f" and color.min(initial=0) >= 0 and color.max(initial=0) <= 1:
        scale = 255.0
    return color * np.float32(scale)


def _normal(value: Any, up: str) -> np.ndarray | None:
    if value is None:
        return None
    normal = _turned(_vectors("normal", value, (3,)).astype(np.float64), up)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    good = np.isfinite(length) & (length > 0)
    return np.divide(normal, length, out=np.zeros_like(normal), where=good).astype(np.float32)


def _labels(name: str, value: Any) -> np.ndarray | None:
    if value is None:
        return None
    array = _numbers(name, value)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind == "f" and not np.array_equal(np.rint(array), array):
        raise InputError(f"{name} has values that are not integers; give one integer per point.")
    return array.astype(np.int64)
