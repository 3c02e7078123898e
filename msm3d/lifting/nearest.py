"""The nearest of some points, exactly: boxes around neighbours in a tree, those that cannot hold it left out."""

import numpy as np
import torch

from ..ops import curves

_BRANCH = 8  # boxes in a box, and points in the smallest ones
_FINE = (1 << curves.BITS) - 1  # the last cell along an axis of the grid in which points are put in order
_PART = 1 << 13  # queries at a time: a few dozen boxes of each are in memory


def nearest(at: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the row of the nearest of the points `of` (m, 3), m at least 1, for each place `at` (n, 3): (n,) int64.

    Of several that are equally near it is the one whose x, then y, then z is the least, whatever the order of the
    points; of equal points the first.

    >>> nearest(np.array([[0.0, 0, 0], [9, 9, 9]]), np.array([[1.0, 0, 0], [0, 0, 0.1], [5, 5, 5]])).tolist()
    [1, 2]
    """
    first = np.lexsort((*of.T[::-1],))
    base = of.min(0)
    step = max(float((of.max(0) - base).max()) / _FINE, np.finfo(float).tiny)
    cells = np.minimum((of[first] - base) / step, _FINE).astype(np.int64)
    scene = np.zeros((len(cells), 1), np.int64)
    keys = curves.morton(torch.from_numpy(np.concatenate([scene, cells], 1))).numpy()
    rows = np.argsort(keys, kind="stable")  # of `first`: its own order settles which of equally near ones it is
    placed = of[first][rows] - base
    boxes = _boxes(placed)
    found = [_found(at[i : i + _PART] - base, placed, rows, boxes) for i in range(0, len(at), _PART)]
    return first[np.concatenate([*found, np.zeros(0, np.int64)])]


def _boxes(points: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the low and high corners of boxes, coarse to fine: each holds `_BRANCH` finer ones, or points."""
    low, high, levels = points, points, list[tuple[np.ndarray, np.ndarray]]()
    while not levels or len(low) > 1:
        starts = np.arange(0, len(low), _BRANCH)
        low, high = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
        levels.insert(0, (low, high))
    return levels


def _found(
    at: np.ndarray, points: np.ndarray, rank: np.ndarray, boxes: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Return the rank of the nearest of `points` for each place."""
    query, node = np.arange(len(at)), np.zeros(len(at), np.int64)
    for level, (low, high) in enumerate(boxes):
        place = at[query]
        below, above = low[node] - place, place - high[node]
        least = (np.maximum(np.maximum(below, above), 0) ** 2).sum(1)
        most = (np.maximum(np.abs(below), np.abs(above)) ** 2).sum(1)  # a box touches what it holds on every side
        bound = np.full(len(at), np.inf)
        np.minimum.at(bound, query, most)
        kept = least <= bound[query] * (1 + 1e-12)
        size = len(boxes[level + 1][0]) if level + 1 < len(boxes) else len(points)
        query, node = np.repeat(query[kept], _BRANCH), (node[kept][:, None] * _BRANCH + np.arange(_BRANCH)).ravel()
        query, node = query[node < size], node[node < size]
    away = ((at[query] - points[node]) ** 2).sum(1)
    order = np.lexsort((rank[node], away, query))
    starts = np.searchsorted(query[order], np.arange(len(at)))
    return rank[node[order[starts]]]
