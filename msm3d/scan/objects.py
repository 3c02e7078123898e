"""What users hold, to arrays by name: arrays, tensors, dictionaries and the objects of other libraries."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .._util.words import warn
from ..errors import InputError, cut
from . import columns
from .attributes import array, is_tensor, numbers

NAMES = {
    "coord": ("coord", "coords", "xyz", "points", "pos"),
    "color": ("color", "colors", "rgb"),
    "normal": ("normal", "normals"),
    "segment": ("segment", "label", "labels", "segment20", "semantic_gt20"),
    "instance": ("instance", "instance_gt"),
    **{name: (name,) for name in ("viewpoint", "station", "offset", "batch")},
}
"""The keys under which a dictionary may hold each part; the first that is there is taken."""
LABELS = ("segment", "instance", "station")  # the parts that are whole numbers of each point, -1 where unknown
_WIDTHS = "(n, 3) xyz, (n, 6) xyz+rgb or (n, 9) xyz+rgb+normal"


def parts(points: Any) -> dict[str, Any]:
    """Return the arrays that `points` is made of, by field name, neither checked nor converted.

    >>> sorted(parts(np.zeros((5, 6))))
    ['color', 'coord']
    """
    points = plain(points)
    if isinstance(points, Mapping):
        there = {field: next((n for n in names if points.get(n) is not None), None) for field, names in NAMES.items()}
        found = {field: points[name] for field, name in there.items() if name is not None}
        if "coord" not in found:
            keys = ", ".join(map(repr, points)) or "no keys"
            raise InputError(
                f"the points have {keys}; give 'coord' (n, 3), and 'color' and 'normal' where you have them."
            )
        return {**parts(numbers("points", found.pop("coord"))), **found}
    if isinstance(points, np.ndarray) or is_tensor(points):
        return _columns(array("points", points))
    try:
        found = _of_object(points)
    except InputError:
        raise
    except Exception as error:  # other libraries' objects fail in their own ways
        name = type(points).__name__
        raise InputError(f"the points cannot be had from this {name} ({cut(error)}); give {_WIDTHS}.") from error
    if found is not None:
        return found
    wrapped = "; wrap it in np.array" if isinstance(points, (list, tuple)) else ""
    raise InputError(
        f"points is a {type(points).__name__}{wrapped}; give {_WIDTHS} as an array or tensor, a dictionary with "
        "'coord', a PointCloud, an object of Open3D, trimesh, laspy or pyvista, or the path of a file."
    )


def plain(points: Any) -> Any:
    """Return the dictionary that a `Data` or `Batch` of PyTorch Geometric is; anything else as it is."""
    if not all(hasattr(points, name) for name in ("pos", "num_nodes", "to_dict")) or points.pos is None:
        return points
    held, n = points.to_dict(), len(points.pos)
    found = {name: held[name] for names in NAMES.values() for name in names if name in held}
    classes = held.get("y")
    if classes is not None and len(classes) == n:  # else they are of whole scenes
        found.setdefault("segment", classes)
    if held.get("x") is not None and not any(name in found for name in NAMES["color"]):
        warn("x of the graph is not used, which may be anything; where it begins with colours, set color to x[:, :3].")
    return found


def _of_object(points: Any) -> dict[str, Any] | None:
    """Return the arrays of another library's object, known by what it has, or None where it is no such thing."""
    if hasattr(points, "to_mesh") and hasattr(points, "geometry"):  # a trimesh.Scene
        points = points.to_mesh()
    if hasattr(points, "point_format"):  # laspy
        names = [name for name in points.point_format.dimension_names if name not in "XYZ"]
        return _table(["x", "y", "z", *names], lambda name: np.array(getattr(points, name)))
    for table in (getattr(points, "point", None), getattr(points, "vertex", None)):  # Open3D's tensor geometry
        if table is not None and "positions" in table:
            found = _named(*(_plain(table[k]) if k in table else None for k in ("positions", "colors", "normals")))
            more = {field: [n for n in NAMES[field] if n in table] for field in ("segment", "instance")}
            return {**found, **{field: _plain(table[names[0]]) for field, names in more.items() if names}}
    data = getattr(points, "point_data", None)
    if data is not None and hasattr(points, "points"):  # pyvista
        known = {str(name).lower(): data[name] for name in data.keys()}  # no dictionary
        paint = next((known[name] for name in ("rgb", "rgba", "colors", "color") if name in known), None)
        return _named(points.points, paint, known.get("normals"))
    if hasattr(points, "points"):  # Open3D point cloud
        return _named(points.points, getattr(points, "colors", None), getattr(points, "normals", None))
    if hasattr(points, "vertices"):  # Open3D mesh, trimesh mesh or cloud
        return _named(points.vertices, _paint(points), getattr(points, "vertex_normals", None))
    return None


