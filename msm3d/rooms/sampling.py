"""Points spread evenly over cells."""

from typing import NamedTuple

import numpy as np

from .shapes import Cells


class Samples(NamedTuple):
    """Points on cells, in the order of the cells."""

    coord: np.ndarray
    """(n, 3) float32 metres."""
    cell: np.ndarray
    """(n,) index of the cell."""
    place: np.ndarray
    """(n, 2) float32 in 0..1: where in the cell."""


def areas(cells: Cells) -> np.ndarray:
    """(m,) square metres."""
    p = cells.corners
    return np.linalg.norm(np.cross(p[:, 2] - p[:, 0], p[:, 3] - p[:, 1]), axis=1) / 2


def sample(cells: Cells, count: int, rng: np.random.Generator) -> Samples:
    """About `count` points, evenly by area: stratified between cells and, by a lattice, within them.

    >>> from msm3d.rooms.shapes import box
    >>> points = sample(box((0, 0, 0), (1, 1, 3)), 1400, np.random.default_rng(0))
    >>> np.bincount(points.cell).tolist()
    [300, 300, 300, 300, 100, 100]
    """
    area = areas(cells)
    share = np.concatenate([[0.0], np.cumsum(area)]) * (count / area.sum())
    share[-1] = count
    ends = np.floor(share + rng.random() * 0.999).astype(np.int64)
    each = np.diff(ends)
    cell = np.repeat(np.arange(len(area)), each)
    n = len(cell)
    step = np.arange(n) - np.repeat(ends[:-1] - ends[0], each)
    a = (step + rng.random(n)) / np.repeat(each, each)
    b = (np.arange(n) * 0.6180339887498949 + 0.3 * rng.random(n)) % 1.0
    place = np.stack([a, b], 1).astype(np.float32)
    return Samples(within(cells.corners.astype(np.float32), cell, place), cell, place)


def within(values: np.ndarray, cell: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(n, c) bilinear blend of the corner values (m, 4, c) of each point's cell."""
    a, b = place[:, :1], place[:, 1:]
    at = values[cell]
    return (at[:, 0] * (1 - a) + at[:, 1] * a) * (1 - b) + (at[:, 3] * (1 - a) + at[:, 2] * a) * b
