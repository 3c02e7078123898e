"""Points to a picture without a display or a GPU: discs as large as the points are apart, eye-dome lighting."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .._util.atomic import replacing
from .._util.output_path import output_path
from ..errors import InputError
from ..io.layouts.ply import write as write_ply
from .camera import Camera, automatic_view, outside
from .colors import unit
from .rows import spaced

BACKGROUNDS = {"white": (255, 255, 255), "light": (246, 246, 244), "dark": (22, 24, 28), "black": (0, 0, 0)}
_FINE = 2  # pixels drawn for one of the picture, along each side
_WIDEST = 16  # radius of the largest disc, in drawn pixels
_WORK = 12e6  # squares of radii in all that are drawn
_AROUND = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx])
_NOWHERE = np.iinfo(np.uint64).max
_RINGS = ((1.5, 0.6), (4.0, 0.4))  # of eye-dome lighting: radius in pixels of the picture, and weight


def render(
    points: Any,
    colors: Any,
    *,
    size: tuple[int, int] = (1280, 960),
    view: Camera | None = None,
    background: str | tuple[int, int, int] = "white",
    normals: Any = None,
) -> np.ndarray:
    """Return a picture of coloured points: perspective, nearer points in front, edges and steps shaded.

    >>> points = np.random.default_rng(0).random((2000, 3))
    >>> picture = render(points, np.full((2000, 3), 200, np.uint8), size=(160, 120))
    >>> picture.shape, picture.dtype.name
    ((120, 160, 3), 'uint8')

    Args:
        points: (n, 3) metres, z up.
        colors: (n, 3) 0 to 255, such as from `pca_colors`.
        size: width and height in pixels.
        view: where to look from; `automatic_view` by default.
        background: white, light, dark, black or red, green, blue of 0 to 255.
        normals: (n, 3) unit, towards the open side. With them, walls between the camera and the room are left out.

    Returns:
        (height, width, 3) uint8. The same bytes for the same input.

    Raises:
        InputError: the arrays do not belong together, or the size or the background is unknown.
    """
    points, colors, ground = _checked(points, colors, size, background)
    view = automatic_view(points, size) if view is None else view
    kept = np.ones(len(points), bool) if view.below is None else points[:, 2] < view.below
    eye = np.asarray(view.eye, np.float64)
    apart = spacing(points)
    if normals is not None:
        normals = np.asarray(normals, np.float32)
        if normals.shape != points.shape:
            raise InputError(f"normals has shape {normals.shape}; give {points.shape}, one row per point.")
        facing = np.einsum("nd,nd->n", unit((eye - points).astype(np.float32)), normals)
        kept &= ~(outside(points, normals) & (facing < 0))
        apart *= np.sqrt(np.clip(np.abs(facing), 0.35, 1))  # seen edge-on, points are closer together
    width, height = size[0] * _FINE, size[1] * _FINE
    focal = height / 2 / np.tan(np.deg2rad(view.fov) / 2)
    seen = ((points - eye) @ view.axes().T).astype(np.float32)
    kept &= seen[:, 2] > 1e-3 * np.linalg.norm(np.asarray(view.target) - eye)
    rows = np.flatnonzero(kept)
    depth, point = _drawn(seen[rows], apart[rows], focal, width, height)
    shade = _shaded(depth)
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = ground
    there = np.flatnonzero(point >= 0)
    picture.reshape(-1, 3)[there] = colors[rows[point.ravel()[there]]] * shade.ravel()[there, None]
    lines = picture.reshape(size[1], _FINE, -1).sum(1)
    return np.rint(lines.reshape(size[1], size[0], _FINE, 3).sum(2) / _FINE**2).astype(np.uint8)


def save_picture(path: str | os.PathLike[str], picture: np.ndarray) -> Path:
    """Write a picture (height, width, 3) uint8 as PNG; whole or not at all.

    Raises:
        InputError: the name does not end with .png, there is no such folder, or the array is no picture.
    """
    path = output_path(path, [".png"], "a picture")
    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape or picture.dtype != np.uint8:
        raise InputError(f"picture has shape {picture.shape} and dtype {picture.dtype}; give (height, width, 3) uint8.")
    with replacing(path) as partial:
        partial.write_bytes(_png(picture))
    return path


def colored_ply(path: str | os.PathLike[str], points: np.ndarray, colors: np.ndarray) -> Path:
    """Write points (n, 3) and colours (n, 3) uint8 as binary PLY, which every viewer of scans opens."""
    path = Path(path)
    with replacing(path) as partial:
        write_ply(partial, {"x y z": np.asarray(points, np.float64), "red green blue": np.asarray(colors, np.uint8)})
    return path


def spacing(points: np.ndarray) -> np.ndarray:
    """Return how far apart the points around each point are (n,) float32: of a surface, the root of area by points."""
    low, high = np.percentile(points[spaced(len(points), 40_000)], [0.5, 99.5], axis=0)
    edge = max(float(np.linalg.norm(high - low)) / 160, 1e-6)
    while True:
        cell = np.clip((points - low) / edge, -(1 << 19), 1 << 19).astype(np.int64) + (1 << 19)
        keys = (cell[:, 0] << 40) | (cell[:, 1] << 20) | cell[:, 2]
        _, cell_of_point, count = np.unique(keys, return_inverse=True, return_counts=True)
        if len(points) >= 4 * len(count) or len(count) < 8:
            break
        edge *= 1.5  # with fewer in a cell there is no telling
    apart = edge * np.sqrt(1.2 / count)  # a plane crosses 1.2 faces of the cells that it passes through
    usual = float(np.median(apart[cell_of_point]))
    return np.clip(apart, usual / 3, usual * 1.7).astype(np.float32)[cell_of_point]


def _drawn(seen: np.ndarray, apart: np.ndarray, focal: float, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each pixel the depth of the nearest disc, infinite for none, and its row in `seen`, -1 for none."""
    z = seen[:, 2]
    x = seen[:, 0] / z * focal + width / 2
    y = height / 2 - seen[:, 1] / z * focal
    radius = np.clip(0.9 * apart / z * focal, 0.75, _WIDEST)
    on = (x > -_WIDEST) & (x < width + _WIDEST) & (y > -_WIDEST) & (y < height + _WIDEST)
    while (radius[on] ** 2).sum() > _WORK and radius.max() > 4:
        radius = np.minimum(radius, radius.max() - 1)  # a close view of very many points
    margin = 2 * _WIDEST + 1
    wide = width + 2 * margin
    nearest = np.full(wide * (height + 2 * margin), _NOWHERE, np.uint64)
    reach = float(z.max(initial=1.0)) * 1.01
    unit = np.float64((1 << 31) / reach)
    classes = np.ceil(radius).astype(np.int64)
    for r in range(1, _WIDEST + 1):
        rows = np.flatnonzero(on & (classes == r))
        if not len(rows):
            continue
        pixel = np.floor(y[rows] + margin).astype(np.int64) * wide + np.floor(x[rows] + margin).astype(np.int64)
        size = radius[rows]
        first = z[rows].astype(np.float64)
        bend = 0.5 * apart[rows].astype(np.float64)  # a disc recedes to its rim, so that neighbours share the border
        across = np.arange(-r, r + 1)
        square, step = across[:, None] ** 2 + across**2, across[:, None] * wide + across
        for far in np.unique(square[square <= (r + 0.3) ** 2]):  # pixels as far from the middle are as deep
            some = slice(None) if far <= (r - 0.7) ** 2 else np.flatnonzero(size + 0.3 >= np.sqrt(far))
            deep = ((first[some] + bend[some] * (far / (r * r))) * unit).astype(np.uint64)
            deep <<= np.uint64(32)
            deep |= rows[some].astype(np.uint64)
            middle = pixel[some]
            for away in step[square == far]:
                np.minimum.at(nearest, middle + away, deep)
    image = nearest.reshape(-1, wide)[margin : margin + height, margin : margin + width]
    none = image == _NOWHERE
    point = (image & np.uint64(0xFFFFFFFF)).astype(np.int64)
    point[none] = -1
    depth = ((image >> np.uint64(32)) / unit).astype(np.float32)
    depth[none] = np.inf
    for _ in range(6):
        _close(depth, point)
    return depth, point