def scenes(found: Mapping[str, Any], n: int) -> list[np.ndarray]:
    """Return the rows of each scene that the `n` points are of, by `batch` (n,) or by `offset`, where scenes end.

    >>> [rows.tolist() for rows in scenes({"offset": [2, 5]}, 5)]
    [[0, 1], [2, 3, 4]]
    """
    if "offset" in found:
        ends = array("offset", found["offset"]).reshape(-1)
        good = ends.dtype.kind in "iu" and len(ends) and ends[-1] == n and ends[0] >= 0 and (np.diff(ends) >= 0).all()
        if not good:
            ends = ends[:4].tolist()
            raise InputError(f"offset is {ends}, which are not the rows where scenes end, up to {n}; leave it out.")
        return [np.arange(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True) if b > a]
    if "batch" in found:
        batch = array("batch", found["batch"])
        if batch.shape not in ((n,), (n, 1)) or batch.dtype.kind not in "iu":
            raise InputError(f"batch is {batch.dtype} {batch.shape}; give the scene of each point, ({n},) integers.")
        order = np.argsort(batch.reshape(-1), kind="stable")
        return np.split(order, np.flatnonzero(np.diff(batch.reshape(-1)[order])) + 1)
    return [np.arange(n)]


def scenes_of(points: Any) -> list[tuple[Any, np.ndarray | None]]:
    """Return each scene of a dictionary that holds several, with the rows that it is of; anything else as it is.

    >>> [(one["coord"].shape, rows) for one, rows in scenes_of({"coord": np.zeros((3, 3)), "batch": [1, 0, 1]})]
    [((1, 3), array([1])), ((2, 3), array([0, 2]))]
    """
    points = plain(points)
    if not isinstance(points, Mapping) or all(points.get(name) is None for name in ("offset", "batch")):
        return [(points, None)]
    found = {name: array(name, value) for name, value in parts(points).items()}
    n = len(found["coord"])
    rows = scenes(found, n)
    if len(rows) <= 1:
        return [(points, None)]
    found = {k: v for k, v in found.items() if k not in ("offset", "batch")}
    per_point = {k for k, v in found.items() if v.shape[:1] == (n,) and k != "viewpoint"}
    return [({k: v[some] if k in per_point else v for k, v in found.items()}, some) for some in rows]


def files(points: Any) -> Iterator[str]:
    """Yield the files that `points` lie in: a path, or those of maps, such as of `np.load(path, mmap_mode="r")`.

    >>> list(files("scan.ply")), list(files({"coord": np.zeros((5, 3))}))
    (['scan.ply'], [])
    """
    for value in points.values() if isinstance(points, Mapping) else [points]:
        if isinstance(value, (str, os.PathLike)):
            yield os.fspath(value)
        while isinstance(value, np.ndarray):
            if isinstance(value, np.memmap) and value.filename is not None:
                yield os.fspath(value.filename)
            value = value.base


def _columns(points: np.ndarray) -> dict[str, Any]:
    """Return the columns of an array by field: of records by their names, else by how many there are."""
    names = points.dtype.names
    if names and any(name in NAMES["coord"] for name in names):
        return parts({name: points[name] for name in names})
    if names:
        return _table(names, lambda name: points[name].reshape(-1))
    if points.ndim != 2 or points.shape[1] not in (3, 4, 6, 9):
        cure = " Did you mean points.T?" if points.ndim == 2 and points.shape[0] in (3, 6, 9) else ""
        if points.ndim > 2 and points.shape[-1] in (3, 6, 9):
            cure = f" Did you mean points.reshape(-1, {points.shape[-1]})?"
        raise InputError(f"points has shape {points.shape}; give {_WIDTHS}.{cure}")
    if points.shape[1] == 4:
        warn("the points have four columns: the last is taken as intensity, which is not used.")
        return {"coord": points[:, :3]}
    columns = {"coord": points[:, :3], "color": points[:, 3:6], "normal": points[:, 6:9]}
    return {name: value for name, value in columns.items() if value.shape[1]}


def _table(names: Iterable[str], column: Callable[[str], np.ndarray]) -> dict[str, Any]:
    """Return the fields that named columns make up, as in a file; `column` returns one by its name."""
    known = {name.lower(): name for name in names}
    try:
        picked = columns.chosen(known.values())
    except InputError as error:
        raise InputError(f"points {error}") from error
    packed = [known[name] for name in ("rgb", "rgba") if name in known][:1]
    return columns.fields({name: column(name) for group in [*picked.values(), packed] for name in group})


def _named(coord: Any, color: Any, normal: Any) -> dict[str, Any]:
    others = {"color": color, "normal": normal}
    named = {"coord": coord, **{name: value for name, value in others.items() if value is not None and len(value)}}
    return {name: np.asarray(value) for name, value in named.items()}


def _plain(tensor: Any) -> np.ndarray:
    """Return a tensor of Open3D, wherever it is, as an array."""
    return (tensor.cpu() if hasattr(tensor, "cpu") else tensor).numpy()


def _paint(mesh: Any) -> Any:
    """Return the colours of a mesh's vertices, or None: trimesh paints a mesh without colours grey, which is none."""
    visual = getattr(mesh, "visual", None)
    if visual is None:
        return getattr(mesh, "vertex_colors", getattr(mesh, "colors", None))
    own = getattr(mesh, "vertex_attributes", {}).get("color")
    if own is not None:
        return own
    if visual.kind == "texture":
        visual = visual.to_color()
    if visual.kind is None:
        return None
    color = np.asarray(visual.vertex_colors)
    return np.tile(color, (len(mesh.vertices), 1)) if color.shape in ((3,), (4,)) else color  # one for the whole mesh
