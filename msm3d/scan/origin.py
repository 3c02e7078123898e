"""Where a scan's grid begins: at a place that no single point decides, and from which distances are whole numbers."""

import numpy as np

TICKS = 1e8  # per metre; float64 loses less than ten nanometres of a map's coordinates: whole millimetres stay whole
_FINE = 1000  # per metre: points are counted in whole millimetres of the map, which moves by such leave as they are
_INSET = 1 / 3  # of a millimetre that a count begins below a whole one: no decimal lies on the border
_MOST = 1 << 24  # counts along an axis, for 17 km; they are coarser beyond
_CHUNK = 1 << 15  # points at a time: what is computed of them stays in a core's cache
_WIDE, _SHARE = 32, 8  # slabs across in which a scan begins, and how much fuller the fullest such place may be


def ticks(coord: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return `coord` as seen from `base`, which has or takes its shape: whole numbers of ticks as float64.

    A move of all points, by what is exact in decimals, changes none of them.

    >>> far = np.array([500_000.123, 4_600_000.05, 100.0])
    >>> ticks(far + [[0.001, 0, 0.05]], far).tolist()
    [[100000.0, 0.0, 5000000.0]]
    """
    seen = coord - base
    seen *= TICKS
    return np.rint(seen, out=seen)


def anchor(coord: np.ndarray, reach: float) -> np.ndarray:
    """Return per axis where the fullest slab of thickness `reach` near the scan's low end begins, in millimetres.

    That is a floor, a wall, or what comes next to one. The low end is the first wide slab at least an eighth as full as
    the fullest. One point more or less changes the place only if another slab is as full to one point and that point
    lies in it, or if the low end lacks just that point and the fullest slab thereby comes within sight.

    >>> coord = np.repeat(np.arange(100)[:, None] / 100, 3, axis=1)
    >>> coord[:40] = 0.1, 0.2, 0.3
    >>> anchor(coord, 0.01).tolist(), anchor(np.vstack([coord, [[-7.0, 0.5, 9.0]]]), 0.01).tolist()
    ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])

    `coord` is (n, 3) float64, n at least 1; `reach` is counted in whole millimetres, at least one.
    """
    return np.array([_lowest(column, reach) for column in coord.T])


def _lowest(values: np.ndarray, reach: float) -> float:
    first, fine, counts = _counted(values)
    width = max(round(reach * fine), 1)
    wide = width * _WIDE
    total = np.concatenate([np.zeros(wide, np.int64), counts.cumsum(), np.full(wide, len(values))])
    ending = total[wide:-wide] - total[: -2 * wide]  # points in the wide slab whose last millimetre is this one
    low = int((ending * _SHARE >= ending.max()).argmax())
    seen = slice(max(low - wide, 0), low + wide + 1)
    starting = (total[wide - 1 + width :] - total[wide - 1 : -width])[: len(counts)] * (counts > 0)
    return float((first + seen.start + starting[seen].argmax()) / fine)


def _counted(values: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Return the lowest place of `values` (n,), how many places there are per metre, and the points in each (m,)."""
    low, high = float(values.min()), float(values.max())
    fine = float(_FINE)
    while (high - low) * fine > _MOST:
        fine /= 2
    first = float(np.floor(low * fine + _INSET))
    counts = np.zeros(int((high - low) * fine) + 3, np.int64)
    for start in range(0, len(values), _CHUNK):
        places = values[start : start + _CHUNK] * fine
        places += _INSET - first
        found = np.bincount(places.astype(np.int64))
        counts[: len(found)] += found
    return first, fine, counts
