"""Points to groups: components of points of one class that lie closer together than a radius, without their graph.

Offsets move the points of a thing onto its middle, where thousands lie within the radius of each other. So points are
put into cells whose points all lie closer than the radius, and what is joined are cells: two in reach of each other
belong together if their nearest points do. The components are exactly those of a search through all neighbours.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
import torch

from ...errors import InputError
from ...ops.curves import BITS, morton

_SLACK = 1e-5  # how much smaller a cell is than it may be: more than divisions round
_REACH = 2  # cells between which points can still be closer than the radius, which is less than 2 edges
_FARTHEST = 1 << 31  # cells from one end to the other, where _SLACK still covers the rounding
_COLUMNS = [(dx, dy) for dx, dy in product(range(_REACH + 1), range(-_REACH, _REACH + 1)) if (dx, dy) >= (0, 0)]


def grouped(coord: np.ndarray, labels: np.ndarray, radius: float) -> np.ndarray:
    """Return the group of each point: points of one label are in one if steps shorter than the radius lead from the
    one to the other over points of the same label.

    >>> grouped(np.array([[0, 0, 0], [0.2, 0, 0], [0.9, 0, 0], [0.1, 0, 0]]), np.array([1, 1, 1, 2]), radius=0.3)
    array([0, 0, 1, 2])

    Args:
        coord: (n, 3) metres.
        labels: (n,) integers; points with a negative one are in no group.
        radius: metres; of points exactly this far apart none leads to the other.

    Returns:
        (n,) int64, numbers from 0 in the order of the groups' first points, and -1 for no group. Another order of the
        points gives the same groups.

    Raises:
        InputError: the shapes do not fit together, the radius is not above 0, or a coordinate is not finite or too far
            away.

    Source: PointGroup's breadth-first search over shifted points [PointGroup, lib/pointgroup_ops: bfs_cluster], less
    its limit of 1000 neighbours.
    """
    coord, labels = np.asarray(coord, np.float64), np.asarray(labels)
    if coord.ndim != 2 or coord.shape[1] != 3 or labels.shape != coord.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(
            f"coord has shape {coord.shape} and labels {labels.shape} of {labels.dtype}; give (n, 3) and (n,) integers."
        )
    if not 0 < radius < np.inf:
        raise InputError(f"radius is {radius}; give metres above 0, such as 0.05.")
    groups = np.full(len(coord), -1)
    rows = np.flatnonzero(labels >= 0)
    if not len(rows):
        return groups
    groups[rows] = _by_first(_components(coord[rows], labels[rows], float(radius)))
    return groups


def _by_first(roots: np.ndarray) -> np.ndarray:
    """Return numbers in the order in which they come first."""
    _, first, number = np.unique(roots, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[number]


def _components(coord: np.ndarray, labels: np.ndarray, radius: float) -> np.ndarray:
    """Return a number for each point, the same for those of one component."""
    with np.errstate(over="ignore", invalid="ignore"):
        place = (coord - coord.min(0)) / (radius / np.sqrt(3) * (1 - _SLACK))
    if not (place < _FARTHEST).all():  # nor NaN
        raise InputError(f"the coordinates are not finite, or too far apart for a radius of {radius:g}; check them.")
    cells = np.floor(place)
    grid = _Grid(cells.astype(np.int64) + _REACH, np.unique(labels, return_inverse=True)[1])
    order = np.lexsort((_along_a_curve(place - cells), grid.owner))
    points, owner = coord[order].T, grid.owner[order]
    starts = np.searchsorted(owner, np.arange(len(grid) + 1))
    middle = points[:, _central(points, owner, starts)]
    roots, left = np.arange(len(grid)), []
    for one, other in grid.pairs():
        near = _squares(middle[:, one] - middle[:, other]) < radius * radius
        roots = _joined(roots, one[near], other[near])
        apart = np.flatnonzero(roots[one] != roots[other])
        left.append((one[apart], other[apart]))
    one, other = (np.concatenate(part) for part in zip(*left, strict=True))
    return _settled(points, starts, roots, (one, other), radius * radius)[grid.owner]


def _along_a_curve(place: np.ndarray) -> np.ndarray:
    """Return keys (n,) in whose order places (n, 3) within a cell, from 0 to 1, keep their neighbours."""
    steps = torch.from_numpy((place * (1 << BITS)).astype(np.int64))
    return morton(torch.nn.functional.pad(steps, (1, 0))).numpy()


class _Grid:
    """Cells of labelled points, sorted by label, x, y and z, so that those above each other are side by side."""

    def __init__(self, cells: np.ndarray, labels: np.ndarray) -> None:
        x, y, z = cells.T
        self.x_size, self.y_size, self.z_size = (int(axis.max()) + _REACH + 1 for axis in (x, y, z))
        self.planes, plane = np.unique(labels * self.x_size + x, return_inverse=True)
        self.columns, column = np.unique(plane * self.y_size + y, return_inverse=True)
        self.keys, self.owner = np.unique(column * self.z_size + z, return_inverse=True)

    def __len__(self) -> int:
        return len(self.keys)

    def pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield all pairs of cells in reach of each other, each once, those of one step between columns at a time."""
        column, z = np.divmod(self.keys, self.z_size)
        plane, y = np.divmod(self.columns, self.y_size)
        for dx, dy in sorted(_COLUMNS, key=lambda step: step[0] ** 2 + step[1] ** 2):
            beside = _found(self.planes, self.planes + dx)[plane]
            beside = np.where(beside < 0, -1, _found(self.columns, beside * self.y_size + y + dy))[column]
            rows = np.flatnonzero(beside >= 0)
            key = beside[rows] * self.z_size + z[rows]
            first = np.searchsorted(self.keys, key + (1 if dx == dy == 0 else -_REACH))
            count = np.searchsorted(self.keys, key + _REACH, "right") - first
            one = np.repeat(rows, count)
            yield one, np.arange(len(one)) + np.repeat(first - np.cumsum(count) + count, count)