def _close(depth: np.ndarray, point: np.ndarray) -> None:
    """Fill pixels that have a disc on at least four of eight sides: gaps inside of surfaces, not their borders."""
    w = depth.shape[1]
    there = (point >= 0).astype(np.uint8)
    lines = there[:-2] + there[1:-1] + there[2:]
    y, x = np.nonzero((lines[:, :-2] + lines[:, 1:-1] + lines[:, 2:] >= 4) & (point[1:-1, 1:-1] < 0))
    at = (y + 1) * w + x + 1
    around = at[:, None] + _AROUND[:, 0] * w + _AROUND[:, 1]
    near = depth.ravel()[around]
    pick = around[np.arange(len(at)), np.where(np.isfinite(near), near, -1).argmax(1)]  # what is behind goes on
    depth.ravel()[at], point.ravel()[at] = depth.ravel()[pick], point.ravel()[pick]


def _shaded(depth: np.ndarray) -> np.ndarray:
    """Return the brightness (h, w) of each pixel: dark where pixels around it are nearer.

    Source: C. Boucheny, eye-dome lighting, 2009; two rings, on logarithms of depth.
    """
    with np.errstate(divide="ignore"):
        deep = np.where(np.isfinite(depth), np.log2(depth), 64).astype(np.float32)
    h, w = deep.shape
    hidden = np.zeros_like(deep)
    for pixels, weight in _RINGS:
        r = round(pixels * _FINE)
        padded = np.pad(deep, r, mode="edge")
        ring = np.zeros_like(deep)
        for angle in np.arange(8) * np.pi / 4:
            dy, dx = round(r * np.sin(angle)), round(r * np.cos(angle))
            step = deep - padded[r + dy : r + dy + h, r + dx : r + dx + w]
            ring += np.clip(step - 0.003, 0, 0.06)
        hidden += weight / 8 * ring
    return np.exp2(-38 * hidden)


