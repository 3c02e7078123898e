"""What another scanner would have made of a scan: thinner, smoother, seen from fewer places, with holes."""

from dataclasses import dataclass, replace
from math import pi

import numpy as np
import torch

from ..errors import require
from .cloud import PointCloud
from .normals import estimated

LEAST = 3000  # points below which a change is given up: what is left would be no scene
CAMERA = (0.61, 0.47)  # half of the angles that one RGB-D frame sees sideways and upwards, radians (70 by 54 degrees)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescan:
    """How often a scan is changed as by another way of scanning; 0 never, 1 always. Nothing by default.

    >>> Rescan(mesh=0.3).mesh
    0.3
    """

    mesh: float = 0.0  # as the vertices of a fused mesh: one point, averaged, per cell of 2 to 5 cm; edges are rounded
    station: float = 0.0  # as by a turning laser from one to three places: shadows, and density falls with distance
    frame: float = 0.0  # as one RGB-D frame: what a camera sees from one place
    thin: float = 0.0  # down to a random share of the points, at least an eighth
    holes: float = 0.0  # without one to six balls of 10 to 50 cm
    estimate: float = 0.0  # with normals that are estimated from the points, as most real scans need it

    def __post_init__(self) -> None:
        for name in self.__slots__:
            require(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "within 0 to 1")


def rescanned(cloud: PointCloud, how: Rescan, generator: torch.Generator) -> PointCloud:
    """Return what is left of a scan with colour and normal after the changes that chance picks.

    Rows are new points, labels go with them. A fused mesh, a laser and a single frame exclude each other.
    """
    if how == Rescan():  # nothing is drawn, so that runs without changes stay as they were
        return cloud
    drawn = _uniform(generator, 1)[0]
    if drawn < how.mesh:
        cloud = fused(cloud, 0.02 + 0.03 * _uniform(generator, 1)[0], generator)
    elif drawn < how.mesh + how.station:
        cloud = _kept(cloud, seen(cloud, int(_uniform(generator, 1)[0] * 3) + 1, generator))
    elif drawn < how.mesh + how.station + how.frame:
        cloud = _kept(cloud, seen(cloud, 1, generator, CAMERA))
    if _uniform(generator, 1)[0] < how.holes:
        cloud = _kept(cloud, ~in_balls(cloud, generator))
    if _uniform(generator, 1)[0] < how.thin:
        share = 0.125 ** _uniform(generator, 1)[0]
        cloud = _kept(cloud, _uniform(generator, len(cloud)) < share)
    if _uniform(generator, 1)[0] < how.estimate:
        cloud = replace(cloud, normal=estimated(cloud.coord, viewpoint=cloud.viewpoint, station=cloud.station))
    return cloud


def fused(cloud: PointCloud, edge: float, generator: torch.Generator) -> PointCloud:
    """Return one point per cell of a grid: the mean of its points, with the labels of one of them."""
    assert cloud.color is not None
    assert cloud.normal is not None
    place = (cloud.coord - cloud.coord.min(0)) / edge + _uniform(generator, 3)
    node = np.floor(place).astype(np.int64)
    _, first, group, count = np.unique(
        (node[:, 0] << 40) + (node[:, 1] << 20) + node[:, 2], return_index=True, return_inverse=True, return_counts=True
    )
    if len(first) < LEAST:
        return cloud

    def mean(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(group, column) / count for column in values.T], 1)

    normal = mean(cloud.normal)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True).clip(1e-6)
    color = mean(cloud.color).astype(np.float32)
    return replace(cloud.take(first), coord=mean(cloud.coord), color=color, normal=normal.astype(np.float32))


def seen(
    cloud: PointCloud, eyes: int, generator: torch.Generator, field: tuple[float, float] | None = None
) -> np.ndarray:
    """Return which points (n,) some of a few eyes measure, somewhere over the floor: the nearest in each small angle.

    `field` is half of the angles seen sideways and upwards; all around for None.
    """
    low, high = np.quantile(cloud.coord, [0.02, 0.98], axis=0)
    found = np.zeros(len(cloud), bool)
    for _ in range(eyes):
        share = _uniform(generator, 3)
        eye = low + (high - low) * [0.15 + 0.7 * share[0], 0.15 + 0.7 * share[1], 0]
        eye[2] += min(1.1 + 0.7 * share[2], 0.8 * (high[2] - low[2]))
        ray = cloud.coord - eye
        flat = np.hypot(ray[:, 0], ray[:, 1])
        depth = np.sqrt(flat**2 + ray[:, 2] ** 2)
        sideways, upwards = np.arctan2(ray[:, 1], ray[:, 0]), np.arctan2(ray[:, 2], flat)
        inside = depth > 0.3
        if field is not None:
            heading, pitch = _uniform(generator, 2) * [2 * pi, 0.7] - [pi, 0.5]
            turned = np.abs((sideways - heading + pi) % (2 * pi) - pi)
            inside &= (turned < field[0]) & (np.abs(upwards - pitch) < field[1]) & (depth < 5.5)
        step = np.radians(0.25 + 0.55 * _uniform(generator, 1)[0])
        rows = np.flatnonzero(inside)
        along = sideways[rows] * np.cos(upwards[rows])  # as many columns as fit at a height
        pixel, coarse = (
            (upwards[rows] / edge).astype(np.int64) * 100_003 + (along / edge).astype(np.int64)
            for edge in (step, 4 * step)
        )
        order = np.lexsort((depth[rows], pixel))
        nearest = order[np.unique(pixel[order], return_index=True)[1]]
        blocked = _blocked(coarse, depth[rows])  # between the samples of a surface nothing behind it may show
        found[rows[nearest[~blocked[nearest]]]] = True
    return found


def in_balls(cloud: PointCloud, generator: torch.Generator) -> np.ndarray:
    """Return which points (n,) lie in one of some random balls around points."""
    inside = np.zeros(len(cloud), bool)
    for _ in range(1 + int(6 * _uniform(generator, 1)[0])):
        middle = cloud.coord[int(_uniform(generator, 1)[0] * len(cloud))]
        radius = 0.1 + 0.4 * _uniform(generator, 1)[0]
        inside |= np.square(cloud.coord - middle).sum(1) < radius**2
    return inside


def _blocked(pixel: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return which points lie well behind the nearest fifth of what is in the same angle."""
    order = np.lexsort((depth, pixel))
    _, first, group, count = np.unique(pixel[order], return_index=True, return_inverse=True, return_counts=True)
    front = depth[order][first + count // 5]
    blocked = np.empty(len(pixel), bool)
    blocked[order] = depth[order] > front[group] * 1.15 + 0.1
    return blocked


def _kept(cloud: PointCloud, rows: np.ndarray) -> PointCloud:
    """Return some of the points, or all where too few would be left."""
    return cloud if rows.sum() < LEAST else cloud.take(rows)


def _uniform(generator: torch.Generator, n: int) -> np.ndarray:
    """Return n numbers within 0 to 1."""
    return torch.rand(n, generator=generator, dtype=torch.float64).numpy()
