"""Points grouped by the cubes of a grid."""

import numpy as np


def cubes(coord: np.ndarray, edge: float) -> tuple[np.ndarray, np.ndarray]:
    """Number of each point's cube of a grid, and how many points each cube holds."""
    node = np.floor((coord - coord.min(0)) / edge).astype(np.int64)
    key = (node[:, 0] * 65536 + node[:, 1]) * 65536 + node[:, 2]
    _, group, size = np.unique(key, return_inverse=True, return_counts=True)
    return group, size


def average(values: np.ndarray, group: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(n, 3) the mean of each row's group."""
    return np.stack([np.bincount(group, column) / size for column in values.T], 1)[group]
