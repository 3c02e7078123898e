"""Where to look from: a view of a scan that shows what is in it, without its ceiling and the walls in front."""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .rows import spaced

_SAMPLE = 40_000  # points that decide on a view
_TURNS = np.deg2rad([30, 60, 120, 150, 210, 240, 300, 330])  # headings off a room's walls: corners look best


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera with perspective, its horizon level; z is up."""

    eye: tuple[float, float, float]
    """Where it is, metres."""
    target: tuple[float, float, float]
    """What is in the middle of the picture."""
    fov: float = 40.0
    """Angle from the picture's lower to its upper edge, degrees."""
    below: float | None = None
    """Points above this height are left out, such as a ceiling; metres."""

    def __post_init__(self) -> None:
        eye, target = np.asarray(self.eye, np.float64), np.asarray(self.target, np.float64)
        if eye.shape != (3,) or target.shape != (3,) or not np.isfinite([*eye, *target]).all() or (eye == target).all():
            raise InputError(f"eye is {self.eye} and target {self.target}; give two different points x, y, z.")
        if not 1 <= self.fov <= 150:
            raise InputError(f"fov is {self.fov:g}; give an angle of 1 to 150 degrees.")

    def axes(self) -> np.ndarray:
        """Return the unit vectors (3, 3) right, up and away of the picture."""
        return axes(np.asarray(self.target, np.float64) - np.asarray(self.eye, np.float64))


View = Camera  # its older name


def automatic_view(points: np.ndarray, size: tuple[int, int] = (1280, 960), fov: float = 40.0) -> Camera:
    """Return a view from above a corner that fits the points into a picture of `size`.

    The heading is the one in which things rise to the back; a ceiling, where there is one, is left out.

    >>> room = np.random.default_rng(0).random((5000, 3)) * [6, 4, 0.01]
    >>> view = automatic_view(room)
    >>> view.eye[2] > 1, view.below
    (True, None)

    Args:
        points: (n, 3) metres, z up.
        size: width and height of the picture.
        fov: see `Camera`.
    """
    kept = np.asarray(points, np.float64)[spaced(len(points), _SAMPLE)]
    below = ceiling(kept)
    if below is not None:
        kept = kept[kept[:, 2] < below]
    low, high = np.percentile(kept, [0.5, 99.5], axis=0)
    least, most = np.percentile(kept, [0.1, 99.9], axis=0)
    kept = kept[((kept >= least) & (kept <= most)).all(1)] if len(kept) > 100 else kept
    middle, extent = (low + high) / 2, np.maximum(high - low, 1e-6)
    flat = extent[2] < 0.8 * extent[:2].max()
    heading = _heading(kept - middle)
    tilt = np.deg2rad(40 if flat else 24)
    away = np.array([np.cos(heading) * np.cos(tilt), np.sin(heading) * np.cos(tilt), -np.sin(tilt)])
    right, up, _ = axes(away)
    x, y, z = ((kept - middle) @ np.stack([right, up, away]).T).T
    half = np.tan(np.deg2rad(fov) / 2) * 0.95  # a margin of 5 %
    (shift_x, far_x), (shift_y, far_y) = (_fitted(x, z, half * size[0] / size[1]), _fitted(y, z, half))
    target = middle + shift_x * right + shift_y * up
    eye = target - max(far_x, far_y, 1e-3) * away
    return Camera(eye=tuple(eye.tolist()), target=tuple(target.tolist()), fov=fov, below=below)


def axes(away: np.ndarray) -> np.ndarray:
    """Return the unit vectors right, up and away of a camera that looks along `away`."""
    away = away / np.linalg.norm(away)
    level = np.hypot(away[0], away[1]) > 1e-9
    right = np.array([away[1], -away[0], 0]) if level else np.array([1.0, 0, 0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(right, away), away])


def ceiling(points: np.ndarray) -> float | None:
    """Return the height just below the ceiling, or None where most of the floor has nothing above it."""
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    height = high[2] - low[2]
    if height < 0.2 * max(high[:2] - low[:2]):
        return None
    cells = np.floor((points[:, :2] - low[:2]) / max(*(high[:2] - low[:2]), 1e-6) * 24).astype(np.int64)
    _, column = np.unique(cells[:, 0] * 4096 + cells[:, 1], return_inverse=True)
    top = np.full(column.max() + 1, -np.inf)
    np.maximum.at(top, column, points[:, 2])
    covered = top > low[2] + 0.6 * height
    if covered.mean() < 0.6:
        return None
    return float(np.percentile(top[covered], 15) - 0.1 * height)  # beams and lamps hang from it


def _heading(points: np.ndarray) -> float:
    """Return the horizontal direction of sight: off the walls, towards what rises."""
    xy, z = points[:, :2], points[:, 2]
    angles = np.deg2rad(np.arange(0, 90, 2))
    turned = [xy @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]
    areas = [np.prod(np.ptp(np.percentile(t, [2, 98], axis=0), axis=0)) for t in turned]
    headings = angles[int(np.argmin(areas))] + _TURNS
    ways = np.stack([np.cos(headings), np.sin(headings)], 1)
    depth = xy @ ways.T
    rise = ((z - z.mean())[:, None] * depth).mean(0) / max(float(z.std() * np.hypot(*xy.std(0))), 1e-9)
    across = depth.std(0) / max(float(np.hypot(*xy.std(0))), 1e-9)
    return float(headings[int(np.argmax(np.round(rise - 0.3 * across, 6)))])


def _fitted(x: np.ndarray, z: np.ndarray, half: float) -> tuple[float, float]:
    """Return how far to move a camera sideways, and how far back, to see `x` at depths `z` within `half`."""
    right, left = np.max(x / half - z), np.max(-x / half - z)
    return half * (right - left) / 2, (right + left) / 2


def outside(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return which points (n,) are on an outer surface: behind them, as seen from their normals, is nothing.

    Those that face away from a camera hide the room from it: the walls in front.
    """
    low, high = np.percentile(points[spaced(len(points), _SAMPLE)], [0.2, 99.8], axis=0)
    edge = max(float(np.linalg.norm(high - low)) / 100, 1e-6)
    shape = np.maximum(np.ceil((high - low) / edge), 1).astype(np.int64) + 2
    cell = np.clip(np.floor((points - low) / edge), -1, shape - 2).astype(np.int64) + 1
    flat = (cell[:, 0] * shape[1] + cell[:, 1]) * shape[2] + cell[:, 2]
    count = np.bincount(flat, minlength=int(shape.prod()))
    full = np.flatnonzero(count)
    there = count >= max(1, 0.1 * np.median(count[full]))  # a few points alone are no surface
    normal = np.stack([np.bincount(flat, normals[:, k], len(count))[full] for k in range(3)], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    at = np.stack(np.unravel_index(full, tuple(shape)), 1) + 0.5
    free = np.ones(len(full), bool)
    for step in np.arange(2.5, 21, 0.7):
        place = np.floor(at - step * normal).astype(np.int64)
        inside = ((place >= 0) & (place < shape)).all(1)
        x, y, z = np.clip(place, 0, shape - 1).T
        free &= ~(inside & there[(x * shape[1] + y) * shape[2] + z])
    result = np.zeros(len(count), bool)
    result[full] = free
    return result[flat]
