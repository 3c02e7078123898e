"""Ways of scanning: what a laser, a phone or a single frame would have measured of the same room."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ..scan.cloud import PointCloud
from ..scan.normals import estimated
from ..scan.rescan import fused
from .camera import Sensor, Sight, directed, waypoints
from .grids import average, cubes
from .room import Room
from .scan import Fused, Walk, fuse, heaviest, walk

WAYS = ("camera", "mesh", "phone", "laser", "frame", "sparse")
"""`camera` fuses a walk with an RGB-D camera into points; `mesh` has the vertices of such a fusion, 2 to 5 cm apart;
`phone` is a phone's LiDAR, which rounds edges and blurs colours; `laser` turns on one to three tripods; `frame` is one
RGB-D picture; `sparse` has few points, as photogrammetry leaves them."""
WALKED = ("camera", "mesh", "phone", "sparse")
"""Ways in which an RGB-D camera is walked through the rooms."""
MIXED = "mixed"
"""Stands for a way that the seed draws."""
REACH = {"laser": 30.0}
"""Metres that a sensor measures, where it is not the camera's."""
DENSER = {"frame": 3.0}
"""How many times as many samples a way needs, where a view sees little of the room."""

TILTS = (-1.4, -0.45, 0.45)
"""Rises of the views that together see around a tripod: what is right below and above is not measured."""


def resolved(way: str, seed: int) -> str:
    """Return the way itself, and one that the seed draws for `mixed`; the room does not change with it."""
    return WAYS[np.random.default_rng([seed, 1]).integers(len(WAYS))] if way == MIXED else way


def measured(
    way: str, sensor: Sensor, rooms: list[Room], points: int, rng: np.random.Generator
) -> tuple[Fused, Walk | None]:
    """Return what a way of scanning measures of the samples, and the walk of a way that has one."""
    if way == "laser":
        return turned(sensor, rooms, points, rng), None
    if way == "frame":
        return snapped(sensor, rooms, points, rng), None
    walked = walk(sensor, rooms, rng)
    return fuse(walked.sights, walked.eyes, sensor.coord, points, rng), walked


def finished(way: str, cloud: PointCloud, eye: np.ndarray, rng: np.random.Generator) -> PointCloud:
    """Return what the software of a way makes of the measured points, of which each was seen from `eye` (n, 3)."""
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
    if way == "mesh":
        return fused(cloud, rng.uniform(0.02, 0.05), generator)
    if way == "phone":
        assert cloud.color is not None
        soft, share = cubes(cloud.coord, rng.uniform(0.05, 0.09)), rng.uniform(0.4, 0.8)
        color = average(cloud.color, *cubes(cloud.coord, rng.uniform(0.03, 0.06))).astype(np.float32)
        coord = cloud.coord * (1 - share) + average(cloud.coord, *soft) * share
        cloud = fused(replace(cloud, coord=coord, color=color), rng.uniform(0.015, 0.03), generator)
        return replace(cloud, normal=facing(estimated(cloud.coord), cloud))
    if way == "sparse":
        cloud = cloud.take(np.sort(rng.permutation(len(cloud))[: int(len(cloud) * rng.uniform(0.08, 0.3))]))
        return replace(cloud, normal=facing(estimated(cloud.coord), cloud))
    if way in ("laser", "frame"):
        eyes, station = np.unique(eye, axis=0, return_inverse=True)
        return replace(cloud, normal=estimated(cloud.coord, viewpoint=eyes, station=station.reshape(-1)))
    return cloud


def facing(normal: np.ndarray, cloud: PointCloud) -> np.ndarray:
    """Return estimated normals on the side of the cloud's own, where the scanner stood."""
    assert cloud.normal is not None
    return normal * np.where((normal * cloud.normal).sum(1, keepdims=True) < 0, -1, 1).astype(np.float32)


def turned(sensor: Sensor, rooms: list[Room], points: int, rng: np.random.Generator) -> Fused:
    """Return what a laser measures on one to three tripods: accurate, with shadows, and dense nearby."""
    sights, eyes = list[Sight](), list[np.ndarray]()
    for number in range(max(int(rng.integers(1, 4)), len(rooms))):
        eye = np.array([*waypoints(rooms[number % len(rooms)], 1, rng)[0], rng.uniform(1.2, 1.9)])
        around = [directed(eye, eye + [np.cos(a), np.sin(a), tilt]) for a in np.arange(8) * np.pi / 4 for tilt in TILTS]
        views = [sensor.look(eye, frame) for frame in around]
        sights.append(Sight(*(np.concatenate(column) for column in zip(*views, strict=True))))
        eyes.append(eye)
    return once(sights, np.array(eyes), sensor.coord, points, rng, lambda depth: np.full(len(depth), 0.002))


def snapped(sensor: Sensor, rooms: list[Room], points: int, rng: np.random.Generator) -> Fused:
    """Return one picture of an RGB-D camera: the one that sees most of a few."""
    sights, eyes = list[Sight](), list[np.ndarray]()
    for spot in waypoints(rooms[rng.integers(len(rooms))], 6, rng):
        eye = np.array([*spot, rng.uniform(0.6, 1.7)])
        target = sensor.coord[rng.integers(len(sensor.coord))]
        sights.append(sensor.look(eye, directed(eye, target)))
        eyes.append(eye)
    best = int(np.argmax([len(sight.point) for sight in sights]))
    points = int(points * rng.uniform(0.3, 0.9))
    return once(sights[best : best + 1], np.array(eyes[best : best + 1]), sensor.coord, points, rng, quantized)


def quantized(depth: np.ndarray) -> np.ndarray:
    """Return how far depths (k,) of a structured-light camera are off: its steps grow with the square of the depth.

    Source: 2.85e-5 z^2 cm per step of disparity, Khoshelham and Elberink, Sensors 12, 2012.
    """
    return 0.00285 * depth**2


def once(
    sights: list[Sight],
    eyes: np.ndarray,
    coord: np.ndarray,
    points: int,
    rng: np.random.Generator,
    error: Callable[[np.ndarray], np.ndarray],
) -> Fused:
    """Return samples as each was measured by the nearest of some places, as dense as rays from there meet surfaces."""
    point = np.concatenate([sight.point for sight in sights])
    depth = np.concatenate([sight.depth for sight in sights]).astype(float)
    slant = np.concatenate([sight.facing for sight in sights])
    place = np.repeat(np.arange(len(sights)), [len(sight.point) for sight in sights])
    order = np.lexsort((depth, point))
    first = order[np.unique(point[order], return_index=True)[1]]
    point, depth, slant, place = point[first], depth[first], slant[first], place[first]
    kept = heaviest(np.clip(slant, 0.05, 1) / np.maximum(depth, 0.3) ** 2, points, rng)
    point, depth, place = point[kept], depth[kept], place[kept]
    eye, spread = eyes[place], error(depth)
    ray = coord[point] - eye
    ray /= np.linalg.norm(ray, axis=1, keepdims=True) + 1e-9
    moved = coord[point] + ray * (spread * np.clip(rng.standard_normal(len(point)), -2.5, 2.5))[:, None]
    gains = np.exp(rng.normal(0, 0.06, (len(sights), 3)) + rng.normal(0, 0.1, (len(sights), 1)))
    return Fused(point, moved, eye, gains[place], np.ones(len(point), int), spread, gains)
