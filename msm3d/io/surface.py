"""Meshes to points: the vertices where they are dense, else points spread evenly over the surface."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._util.words import option, warn
from ..errors import FileError
from ..scan.options import ReadOptions
from ..scan.plausible import UNITS

_MOST = 5_000_000  # points on a surface
_BLOCK = 1 << 20  # faces, or points, at a time
_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)  # any odd numbers


@dataclass(frozen=True, kw_only=True, eq=False)
class Paint:
    """The colours of a surface that lie on its m faces: one each, or a picture."""

    plain: np.ndarray  # (m, 3), 0-255; NaN where a face has none
    pictures: Sequence[np.ndarray] = ()  # (h, w, 3) each, 0-255, the first row on top
    picture: np.ndarray | None = None  # (m,), which picture lies on a face, or -1; None for none at all
    place: np.ndarray | None = None  # (m, 3, 2), of corners: parts of the width from the left, the height from the top

    def at(self, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the colours (k, 3) at points on the faces (k,), the weights (k, 3) being those of the corners."""
        color = self.plain[face].astype(np.float32)
        if self.picture is None or self.place is None:
            return color
        which = self.picture[face]
        order = np.argsort(which, kind="stable")
        ends = np.searchsorted(which[order], np.arange(len(self.pictures) + 1))
        for picture, start, end in zip(self.pictures, ends, ends[1:], strict=False):
            rows = order[start:end]
            if len(rows):
                place = np.einsum("kc,kcd->kd", weights[rows], self.place[face[rows]])
                color[rows] = _pixels(picture, place)
        return color


