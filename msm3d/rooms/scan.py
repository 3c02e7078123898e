"""The simulated scan: many noisy views of a scene, fused into one uneven cloud with holes."""

from typing import NamedTuple

import numpy as np

from .camera import Sensor, Sight, directed, waypoints
from .noise import Noise
from .room import Room


class Fused(NamedTuple):
    """The measured samples."""

    point: np.ndarray
    """(k,) rows of the samples that were kept."""
    coord: np.ndarray
    """(k, 3) metres, displaced by the noise of the measurements."""
    eye: np.ndarray
    """(k, 3) mean place of the cameras that saw the point, nearer ones counting more."""
    gain: np.ndarray
    """(k, 3) mean exposure and white balance of the views."""
    views: np.ndarray
    """(k,) how many views measured the point."""
    spread: np.ndarray
    """(k,) standard deviation of the displacement along the ray, metres."""
    gains: np.ndarray
    """(v, 3) exposure and white balance of each view."""


class Walk(NamedTuple):
    """What was seen along a path through the rooms."""

    sights: list[Sight]
    eyes: np.ndarray
    """(v, 3) where the camera was."""
    axes: np.ndarray
    """(v, 3, 3) how it was turned, see `directed`."""


def depth_noise(depth: np.ndarray, sensor: float) -> np.ndarray:
    """Standard deviation of one depth measurement, metres: `sensor` at 1 m, growing with the square of the range.

    >>> depth_noise(np.array([1.0, 3.0]), 0.002).round(6).tolist()
    [0.002, 0.018]
    """
    return sensor * depth**2


def walk(sensor: Sensor, rooms: list[Room], rng: np.random.Generator) -> Walk:
    """Views along a path through the rooms that turn to what has hardly been seen yet."""
    seen = np.zeros(len(sensor.coord), np.int8)
    sights: list[Sight] = []
    eyes: list[np.ndarray] = []
    axes: list[np.ndarray] = []
    height, overhead = rng.uniform(1.3, 1.65), rng.random() < 0.25
    for room in rooms:
        views = int(np.clip(24 + 0.7 * room.area, 28, 40) / len(rooms) ** 0.35)
        spots = waypoints(room, max(4, views // 2), rng)
        stops = np.linspace(0, len(spots) - 1, views).round().astype(int)
        top = room.ceiling + 0.1 if overhead else 0.7 * room.ceiling
        low, high = [*(room.origin - 0.3), -1.0], [*(room.origin + room.size + 0.3), room.ceiling + 1]
        mine = np.flatnonzero(((sensor.coord > low) & (sensor.coord < high)).all(1))
        for k in stops:
            eye = np.array([*(spots[k] + rng.normal(0, 0.06, 2)), np.clip(height + rng.normal(0, 0.1), 1.2, 1.8)])
            draws = mine[rng.integers(len(mine), size=96)]
            left = draws[(seen[draws] < 2) & (sensor.coord[draws, 2] < top)]
            goal = (
                sensor.coord[left[:12]].mean(0)
                if len(left) and rng.random() < 0.15
                else sensor.coord[left[0] if len(left) else draws[0]]
            )
            axes.append(directed(eye, goal))
            sight = sensor.look(eye, axes[-1])
            seen[sight.point] += 1
            sights.append(sight)
            eyes.append(eye)
    return Walk(sights, np.array(eyes), np.array(axes))


def heaviest(odds: np.ndarray, points: int, rng: np.random.Generator) -> np.ndarray:
    """Return rows, ascending, of at most `points` of them, drawn without replacement with weights `odds` (n,).

    Source: the largest log(u) / weight, Efraimidis and Spirakis 2006.
    """
    if len(odds) <= points:
        return np.arange(len(odds))
    return np.sort(np.argpartition(np.log(rng.random(len(odds))) / odds, len(odds) - points)[-points:])


def fuse(sights: list[Sight], eyes: np.ndarray, coord: np.ndarray, points: int, rng: np.random.Generator) -> Fused:
    """Average the views as a fusion of depth maps does: weights fall with range and inclination.

    Of what at least two views measured, `points` are kept: more where the camera dwelt.
    """
    accuracy, drift = rng.uniform(0.001, 0.0025), rng.uniform(0.001, 0.004)
    v = len(sights)
    point = np.concatenate([s.point for s in sights])
    count = np.bincount(point, minlength=len(coord))
    kept = np.flatnonzero(count >= 2)
    odds = np.sqrt(np.minimum(count[kept], 12)) * np.exp(rng.normal(0, 0.15, len(kept)))
    kept = kept[heaviest(odds, points, rng)]
    row = np.full(len(coord), -1)
    row[kept] = np.arange(len(kept))
    row = row[point]
    used = np.flatnonzero(row >= 0)
    row, n = row[used], len(kept)
    depth = np.concatenate([s.depth for s in sights])[used].astype(float)
    facing = np.concatenate([s.facing for s in sights])[used]
    view = np.repeat(np.arange(v), [len(s.point) for s in sights])[used]
    precision = 1 / depth_noise(np.maximum(depth, 0.5), accuracy) ** 2
    weight = np.clip(facing, 0.1, 1) * precision
    total = np.bincount(row, weight, n)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(row, weight * column[view], n) / total for column in values.T], 1)

    level = np.cumsum(rng.normal(0, 0.05, (v, 1)), 0)
    level = np.clip(level - level.mean(), -0.35, 0.35) + rng.normal(0, 0.02, (v, 1))
    balance = np.cumsum(rng.normal(0, 0.012, (v, 3)), 0)
    gains = np.exp(level + balance - balance.mean(0))
    gain = mean(gains)
    eye = mean(eyes)
    shift = mean(np.cumsum(rng.normal(0, drift / 3, (v, 3)), 0) * 0.5 + rng.normal(0, drift, (v, 3)))
    # views share errors, so averaging helps less than independent noise would let it
    spread = np.maximum(np.minimum(np.sqrt(count[kept]), 1.6) / np.sqrt(np.bincount(row, precision, n)), 0.0006)
    ray = coord[kept] - eye
    ray /= np.linalg.norm(ray, axis=1, keepdims=True) + 1e-9
    # fused surfaces wobble more than they are rough
    wobble = 1.3 * Noise(rng).solid(coord[kept] * 8) + 0.5 * rng.standard_normal(n)
    moved = coord[kept] + shift + ray * (spread * np.clip(wobble, -2.5, 2.5))[:, None]
    return Fused(kept, moved, eye, gain, count[kept], spread, gains)
