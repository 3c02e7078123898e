"""Normals where a scan has none: a plane fitted to the points around each cell of a grid."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from .._util.stages import stage
from .._util.words import either, warn
from ..errors import InputError
from .attributes import GREY as GREY
from .cloud import PointCloud
from .origin import anchor

_CELL = 0.02  # metres; edge of the finest cells, which doubles per level where points are few
_TICKS = 256  # positions are integers, in this part of a finest cell: sums of integers have no rounding
_FEW = 8  # points that a window needs; 3 mm of noise on 9 points in 12 cm leaves about 2 degrees
_LINE = 0.05  # below this ratio of a window's two largest variances its points are a line, not a surface
_ROUGH = 0.1  # above this ratio of its two smallest, a wider window may show a flatter surface
_ROUNDS = 4  # of voting among neighbours on which side is out
_BITS = 20  # of a cell's index along one axis
_CHUNK = 1 << 12  # cells at a time: what is summed up of them stays in a core's cache


def completed(cloud: PointCloud, needed: Sequence[str] = ("color", "normal"), missing: str = "estimated") -> PointCloud:
    """Fill in grey for no colour and estimated normals for none, if they are needed; a warning says what to pass.

    Where `missing` is "zeros", that stands for both.
    """
    if missing == "zeros":
        return _zeroed(cloud, needed)
    if cloud.color is None and "color" in needed:
        cure = either("pass color= (n, 3)", "put red, green and blue into the file")
        warn(f"the points have no colour, neutral grey is used; if you have colours, {cure}.")
        cloud = replace(cloud, color=np.full((len(cloud), 3), GREY, dtype=np.float32))
    if cloud.normal is None and "normal" in needed:
        cure = either("pass normal= (n, 3)", "put nx, ny and nz into the file")
        warn(f"the points have no normals, they are estimated; if you have normals, {cure}.")
        stage("normals")
        cloud = replace(cloud, normal=estimated(cloud.coord, viewpoint=cloud.viewpoint, station=cloud.station))
    return cloud


def _zeroed(cloud: PointCloud, needed: Sequence[str]) -> PointCloud:
    """Fill in zeros for what is needed and not there."""
    for name, word in (("color", "colour"), ("normal", "normals")):
        if name in needed and getattr(cloud, name) is None:
            cure = either(f"pass {name}= (n, 3)", f"put {word} into the file")
            warn(f"the points have no {word}, zeros are used, which these weights know; if you have {word}, {cure}.")
            cloud = replace(cloud, **{name: np.zeros((len(cloud), 3), dtype=np.float32)})
    return cloud


def estimated(
    coord: np.ndarray, *, viewpoint: np.ndarray | None = None, station: np.ndarray | None = None
) -> np.ndarray:
    """Return the normal of the surface at each point.

    All points of one cell of a grid share a normal: that of the plane through the points of the 27 cells around it.
    Cells are 2 cm, and larger where the points are too few or too noisy for that.

    >>> floor = np.stack(np.meshgrid(np.arange(50), np.arange(50), [0.0]), -1).reshape(-1, 3) * 0.01
    >>> np.unique(estimated(floor), axis=0).tolist()
    [[0.0, 0.0, 1.0]]

    Args:
        coord: (n, 3) float64, metres, z up.
        viewpoint: (3,) metres, where the scanner stood, or (k, 3) for several places: every normal then points to that
            side. Without it they point to the middle of the scene, up where that is undecided, and neighbours agree.
        station: (n,), the row of `viewpoint` that each point was seen from, -1 where unknown; needed for several.

    Returns:
        (n, 3) float32, unit length, (0, 0, 1) for a point or a line; in another order the same to the last bit.

    Raises:
        InputError: `viewpoint` is not three finite numbers, or rows of them with a station for each point.
    """
    seen_from = None if viewpoint is None else _eyes(viewpoint, station, len(coord))
    span = float((coord.max(0) - coord.min(0)).max())
    tick = max(_CELL / _TICKS, span / (_TICKS << (_BITS - 2)))  # larger only beyond 5 km
    base = anchor(coord, _CELL / 4) - 3 / 8 * _CELL  # a floor lies in the middle of its cells, whatever its noise
    grid, owner = _finest(np.rint((coord - base) / tick).astype(np.int64) + (_TICKS << (_BITS - 2)))
    normal = _flattest(grid)
    nowhere = ~normal.any(1)
    normal *= _outward(grid, normal)[:, None]
    normal[nowhere] = (0, 0, 1)
    normal = normal.astype(np.float32)[owner]
    if seen_from is None:
        return normal
    away = np.einsum("nd,nd->n", seen_from - coord, normal) < 0  # never where it is NaN, unknown
    return np.where(away[:, None], -normal, normal)


def _eyes(viewpoint: np.ndarray, station: np.ndarray | None, n: int) -> np.ndarray:
    """Return where each point was seen from: (n, 3), NaN where that is unknown, or (3,) for all."""
    places = np.asarray(viewpoint)
    if (places.shape != (3,) and (places.ndim != 2 or places.shape[1] != 3)) or not np.isfinite(places).all():
        raise InputError(f"viewpoint is {viewpoint!r}; give three numbers, metres: where the scanner stood.")
    places = places.reshape(-1, 3)
    if station is None and len(places) == 1:
        return places[0]
    good = station is not None and station.shape == (n,) and -1 <= station.min() <= station.max() < len(places)
    if station is None or not good:
        raise InputError(f"viewpoint has {len(places)} rows; give station ({n},), the row of it for each point, or -1.")
    return np.vstack([places, np.full(3, np.nan)])[station]


class _Grid:
    """Occupied cells in ascending order of `keys`, with the moments of the points in each.

    Cells that follow each other along z follow each other in the table, so the sum over a run of them is a difference
    of two running totals. Totals of integers may wrap around 2^64; their differences are exact all the same.
    """

    def __init__(self, cells: np.ndarray, edge: int, moments: np.ndarray) -> None:
        self.cells, self.edge = cells, edge  # (m, 3) integer positions, in units of `edge` ticks
        self.moments = moments  # (m, 10) sums over a cell's points of 1, x, y, z, xx, yy, zz, xy, xz, yz in ticks
        keys = _keys(cells)
        padded = np.concatenate([keys, np.full(3, np.iinfo(np.int64).max)])
        self.runs = []  # for each of nine columns around a cell, the first row of its run of at most three, and its end
        for x, y in product((-1, 0, 1), repeat=2):
            middle = keys + (x << 2 * _BITS) + (y << _BITS)
            first = np.searchsorted(keys, middle - 1)
            last = first.copy()
            for step in range(3):
                last += padded[first + step] <= middle + 1
            self.runs.append((first, last))

    def around(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the sum of `values` (m, c) over the 27 cells around each of the cells `rows`."""
        total = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
        found = np.zeros((len(rows), values.shape[1]), dtype=values.dtype)
        taken = np.empty((min(len(rows), _CHUNK), values.shape[1]), dtype=values.dtype)
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            sums, end = found[start : start + _CHUNK], taken[: len(part)]
            for first, last in self.runs:
                sums += np.take(total, last[part], 0, out=end, mode="clip")  # other modes copy once more
                sums -= np.take(total, first[part], 0, out=end, mode="clip")
        return found

    def coarser(self) -> tuple["_Grid", np.ndarray]:
        """Return the grid of twice the edge, and for each of our cells its row there."""
        order, starts, owner = _groups(_keys(self.cells >> 1))
        return _Grid(self.cells[order[starts]] >> 1, 2 * self.edge, np.add.reduceat(self.moments[order], starts)), owner