def _pixels(picture: np.ndarray, place: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    place = np.where(np.isfinite(place), place, 0)
    inside = np.where((place >= 0) & (place <= 1), place, place - np.floor(place))
    column, row = (inside * [width, height]).astype(np.int64).clip(0, [width - 1, height - 1]).T
    return picture[row, column]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mesh:
    """What a file holds: n vertices and m triangles."""

    coord: np.ndarray  # (n, 3)
    faces: np.ndarray  # (m, 3), vertices anticlockwise from outside
    color: np.ndarray | None = None  # (n, 3 | 4), as in the file; float32 where known to be 0-255; None: see paint
    normal: np.ndarray | None = None  # (n, 3)
    labels: dict[str, np.ndarray] | None = None  # (n,) each
    paint: Paint | None = None

    def __post_init__(self) -> None:
        if len(self.faces) and (self.faces.min() < 0 or self.faces.max() >= len(self.coord)):
            raise FileError(f"has faces with vertices that are none of its {len(self.coord)}; export it again.")

    def areas(self) -> np.ndarray:
        """Return the area (m,) of each face; 0 where a corner has no position."""
        area = np.zeros(len(self.faces))
        with np.errstate(all="ignore"):
            for start in range(0, len(area), _BLOCK):
                faces = self.faces[start : start + _BLOCK]
                area[start : start + _BLOCK] = np.linalg.norm(_across(self.coord, faces), axis=1) / 2
        return np.where(np.isfinite(area), area, 0)

    def edge(self) -> float:
        """Return the median over the surface, from an even sample of its faces, of the longest edge of each."""
        faces = self.faces[:: max(1, len(self.faces) // 100_000)]
        a, b, c = (self.coord[faces[:, i]].astype(np.float64) for i in range(3))
        with np.errstate(all="ignore"):
            edge = np.sqrt(np.max([((p - q) ** 2).sum(1) for p, q in ((a, b), (b, c), (c, a))], axis=0))
            area = np.linalg.norm(_across(self.coord, faces), axis=1)
        good = np.isfinite(area) & np.isfinite(edge) & (area > 0)
        if not good.any():
            return 0.0
        order = np.argsort(edge[good])
        along = np.cumsum(area[good][order])
        return float(edge[good][order[np.searchsorted(along, along[-1] / 2)]])

    def normals(self) -> np.ndarray | None:
        """Return the normals of the vertices: the file's, else the mean of those of their faces."""
        if self.normal is not None or not len(self.faces):
            return self.normal
        total = np.zeros((len(self.coord), 3))
        with np.errstate(all="ignore"):
            for start in range(0, len(self.faces), _BLOCK):
                faces = self.faces[start : start + _BLOCK]
                across = _across(self.coord, faces)
                across[~np.isfinite(across).all(1)] = 0
                for axis, corner in np.ndindex(3, 3):
                    total[:, axis] += np.bincount(faces[:, corner], across[:, axis], minlength=len(total))
        return total

    def colors(self) -> np.ndarray | None:
        """Return the colours of the vertices: the file's, else those of the paint in the first face of each."""
        if self.color is not None or self.paint is None:
            return self.color
        seen, corner = np.unique(self.faces, return_index=True)
        color = np.full((len(self.coord), 3), np.nan, dtype=np.float32)
        color[seen] = self.paint.at(corner // 3, np.eye(3)[corner % 3])
        return color


def _across(coord: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return vectors across the faces, as long as twice their area."""
    a, b, c = (coord[faces[:, i]].astype(np.float64) for i in range(3))
    return np.cross(b - a, c - a)


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Return several meshes as one, one after another; what a part lacks is NaN, or zeros for normals."""
    if len(meshes) == 1:
        return meshes[0]
    starts = np.cumsum([0, *(len(mesh.coord) for mesh in meshes)])
    painted = any(mesh.paint for mesh in meshes)
    return Mesh(
        coord=np.concatenate([mesh.coord for mesh in meshes]),
        faces=np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]),
        color=_filled([mesh.colors() for mesh in meshes], meshes, np.nan),
        normal=_filled([mesh.normals() for mesh in meshes], meshes, 0),
        paint=together([mesh.paint for mesh in meshes], [_means(mesh) for mesh in meshes]) if painted else None,
    )


def _filled(values: list[np.ndarray | None], meshes: Sequence[Mesh], blank: float) -> np.ndarray | None:
    if all(value is None for value in values):
        return None
    blanks = (np.full((len(mesh.coord), 3), blank) for mesh in meshes)
    rows = [other if value is None else value[:, :3] for value, other in zip(values, blanks, strict=True)]
    return np.concatenate(rows).astype(np.float32)


def together(paints: Sequence[Paint | None], plains: Sequence[np.ndarray]) -> Paint:
    """Return the paints of several groups of faces as one; where a group has none, it has its plain colours (m, 3)."""
    pictures: list[np.ndarray] = []
    plain, picture, place = [], [], []
    for paint, others in zip(paints, plains, strict=True):
        count = len(others)
        plain.append(others if paint is None else paint.plain[:count])
        if paint is None or paint.picture is None or paint.place is None:
            picture.append(np.full(count, -1))
            place.append(np.zeros((count, 3, 2)))
            continue
        picture.append(np.where(paint.picture < 0, -1, paint.picture + len(pictures)))
        place.append(paint.place)
        pictures += paint.pictures
    if not pictures:
        return Paint(plain=np.concatenate(plain))
    picture, place = np.concatenate(picture), np.concatenate(place)
    return Paint(plain=np.concatenate(plain), pictures=pictures, picture=picture, place=place)


def _means(mesh: Mesh) -> np.ndarray:
    """Return for each face the mean colour of its vertices, NaN where they have none."""
    colors = mesh.colors()
    return np.full((len(mesh.faces), 3), np.nan) if colors is None else colors[mesh.faces, :3].mean(1)


def points(file: Path, mesh: Mesh, options: ReadOptions, units: str | None = None) -> dict[str, np.ndarray]:
    """Return the fields of a cloud: the vertices, or the surface, as the options or the vertices' density say.

    `units` is what the format says of its coordinates. A warning tells where the surface is sampled unasked.
    """
    unit = UNITS[options.units or units or "m"]
    spacing = options.spacing / unit
    if options.mesh == "vertices" or (options.mesh is None and not _is_sparse(mesh, spacing)):
        return _named(mesh.coord, mesh.colors(), {"normal": mesh.normals(), **(mesh.labels or {})})
    areas = mesh.areas()
    area = float(areas.sum())
    if not area:
        raise FileError(f"has no faces to sample; leave {option('mesh')} out to take its vertices.")
    wanted = area / (spacing / 2) ** 2
    if wanted > 100 * _MOST:
        raise FileError(
            f"has a surface of {area * unit**2:.3g} m², too much to sample; "
            f"pass {option('units')} if it is not in metres, or {option('mesh', 'vertices')} to take its vertices."
        )
    count = round(min(max(wanted, 1), _MOST))
    if options.mesh is None:
        warn(
            f"{file}: its {len(mesh.coord):,} vertices are far apart ({mesh.edge() * unit:.2g} m), so {count:,} points "
            f"were spread over its surface, {np.sqrt(area / count) * unit:.2g} m apart, and row i is not vertex i; "
            f"pass {option('mesh', 'vertices')} to take the vertices."
        )
    return _sampled(mesh, areas, count)


def _is_sparse(mesh: Mesh, spacing: float) -> bool:
    """Tell a mesh whose surface its vertices do not describe; a cloud with a few faces beside it is none."""
    if mesh.edge() <= 3 * spacing:  # along a longer edge a kernel of three voxels meets no neighbour
        return False
    used = np.zeros(len(mesh.coord), dtype=bool)
    used[mesh.faces] = True
    return 2 * int(used.sum()) > len(used)


def _named(coord: np.ndarray, color: np.ndarray | None, others: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if color is not None and color.dtype == np.float32:  # our own: 0-255, which bytes say
        unknown = np.isnan(color)
        color = None if unknown.all() else color if unknown.any() else np.rint(color).astype(np.uint8)
    named = {**others, "coord": coord, "color": color}
    return {name: value for name, value in named.items() if value is not None}


def _sampled(mesh: Mesh, area: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Return `count` points on the surface, as many on each part as its area asks for; the same ones every time."""
    along, color = np.cumsum(area), mesh.color
    found: dict[str, np.ndarray] = {}
    for start in range(0, count, _BLOCK):
        rows = slice(start, min(start + _BLOCK, count))
        i = np.arange(start, rows.stop, dtype=np.float64)
        face = np.searchsorted(along, (i + 0.5) * (along[-1] / count), side="right").clip(0, len(area) - 1)
        # The additive sequence R2 fills a square more evenly than random numbers; halved, it fills a triangle.
        u, v = (0.5 + i * 0.7548776662466927) % 1, (0.5 + i * 0.5698402909980532) % 1
        over = u + v > 1
        u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
        weights = np.stack([1 - u - v, u, v], axis=1)
        corners = mesh.faces[face]
        nearest = corners[np.arange(len(corners)), weights.argmax(1)]
        normal = _across(mesh.coord, corners)
        if mesh.normal is not None:  # the file's say which side is out
            normal[np.einsum("kd,kd->k", normal, mesh.normal[nearest]) < 0] *= -1
        block = {
            "coord": np.einsum("kc,kcd->kd", weights, mesh.coord[corners].astype(np.float64)),
            "normal": (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32),
            **{name: label[nearest] for name, label in (mesh.labels or {}).items()},
        }
        if mesh.paint is not None:
            block["color"] = mesh.paint.at(face, weights)
        elif color is not None:
            between = np.einsum("kc,kcd->kd", weights, color[corners, :3].astype(np.float64))
            block["color"] = np.rint(between).astype(color.dtype) if color.dtype.kind in "iu" else between
        for name, values in block.items():
            if not start:
                found[name] = np.empty((count, *values.shape[1:]), dtype=values.dtype)
            found[name][rows] = values
    return _named(found["coord"], found.get("color"), found)


def fans(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return triangles (m, 3) as positions in a flat list of polygons of these sizes, and each one's polygon (m,).

    >>> fans(np.array([3, 4]))[0].tolist()
    [[0, 1, 2], [3, 4, 5], [3, 5, 6]]
    """
    number = (sizes - 2).clip(0)
    polygon = np.repeat(np.arange(len(sizes)), number)
    first = (np.cumsum(sizes) - sizes)[polygon]
    step = np.arange(len(polygon)) - (np.cumsum(number) - number)[polygon]
    return np.stack([first, first + step + 1, first + step + 2], axis=1), polygon


def merged(mesh: Mesh) -> Mesh:
    """Return a mesh whose vertices at one place are one, in the order of their first."""
    bits = (np.ascontiguousarray(mesh.coord, dtype=np.float64) + 0.0).view(np.uint64)  # -0 is 0
    mixed = (bits ^ (bits >> np.uint64(32))) * _ODD
    _, first, owner = np.unique(mixed[:, 0] + mixed[:, 1] + mixed[:, 2], return_index=True, return_inverse=True)
    if (bits[first[owner]] != bits).any():  # two places with one key
        _, first, owner = np.unique(bits, axis=0, return_index=True, return_inverse=True)
        owner = owner.reshape(-1)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return replace(mesh, coord=mesh.coord[first[order]], faces=place[owner][mesh.faces])