def ground_of(background: Any) -> np.ndarray:
    """Return the colour (3,) behind a picture, by its name or as it is given."""
    ground = BACKGROUNDS.get(background) if isinstance(background, str) else background
    if ground is None or np.shape(ground) != (3,):
        raise InputError(f"background is {background!r}; choose {', '.join(BACKGROUNDS)} or red, green, blue.")
    return np.asarray(ground, np.float32)


def _checked(points: Any, colors: Any, size: Any, background: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
        raise InputError(f"points has shape {points.shape}; give (n, 3) finite numbers, one row per point.")
    colors = np.asarray(colors)
    if colors.shape != points.shape:
        raise InputError(f"colors has shape {colors.shape}; give {points.shape}, one row per point.")
    if len(tuple(size)) != 2 or not all(isinstance(s, (int, np.integer)) and 1 <= s <= 8192 for s in size):
        raise InputError(f"size is {size!r}; give width and height in pixels, at most 8192.")
    return points, colors.astype(np.float32), ground_of(background)


def _png(picture: np.ndarray) -> bytes:
    """Return a picture (height, width, 3) uint8 as the bytes of a PNG file; the same bytes for the same picture.

    Each line is written as it is, or as its difference to the pixels at the left or above, whichever is smallest.

    Source: Portable Network Graphics, third edition, W3C 2025; filters 0, 1 and 2.
    """
    height, width, _ = picture.shape
    lines = np.ascontiguousarray(picture).reshape(height, 3 * width)
    best = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1)
    least = _cost(lines)
    left = np.pad(lines[:, :-3], ((0, 0), (3, 0)))
    above = np.pad(lines[:-1], ((1, 0), (0, 0)))
    for kind, guess in ((1, left), (2, above)):
        rest = lines - guess  # modulo 256, as the format wants it
        better = _cost(rest) < least
        least = np.where(better, _cost(rest), least)
        best[better, 0], best[better, 1:] = kind, rest[better]
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits of red, green and blue
    packed = zlib.compressobj(strategy=zlib.Z_RLE)  # made for PNG: smaller here, in a fifth of the time
    chunks = (b"IHDR", head), (b"IDAT", packed.compress(best.tobytes()) + packed.flush()), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _cost(lines: np.ndarray) -> np.ndarray:
    """Return how far each line is from zeros, modulo 256."""
    return np.minimum(lines, 0 - lines).sum(1, dtype=np.int64)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