def _finest(ticks: np.ndarray) -> tuple[_Grid, np.ndarray]:
    """Return the finest grid worth having, two points in a cell on average, and each point's row in it."""
    bits = _TICKS.bit_length() - 1  # of an edge; shifts are many times as fast as divisions
    while True:
        order, starts, owner = _groups(_keys(ticks >> bits))
        if 2 * len(starts) <= len(ticks) or len(starts) == 1:
            break
        bits += 1
    x, y, z = np.ascontiguousarray(ticks[order].T)
    sums = [np.diff(np.append(starts, len(ticks)))]
    sums += [np.add.reduceat(v, starts) for v in (x, y, z, x * x, y * y, z * z, x * y, x * z, y * z)]
    return _Grid(ticks[order[starts]] >> bits, 1 << bits, np.stack(sums, axis=1)), owner


def _keys(cells: np.ndarray) -> np.ndarray:
    return cells @ np.array([1 << 2 * _BITS, 1 << _BITS, 1])


def _groups(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an order that sorts `keys`, where each different key starts in it, and the rank of each key."""
    order = np.argsort(keys)
    ordered = keys[order]
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    owner = np.empty(len(keys), dtype=np.int64)
    owner[order] = np.cumsum(new) - 1
    return order, np.flatnonzero(new), owner


def _flattest(grid: _Grid) -> np.ndarray:
    """Return one unit normal per cell, of either sign, from the smallest window that shows a surface; else zeros."""
    m = len(grid.cells)
    normal, best = np.zeros((m, 3)), np.full(m, np.inf)
    todo, row, level = np.arange(m), np.arange(m), 0
    while True:
        alone = len(grid.cells) == 1
        rows, back = np.unique(row[todo], return_inverse=True)
        count, vector, rough, wide = _planes(grid, rows)
        enough = (wide > _LINE) & (count >= (3 if alone else _FEW))
        rough = np.where(enough, rough, np.inf)[back]
        better = rough < 0.7 * best[todo]
        normal[todo[better]], best[todo[better]] = vector[back][better], rough[better]
        todo = todo[best[todo] > (_ROUGH if level < 2 else 1)]
        if alone or not len(todo):
            return normal
        grid, parent = grid.coarser()
        row, level = parent[row], level + 1


def _planes(grid: _Grid, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Fit planes to the points around the cells `rows`: return how many, the normal (m, 3) and two variance ratios.

    The smallest over the middle one says how rough the plane is, the middle over the largest how far from a line.
    """
    sums = grid.around(grid.moments, rows)
    count, first = sums[:, 0], sums[:, 1:4]
    center = grid.cells[rows] * grid.edge + grid.edge // 2
    pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    mean = (first - count[:, None] * center) / count[:, None]
    variance = []
    for k, (i, j) in enumerate(pairs):
        a, b = center[:, i], center[:, j]
        moved = sums[:, 4 + k] - a * first[:, j] - b * first[:, i] + count * a * b  # small again, hence exact
        variance.append(moved / count - mean[:, i] * mean[:, j])
    return count, *_smallest(np.stack(variance))


def _smallest(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the eigenvector of the smallest eigenvalue of symmetric 3 x 3 matrices, and two ratios of eigenvalues.

    Their entries 00, 11, 22, 01, 02, 12 are `a` (6, m). This is the trigonometric solution of the characteristic cubic;
    torch.linalg.eigh takes twenty times as long.
    """
    middle = a[:3].mean(0)
    b = a.copy()
    b[:3] -= middle
    spread = np.sqrt(((b[:3] ** 2).sum(0) + 2 * (b[3:] ** 2).sum(0)) / 6)
    b /= np.where(spread > 0, spread, 1)
    xx, yy, zz, xy, xz, yz = b
    determinant = xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    angle = np.arccos(np.clip(determinant / 2, -1, 1)) / 3
    high, low = 2 * np.cos(angle), 2 * np.cos(angle + 2 * np.pi / 3)
    rows = np.stack([xx - low, xy, xz, xy, yy - low, yz, xz, yz, zz - low]).reshape(3, 3, -1)
    crosses = np.stack([np.cross(rows[i], rows[j], axis=0) for i, j in ((0, 1), (0, 2), (1, 2))])
    lengths = np.sqrt((crosses**2).sum(1))
    pick = lengths.argmax(0)
    every = np.arange(len(pick))
    length = lengths[pick, every]
    good = length > 1e-12
    vector = np.where(good, crosses[pick, :, every].T / np.where(good, length, 1), [[0.0], [0.0], [1.0]])
    values = [np.maximum(middle + spread * x, 0) for x in (low, -high - low, high)]
    floor = 1e-12 * np.where(values[2] > 0, values[2], 1)
    return vector.T, values[0] / np.maximum(values[1], floor), values[1] / np.maximum(values[2], floor)


def _outward(grid: _Grid, normal: np.ndarray) -> np.ndarray:
    """Return 1 or -1 per cell, which turns its normal to the open side, as seen from the middle of the scene.

    The sum of a cell's neighbourhood decides, over a few rounds: where a cell is edge-on, its neighbours are not.
    """
    center = grid.cells + 0.5
    low, high = np.quantile(center, [0.01, 0.99], axis=0)
    middle, size = (low + high) / 2, high - low
    if max(size[:2]) > 1.5 * size[2]:  # a scene, not an object: look from no lower than eye level
        middle[2] = max(middle[2], low[2] + 1.5 / _CELL * _TICKS / grid.edge)
    sight = middle - center
    sight /= np.linalg.norm(sight, axis=1, keepdims=True).clip(1e-9)
    sign = np.einsum("md,md->m", sight + 0.08 * np.array([0.45, 0.35, 0.82]), normal)  # edge-on: up
    rows = np.arange(len(normal))
    for _ in range(_ROUNDS):
        field = grid.around(normal * sign[:, None], rows)
        field /= np.linalg.norm(field, axis=1, keepdims=True).clip(1e-9)
        sign = np.einsum("md,md->m", field, normal)
    return np.where(sign < 0, -1.0, 1.0)
