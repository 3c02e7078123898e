"""Boxes around points, upright ones, and how much two of them share.

A box is a row of seven numbers: the centre x, y, z, the size along its length, its width and its height, in metres, and
the heading in radians, by which its length is turned from x towards y. It is 0 of boxes along the axes.
"""

from typing import Any

import numpy as np

from ...errors import InputError

_DIRECTIONS = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], 1)


def aligned_box(coord: Any) -> np.ndarray:
    """Return the box (7,) along the axes around points (n, 3), or raise InputError where there are none.

    >>> aligned_box([[0, 0, 0], [2, 4, 1]]).tolist()
    [1.0, 2.0, 0.5, 2.0, 4.0, 1.0, 0.0]
    """
    points = _points(coord)
    low, high = points.min(0), points.max(0)
    return np.concatenate([(low + high) / 2, high - low, [0.0]])


def oriented_box(coord: Any) -> np.ndarray:
    """Return the upright box (7,) of the smallest floor area around points (n, 3), its heading from 0 below pi / 2.

    >>> oriented_box([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 3]]).round(3).tolist()
    [0.0, 0.0, 1.5, 1.414, 1.414, 3.0, 0.785]

    Raises:
        InputError: there are no points, or their shape is another one.

    Source: a side of the smallest rectangle lies on a side of the convex hull [Freeman and Shapira 1975].
    """
    points = _points(coord)
    middle = points[:, :2].mean(0)
    corners = hull(points[:, :2] - middle)
    sides = np.roll(corners, -1, 0) - corners
    headings = np.unique(np.append(np.arctan2(sides[:, 1], sides[:, 0]) % (np.pi / 2), 0.0))
    headings = headings[headings < np.pi / 2]
    along = np.stack([np.cos(headings), np.sin(headings)], 1)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    spans = [(axes @ corners.T) for axes in (along, across)]
    low, high = (np.stack([end(span, 1) for span in spans], 1) for end in (np.min, np.max))
    best = int(np.argmin(np.prod(high - low, 1)))
    centre = (low + high)[best] / 2 @ np.stack([along[best], across[best]]) + middle
    bottom, top = points[:, 2].min(), points[:, 2].max()
    return np.array([*centre, (bottom + top) / 2, *(high - low)[best], top - bottom, headings[best]])


def hull(points: np.ndarray) -> np.ndarray:
    """Return the corners (k, 2) of the convex hull of points (n, 2), turning left.

    >>> hull(np.array([[0, 0], [2, 0], [1, 0], [1, 1], [2, 2], [0, 2]])).tolist()
    [[0, 0], [2, 0], [2, 2], [0, 2]]

    Source: Andrew's monotone chain, of the points outside of an octagon of extreme ones [Akl and Toussaint 1978].
    """
    extreme = (points @ _DIRECTIONS.T).argmax(0)
    ends = points[extreme]
    sides = np.roll(ends, -1, 0) - ends
    inside = np.ones(len(points), bool)
    for end, (dx, dy) in zip(ends, sides, strict=True):
        inside &= (dx * (points[:, 1] - end[1]) - dy * (points[:, 0] - end[0]) > 0) | (dx == dy == 0)
    inside[extreme] = False
    left = [tuple(point) for point in np.unique(points[~inside], axis=0).tolist()]
    if len(left) < 3:
        return np.array(left)
    return np.array(_chain(left)[:-1] + _chain(left[::-1])[:-1])


def _chain(points: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Return the points at which a walk along sorted points only turns left."""
    kept: list[tuple[float, ...]] = []
    for point in points:
        while len(kept) > 1 and _turn(kept[-2], kept[-1], point) <= 0:
            kept.pop()
        kept.append(point)
    return kept


def _turn(a: Any, b: Any, c: Any) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def box_iou(one: Any, other: Any) -> np.ndarray:
    """Return intersection over union (a, b) by volume of boxes (a, 7) with boxes (b, 7), exactly; 0 of empty ones.

    >>> box_iou([[0, 0, 0, 2, 2, 2, 0]], [[1, 0, 0, 2, 2, 2, 0], [0, 0, 0, 2, 2, 2, np.pi / 2]]).round(6).tolist()
    [[0.333333, 1.0]]
    """
    one, other = _boxes(one), _boxes(other)
    if not (one[:, 6].any() or other[:, 6].any()):
        low = np.maximum((one[:, :3] - one[:, 3:6] / 2)[:, None], other[:, :3] - other[:, 3:6] / 2)
        high = np.minimum((one[:, :3] + one[:, 3:6] / 2)[:, None], other[:, :3] + other[:, 3:6] / 2)
        shared = np.maximum(high - low, 0).prod(2)
    else:
        low = np.maximum((one[:, 2] - one[:, 5] / 2)[:, None], other[:, 2] - other[:, 5] / 2)
        high = np.minimum((one[:, 2] + one[:, 5] / 2)[:, None], other[:, 2] + other[:, 5] / 2)
        apart = np.linalg.norm(one[:, None, :2] - other[:, :2], axis=2)
        reach = np.linalg.norm(one[:, 3:5], axis=1)[:, None] / 2 + np.linalg.norm(other[:, 3:5], axis=1) / 2
        shared, floors = np.maximum(high - low, 0), [[_floor(box) for box in boxes] for boxes in (one, other)]
        shared[apart >= reach] = 0
        for i, j in np.argwhere(shared > 0):
            shared[i, j] *= _area(_clipped(floors[0][i], floors[1][j]))
    volumes = one[:, 3:6].prod(1)[:, None] + other[:, 3:6].prod(1) - shared
    return np.divide(shared, volumes, out=np.zeros_like(shared), where=volumes > 0)


def _floor(box: np.ndarray) -> np.ndarray:
    """Return the corners (4, 2) of a box seen from above, turning left."""
    c, s = np.cos(box[6]), np.sin(box[6])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * box[3:5] / 2
    return corners @ np.array([[c, s], [-s, c]]) + box[:2]


def _clipped(polygon: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return the part of a convex polygon (k, 2) within another [Sutherland and Hodgman 1974]."""
    for a, b in zip(window, np.roll(window, -1, 0), strict=True):
        if not len(polygon):
            break
        sides = (b[0] - a[0]) * (polygon[:, 1] - a[1]) - (b[1] - a[1]) * (polygon[:, 0] - a[0])
        kept = []
        for i, (point, side) in enumerate(zip(polygon, sides, strict=True)):
            last, before = polygon[i - 1], sides[i - 1]
            if (side > 0) != (before > 0) and side != before:
                kept.append(last + (point - last) * (before / (before - side)))
            if side > 0:
                kept.append(point)
        polygon = np.array(kept).reshape(-1, 2)
    return polygon


def _area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2) if len(polygon) > 2 else 0.0


def _points(coord: Any) -> np.ndarray:
    points = np.asarray(coord, np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
        raise InputError(
            f"the points of a box have shape {points.shape}; give (n, 3) finite numbers, one row at least."
        )
    return points


def _boxes(values: Any) -> np.ndarray:
    boxes = np.asarray(values, np.float64)
    if boxes.size == 0:
        return np.zeros((0, 7))
    if boxes.ndim != 2 or boxes.shape[1] != 7 or not np.isfinite(boxes).all() or (boxes[:, 3:6] < 0).any():
        raise InputError(f"boxes have shape {boxes.shape}; give (m, 7): centre, size from 0 on, heading, all finite.")
    return boxes