def _found(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return where each of `wanted` is in the ascending keys, or -1."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def _central(points: np.ndarray, owner: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the point of each cell that is nearest to the middle of its points, by the columns of `points` (3, n)."""
    middle = np.add.reduceat(points, starts[:-1], 1) / np.diff(starts)
    return np.lexsort((_squares(points - middle[:, owner]), owner))[starts[:-1]]


def _squares(vectors: np.ndarray) -> np.ndarray:
    """Return the squared length of the columns (3, n): what is larger on every axis is not smaller, rounded or not."""
    x, y, z = vectors
    return x * x + y * y + z * z


def _joined(roots: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the smallest member of each node's component, once some nodes are joined; before, `roots` say it."""
    roots = roots.copy()
    while True:
        low, high = np.minimum(roots[one], roots[other]), np.maximum(roots[one], roots[other])
        apart = low != high
        if not apart.any():
            return roots
        one, other = one[apart], other[apart]
        np.minimum.at(roots, high[apart], low[apart])
        while not np.array_equal(up := roots[roots], roots):
            roots = up


def _settled(
    points: np.ndarray, starts: np.ndarray, roots: np.ndarray, pairs: tuple[np.ndarray, np.ndarray], limit: float
) -> np.ndarray:
    """Return the roots once all pairs of cells are joined of which two points are nearer than the root of `limit`.

    The boxes around their points say that all are, or none; of the others halves are compared, down to single points.
    A cell's points lie along a curve, so halves are parts of space.
    """
    one, other = pairs
    a, b = np.stack([starts[one], starts[one + 1]]), np.stack([starts[other], starts[other + 1]])
    points = np.concatenate([points, np.zeros((3, 1))], 1)  # the last is nobody's, see `_boxes`
    while len(one):
        low_a, high_a, low_b, high_b = _boxes(points, a, b)
        certain = _squares(np.maximum(high_b - low_a, high_a - low_b)) < limit
        possible = _squares(np.maximum(np.maximum(low_b - high_a, low_a - high_b), 0)) < limit
        roots = _joined(roots, one[certain], other[certain])
        rows = np.flatnonzero(possible & (roots[one] != roots[other]))
        halves = [(left, right) for left in _halves(a[:, rows]) for right in _halves(b[:, rows])]
        a, b = (np.concatenate(part, 1) for part in zip(*halves, strict=True))
        one, other = (np.tile(part[rows], len(halves)) for part in (one, other))
        some = (a[0] < a[1]) & (b[0] < b[1])
        one, other, a, b = one[some], other[some], a[:, some], b[:, some]
    return roots


def _halves(ranges: np.ndarray) -> list[np.ndarray]:
    """Return the halves (2, n) of ranges (2, n) from start to stop, the first one larger; the other may be empty."""
    start, stop = ranges
    middle = (start + stop + 1) // 2
    return [np.stack([start, middle]), np.stack([middle, stop])]


def _boxes(points: np.ndarray, *ranges: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the smallest and the largest coordinates (3, n) of each of several ranges (2, n) of points (3, n + 1).

    Ranges that start at the same point are the same.
    """
    starts, where = np.unique(np.concatenate([part[0] for part in ranges]), return_inverse=True)
    edges = np.empty((len(starts), 2), np.int64)
    edges[:, 0], edges[where, 1] = starts, np.concatenate([part[1] for part in ranges])
    ends = [ufunc.reduceat(points, edges.ravel(), 1)[:, ::2] for ufunc in (np.minimum, np.maximum)]
    for part in np.split(where, np.cumsum([part.shape[1] for part in ranges])[:-1]):
        yield from (end[:, part] for end in ends)
