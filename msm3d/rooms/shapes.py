"""Surfaces of simple solids, as quadrilateral cells that can be sampled evenly.

Every shape is a `Cells` value in metres, z up, with normals that point out of the solid. A box is six cells, a
cylinder a ring of them; nothing else is needed to build a room.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Cells(NamedTuple):
    """Quadrilaterals with a normal and a texture coordinate at each corner; corners run around the cell."""

    corners: np.ndarray
    """(m, 4, 3) metres."""
    normals: np.ndarray
    """(m, 4, 3), not yet of unit length."""
    uv: np.ndarray
    """(m, 4, 2) texture coordinates, metres along the surface."""
    tint: np.ndarray
    """(m,) in 0..1: lets one material colour the things it covers differently, as the books of a shelf."""
    both: np.ndarray
    """(m,) bool: seen from both sides, as a curtain; otherwise only from where the normal points to."""


def join(cells: Sequence[Cells]) -> Cells:
    """Several shapes as one.

    >>> len(join([box((0, 0, 0), (1, 1, 1)), disc((0, 0, 2), 0.5)]).tint)
    26
    """
    return Cells(*(np.concatenate(column) for column in zip(*cells, strict=True)))


def moved(cells: Cells, offset: ArrayLike = (0.0, 0.0, 0.0), yaw: float = 0.0, tilt: float = 0.0) -> Cells:
    """The shape turned by `tilt` about x, then by `yaw` about z (radians), then shifted by `offset` (metres)."""
    turn = rotation(yaw, tilt)
    return cells._replace(corners=cells.corners @ turn.T + np.asarray(offset), normals=cells.normals @ turn.T)


def rotation(yaw: float, tilt: float = 0.0) -> np.ndarray:
    """(3, 3) matrix: `tilt` about x first, then `yaw` about z.

    >>> (rotation(np.pi / 2) @ [1, 0, 5]).round(6).tolist()
    [0.0, 1.0, 5.0]
    """
    c, s, d, t = np.cos(yaw), np.sin(yaw), np.cos(tilt), np.sin(tilt)
    return np.array([[c, -s * d, s * t], [s, c * d, -c * t], [0.0, t, d]])


# corner signs of the six faces of a box, each face counter-clockwise seen from outside
_FACES = np.array(
    [
        [[-1, -1, -1], [1, -1, -1], [1, -1, 1], [-1, -1, 1]],
        [[1, 1, -1], [-1, 1, -1], [-1, 1, 1], [1, 1, 1]],
        [[-1, 1, -1], [-1, -1, -1], [-1, -1, 1], [-1, 1, 1]],
        [[1, -1, -1], [1, 1, -1], [1, 1, 1], [1, -1, 1]],
        [[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]],
        [[-1, 1, -1], [1, 1, -1], [1, -1, -1], [-1, -1, -1]],
    ],
    dtype=float,
)
_FACE_NORMALS = np.array([[0, -1, 0], [0, 1, 0], [-1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, -1]], dtype=float)
_FACE_AXES = np.array([[0, 2], [0, 2], [1, 2], [1, 2], [0, 1], [0, 1]])


def boxes(centres: ArrayLike, sizes: ArrayLike, tint: ArrayLike = 0.0) -> Cells:
    """Axis-aligned boxes: `centres` and `sizes` are (b, 3) metres, `tint` one number for each or for all."""
    centres, sizes = np.atleast_2d(np.asarray(centres, float)), np.atleast_2d(np.asarray(sizes, float))
    b = max(len(centres), len(sizes))
    offsets = _FACES[None] * (sizes[:, None, None] / 2)
    corners = np.broadcast_to(centres[:, None, None] + offsets, (b, 6, 4, 3)).reshape(b * 6, 4, 3)
    normals = np.broadcast_to(_FACE_NORMALS[None, :, None], (b, 6, 4, 3)).reshape(b * 6, 4, 3)
    uv = np.take_along_axis(np.broadcast_to(offsets, (b, 6, 4, 3)), _FACE_AXES[None, :, None, :], axis=3)
    tints = np.repeat(np.broadcast_to(np.asarray(tint, float), b), 6)
    return Cells(corners, normals, uv.reshape(b * 6, 4, 2), tints, np.zeros(b * 6, bool))


def box(centre: ArrayLike, size: ArrayLike) -> Cells:
    """One axis-aligned box.

    >>> box((0, 0, 0.5), (2, 1, 1)).corners[..., 2].max()
    np.float64(1.0)
    """
    return boxes(np.asarray(centre, float)[None], np.asarray(size, float)[None])


def sheet(grid: np.ndarray, *, smooth: bool = True, both: bool = False) -> Cells:
    """A curved surface through a grid (k, l, 3) of points; outside is where axis 0 cross axis 1 points to."""
    across, along = np.gradient(grid, axis=0), np.gradient(grid, axis=1)
    normals = np.cross(across, along)
    around = (slice(None, -1), slice(None, -1)), (slice(1, None), slice(None, -1)), (slice(1, None), slice(1, None))
    around = (*around, (slice(None, -1), slice(1, None)))
    corners = np.stack([grid[s] for s in around], 2).reshape(-1, 4, 3)
    u = np.linalg.norm(np.diff(grid, axis=0), axis=2).mean(1)
    v = np.linalg.norm(np.diff(grid, axis=1), axis=2).mean(0)
    u, v = np.concatenate([[0.0], np.cumsum(u)]), np.concatenate([[0.0], np.cumsum(v)])
    uv = np.stack(np.meshgrid(u, v, indexing="ij"), -1)
    uv = np.stack([uv[s] for s in around], 2).reshape(-1, 4, 2)
    if smooth:
        bent = np.stack([normals[s] for s in around], 2).reshape(-1, 4, 3)
    else:
        flat = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
        bent = np.repeat(flat[:, None], 4, 1)
    m = len(corners)
    return Cells(corners, bent, uv, np.zeros(m), np.full(m, both))


def panel(origin: ArrayLike, across: ArrayLike, along: ArrayLike, *, both: bool = False) -> Cells:
    """A flat parallelogram; outside is where `across` cross `along` points to."""
    o, a, b = np.asarray(origin, float), np.asarray(across, float), np.asarray(along, float)
    corners = np.stack([o, o + a, o + a + b, o + b])[None]
    w, h = np.linalg.norm(a), np.linalg.norm(b)
    uv = np.array([[[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]]])
    return Cells(corners, np.broadcast_to(np.cross(a, b), (1, 4, 3)), uv, np.zeros(1), np.full(1, both))


def loft(rings: np.ndarray, *, smooth: bool = True, both: bool = False) -> Cells:
    """A skin over closed rings (k, l, 3) that run counter-clockwise seen from above, the lowest ring first."""
    closed = np.concatenate([rings, rings[:, :1]], axis=1)
    skin = sheet(closed.transpose(1, 0, 2), smooth=smooth, both=both)
    if smooth:  # the seam: central differences around the ring instead of one-sided ones
        wide = np.concatenate([rings[:, -1:], rings, rings[:, :2]], axis=1).transpose(1, 0, 2)
        normals = np.cross(np.gradient(wide, axis=0), np.gradient(wide, axis=1))[1:-1]
        around = [normals[:-1, :-1], normals[1:, :-1], normals[1:, 1:], normals[:-1, 1:]]
        skin = skin._replace(normals=np.stack(around, 2).reshape(-1, 4, 3))
    return skin


def ring(
    rx: float, ry: float, z: float, *, sides: int = 16, power: float = 2.0, centre: ArrayLike = (0, 0)
) -> np.ndarray:
    """(sides, 3) points of a superellipse around `centre`: power 2 is an ellipse, larger is boxier."""
    angle = np.arange(sides) * (2 * np.pi / sides)
    c, s = np.cos(angle), np.sin(angle)
    x, y = rx * np.sign(c) * np.abs(c) ** (2 / power), ry * np.sign(s) * np.abs(s) ** (2 / power)
    middle = np.asarray(centre, float)
    return np.stack([x + middle[0], y + middle[1], np.full(sides, float(z))], 1)


def lathe(profile: ArrayLike, centre: ArrayLike = (0, 0, 0), *, sides: int = 14, squash: float = 1.0) -> Cells:
    """A surface of revolution about z: `profile` is (k, 2) of radius and height; outside while it goes up.

    A profile that comes back down inside makes a hollow vessel. `squash` scales y.

    >>> lathe([(0.1, 0.0), (0.1, 0.5), (0.0, 0.5)]).corners[..., 2].max()
    np.float64(0.5)
    """
    profile = np.asarray(profile, float)
    rings = np.stack([ring(r, r * squash, z, sides=sides) for r, z in profile])
    return moved(loft(rings, smooth=False), centre)


def disc(
    centre: ArrayLike, rx: float, ry: float | None = None, *, sides: int = 20, power: float = 2.0, down: bool = False
) -> Cells:
    """A flat ellipse (or superellipse) that faces up, or down."""
    ry = rx if ry is None else ry
    x, y, z = np.asarray(centre, float)
    rim = ring(rx, ry, z, sides=sides, power=power, centre=(x, y))
    rings = np.stack([rim, np.broadcast_to([x, y, z], rim.shape)])
    flat = loft(rings, smooth=False)
    up = np.array([0.0, 0.0, -1.0 if down else 1.0])
    return flat._replace(normals=np.broadcast_to(up, flat.normals.shape), uv=flat.corners[..., :2] - [x, y])


def slab(centre: ArrayLike, rx: float, ry: float, thick: float, *, power: float = 2.0, sides: int = 24) -> Cells:
    """An elliptic plate, as a round table top; `centre` is the middle of its body."""
    x, y, z = np.asarray(centre, float)
    edge = np.stack([ring(rx, ry, z + h, sides=sides, power=power, centre=(x, y)) for h in (-thick / 2, thick / 2)])
    lids = [disc((x, y, z + h), rx, ry, sides=sides, power=power, down=h < 0) for h in (-thick / 2, thick / 2)]
    return join([loft(edge), *lids])


def pole(foot: ArrayLike, top: ArrayLike, radius: float, end: float | None = None, *, sides: int = 8) -> Cells:
    """A round bar from `foot` to `top`, tapering from `radius` to `end`, with flat ends."""
    return tube(
        np.stack([np.asarray(foot, float), np.asarray(top, float)]),
        [radius, radius if end is None else end],
        sides=sides,
    )


def tube(path: ArrayLike, radius: ArrayLike, *, sides: int = 8) -> Cells:
    """A round bar along `path` (k, 3), of one radius or one for each point, with flat ends."""
    path = np.asarray(path, float)
    heading = np.gradient(path, axis=0)
    heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-12
    helper = np.array([0.0, 0.0, 1.0]) if np.abs(heading[:, 2]).max() < 0.9 else np.array([0.31, 0.95, 0.02])
    side = np.cross(helper, heading)
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-12
    up = np.cross(heading, side)
    angle = np.arange(sides) * (2 * np.pi / sides)
    reach = np.broadcast_to(np.asarray(radius, float), len(path))[:, None, None]
    rings = path[:, None] + reach * (np.cos(angle)[:, None] * side[:, None] + np.sin(angle)[:, None] * up[:, None])
    first, last = np.broadcast_to(path[0], rings[:1].shape), np.broadcast_to(path[-1], rings[:1].shape)
    return loft(np.concatenate([first, rings, last]), smooth=False)


def blob(centre: ArrayLike, size: ArrayLike, power: float = 2.0, *, rows: int = 7, sides: int = 14) -> Cells:
    """A superellipsoid of full extent `size`: power 2 is an ellipsoid, 5 a cushion, 10 nearly a box."""
    height = np.linspace(-np.pi / 2, np.pi / 2, rows)
    c, s = np.cos(height), np.sin(height)
    wide, tall = np.abs(c) ** (2 / power), np.sign(s) * np.abs(s) ** (2 / power)
    half = np.asarray(size, float) / 2
    rings = np.stack(
        [
            ring(half[0] * w + 1e-4, half[1] * w + 1e-4, half[2] * t, sides=sides, power=power)
            for w, t in zip(wide, tall, strict=True)
        ]
    )
    skin = loft(rings)
    flat = np.abs(skin.normals.mean(1)).argmax(1)  # cloth is cut in panels: no swirls around the poles
    uv = np.take_along_axis(skin.corners, np.array([[1, 2], [0, 2], [0, 1]])[flat][:, None, :], axis=2)
    return moved(skin._replace(uv=uv), centre)


def pillow(centre: ArrayLike, size: ArrayLike, *, sag: float = 0.0) -> Cells:
    """A stuffed rectangle with thin edges, lying flat: full extent `size`, its middle pressed in by `sag` of it."""
    t = np.linspace(-1, 1, 7)
    x, y = np.meshgrid(t, t, indexing="ij")
    swell = ((1 - x**4) * (1 - y**4)) ** 0.6 * (1 - sag * np.exp(-3 * (x**2 + y**2)))
    pinch = 1 - 0.07 * (1 - np.abs(y)) * x**4
    w, d, h = np.asarray(size, float) / 2
    top = np.stack([w * x * pinch, d * y * (1 - 0.07 * (1 - np.abs(x)) * y**4), h * swell], -1)
    bottom = (top * [1, 1, -1])[:, ::-1]
    return moved(join([sheet(top), sheet(bottom)]), centre)


def prism(outline: ArrayLike, low: float, high: float) -> Cells:
    """A vertical prism over a polygon (k, 2) that runs counter-clockwise and is star-shaped about its centroid."""
    outline = np.asarray(outline, float)
    rim = [np.concatenate([outline, np.full((len(outline), 1), z)], 1) for z in (low, high)]
    middle = [np.broadcast_to([*outline.mean(0), z], rim[0].shape) for z in (low, high)]
    return join([loft(np.stack(pair), smooth=False) for pair in ((middle[0], rim[0]), rim, (rim[1], middle[1]))])
