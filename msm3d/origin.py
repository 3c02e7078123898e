"""Where a scan's grid begins: at a place that no single point decides, and from which distances are whole numbers."""

import numpy as np

TICKS = 1e8
"""Per metre. Ten nanometres are more than float64 loses of a map's coordinates, so whole millimetres stay whole."""
_SHARE, _FEW = 1000, 8  # one point in so many, and no fewer, make a place that counts


def ticks(coord: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return `coord` (…, 3) as seen from `base` (3,), whole numbers of ticks as float64.

    A move of all points, by what is exact in decimals, changes none of them.

    >>> far = np.array([500_000.123, 4_600_000.05, 100.0])
    >>> ticks(far + [[0.001, 0, 0.05]], far).tolist()
    [[100000.0, 0.0, 5000000.0]]
    """
    seen = coord - base
    seen *= TICKS
    return np.rint(seen, out=seen)


def anchor(coord: np.ndarray, reach: float) -> np.ndarray:
    """Return per axis the lowest coordinate that has company: a thousandth of the points within `reach` below it.

    One point far from the others is never it, and does not change it. One beside or above them can, where a slab below
    the anchor lacks just that one point; of a scan with a thin edge the anchor then moves to that slab.

    >>> coord = np.repeat(np.arange(100.0)[:, None] / 100, 3, axis=1)
    >>> anchor(coord, 0.1).tolist(), anchor(np.vstack([coord, [[-7.0, 0.5, 9.0]]]), 0.1).tolist()
    ([0.07, 0.07, 0.07], [0.07, 0.07, 0.07])

    Args:
        coord: (n, 3) float64, n at least 1.
        reach: metres; doubled until there is such a place.
    """
    return np.array([_accompanied(column, reach * TICKS) for column in coord.T])


def _accompanied(values: np.ndarray, reach: float) -> float:
    """Return the smallest of `values` (n,) with as many within `reach` ticks below it, itself included, as count."""
    n = len(values)
    company = min(max(n // _SHARE, _FEW), n)
    for most in (min(16 * company, n), n):  # it is nearly always among the first
        low = np.sort(np.partition(values, most - 1)[:most])
        seen = np.rint((low - low[0]) * TICKS)
        apart = seen[company - 1 :] - seen[: most - company + 1]
        if (apart <= reach).any():
            return float(low[company - 1 + (apart <= reach).argmax()])
    while not (apart <= reach).any():
        reach *= 2
    return float(low[company - 1 + (apart <= reach).argmax()])
