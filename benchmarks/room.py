"""The room that every benchmark runs on: 527,020 points on the surfaces of a furnished room, from a fixed seed.

It stands for the room of our first measurements, which was not kept: the same number of points, and 304,433 / 93,534 /
23,774 / 5,361 / 1,198 voxels per level where that had 306,112 / 82,897 / 20,377 / 4,866 / 1,091.
"""

import numpy as np

POINTS = 527_020


def room(points: int = POINTS, seed: int = 0, copies: int = 1) -> dict[str, np.ndarray]:
    """Return `coord` (n, 3) float64 metres z up, `color` (n, 3) uint8 and `normal` (n, 3) float32 of one room.

    `copies` rooms stand side by side on a grid, for scenes of any size, with `points` in all, room by room.
    """
    rng = np.random.default_rng(seed)
    surfaces = _surfaces(np.random.default_rng(7))
    area = np.array([np.linalg.norm(np.cross(u, v)) for _, u, v in surfaces])
    which = rng.choice(len(surfaces), points, p=area / area.sum())
    corner, u, v = (np.stack(part)[which] for part in zip(*surfaces, strict=True))
    a, b = rng.random((2, points, 1))
    normal = np.cross(u, v)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    coord = corner + a * u + b * v + normal * rng.normal(0, 0.005, (points, 1))
    if copies > 1:
        side = int(np.ceil(copies**0.5))
        place = np.sort(rng.integers(copies, size=points))
        coord[:, :2] += np.stack([place % side * 6.6, place // side * 5.4], 1)
    shade = 90 + 60 * np.sin(3 * coord @ np.array([[1, 0.5, 0.2], [0.3, 1, 0.1], [0.2, 0.4, 1]])) + which[:, None] % 40
    return {"coord": coord, "color": shade.clip(0, 255).astype(np.uint8), "normal": normal.astype(np.float32)}


def _surfaces(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Parallelograms (corner, side, side): floor, ceiling, walls, and turned boxes for furniture."""
    surfaces = _box(np.zeros(3), np.diag([5.9, 4.9, 2.63]))
    for _ in range(9):
        size = rng.uniform([0.3, 0.3, 0.3], [0.9, 0.8, 1.1])
        angle = rng.uniform(0, np.pi)
        c, s = np.cos(angle), np.sin(angle)
        sides = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) * size[:, None]
        surfaces += _box(np.array([rng.uniform(1, 5), rng.uniform(1, 4), 0.013]), sides)[1:]
    return surfaces


def _box(corner: np.ndarray, sides: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    x, y, z = sides
    return [(corner + o, u, v) for o, u, v in ((0, x, y), (z, x, y), (0, x, z), (y, x, z), (0, y, z), (x, y, z))]
