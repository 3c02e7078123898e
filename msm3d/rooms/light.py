"""Lamps and daylight: how bright each point is, with shadows from coarse depth maps around each light."""

import numpy as np

from .sampling import Samples

COLUMNS, ROWS = 256, 128
"""Resolution of a light's map over all directions."""


def bins(way: np.ndarray, jitter: np.ndarray | float = 0.0) -> np.ndarray:
    """Index of each direction (n, 3) in a map over the sphere."""
    flat = np.sqrt(way[:, 0] ** 2 + way[:, 1] ** 2)
    east = (np.arctan2(way[:, 1], way[:, 0]) / (2 * np.pi) + 0.5) * COLUMNS + jitter
    north = np.clip((np.arctan2(way[:, 2], flat) / np.pi + 0.5) * ROWS + jitter, 0, ROWS - 1)
    return (east.astype(np.int64) % COLUMNS) + COLUMNS * north.astype(np.int64)


def brightness(
    lights: np.ndarray,
    power: np.ndarray,
    dense: Samples,
    coord: np.ndarray,
    normal: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """(n,) light at points with unit normals: ambient light and that of `lights` (k, 3) of `power` (k,)."""
    coord = coord.astype(np.float32)
    up = normal[:, 2]
    light = 0.5 + 0.12 * up
    caster = dense.coord[:: max(1, len(dense.coord) // 200_000)]
    for at, strong in zip(lights.astype(np.float32), power, strict=True):
        way = caster - at
        far = np.sqrt(np.einsum("ij,ij->i", way, way))
        near = np.full(COLUMNS * ROWS, 99.0, np.float32)
        hit = far > 0.35
        np.minimum.at(near, bins(way[hit]), far[hit])
        way = coord - at
        far = np.sqrt(np.einsum("ij,ij->i", way, way))
        toward = -np.einsum("ij,ij->i", way, normal.astype(np.float32)) / (far + 1e-6)
        lit = far < near[bins(way, rng.normal(0, 1.2, len(way)).astype(np.float32))] * 1.05 + 0.08
        light += strong * lit * np.clip(0.15 + 0.85 * toward, 0, 1) / (1 + 0.12 * far**2)
    return light
