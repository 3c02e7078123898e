"""Does a scan look like metres with z up? What users get wrong most often and notice last."""

import numpy as np

from .words import option, warn

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "ft": 0.3048, "in": 0.0254}
"""Metres in one unit."""
UNIT_WORDS = {"m": "metres", "cm": "centimetres", "mm": "millimetres", "ft": "feet", "in": "inches"}
UPS = {"z": ([0, 1, 2], [1, 1, 1]), "y": ([0, 2, 1], [1, -1, 1]), "-y": ([0, 2, 1], [1, 1, -1])}
"""The rotation that turns each upward axis to z: the old axis behind each new one, and its sign."""


def warn_of_units(coord: np.ndarray, units: str) -> None:
    """Warn where the bulk of the points, without 2 % of outliers, spans what no indoor scan does."""
    if len(coord) < 100:
        return
    low, high = _bulk(_sample(coord))
    span = float((high - low).max())
    if span == 0 or 0.05 <= span <= 200:
        return
    raw = span / UNITS[units]
    likely = next((name for name in ("m", "mm", "cm", "in") if name != units and 2 <= raw * UNITS[name] <= 100), None)
    cure = (
        f"if these are {UNIT_WORDS[likely]}, pass {option('units', likely)}"
        if likely
        else f"pass {option('units')}, or scale the coordinates"
    )
    warn(f"the points span {float(f'{span:.3g}'):g} m with {option('units', units)}; {cure}.")


def warn_of_up(coord: np.ndarray, up: str) -> None:
    """Warn where another axis than z looks vertical, after `up` was applied."""
    found = _upward(coord)
    if found is None:
        return
    axis, sign = found
    axes, signs = UPS[up]  # back to the axes of the data
    name = ("-" if sign * signs[axis] < 0 else "") + "xyz"[axes[axis]]
    cure = f"pass {option('up', name)}" if name in UPS else f"turn the coordinates so that {name} becomes z"
    warn(f"the points look as if {name} were up, not {up}; if so, {cure}.")


def _upward(coord: np.ndarray) -> tuple[int, int] | None:
    """Return the axis, and its sign, that looks vertical, where that is clearly not z. Says None rather than guess.

    The signs, read from a thinned sample: the points fill a cone seen from the origin, so they are in a camera's
    frame; most of the scan is one slab, a floor, across another axis or on top; or the scan is as high as a room
    along another axis and much larger along z.
    """
    sample = _sample(coord)
    low, high = _bulk(sample)
    span = high - low
    if len(sample) < 500 or not 0.5 < span.max() < 300:
        return None
    if 0 < max(low[2], -high[2]) < 2 * span[2]:  # all in front of the origin
        depth = np.abs(sample[:, 2]).clip(1e-3)
        wide, tall = np.abs(sample[:, :2] / depth[:, None]).T
        inside = np.mean((wide < 1.2) & (tall < 1.2))
        if inside > 0.999 and np.quantile(wide, 0.98) > 0.35 and np.quantile(tall, 0.98) > 0.25:
            return 1, -1 if low[2] > 0 else 1
    sample = sample[((sample >= low) & (sample <= high)).all(1)]
    cells = np.floor((sample - low) / 0.05).astype(np.int64)  # a dense patch counts no more than a sparse one
    cells = cells[np.unique(cells @ np.array([1, 1 << 20, 1 << 40]), return_index=True)[1]]
    if len(cells) < 500:
        return None
    share = [_slab(cells[:, axis]) for axis in range(3)]
    heights = (cells / cells.max(0).clip(1)).mean(0)  # below the middle where furniture stands on a floor
    for axis in (0, 1):
        floor = share[axis] > 0.4 and share[axis] > 3 * share[2]
        room = 2 < span[axis] < 4 and span[2] > 1.8 * span[axis] < 1.5 * span[1 - axis] and share[axis] > share[2]
        if floor or room:
            return axis, 1 if heights[axis] < 0.5 else -1
    return (2, -1) if share[2] > 0.4 and heights[2] > 0.8 else None


def _slab(heights: np.ndarray) -> float:
    """Return the largest share of cells that two neighbouring layers hold."""
    share = np.bincount(heights, minlength=2) / len(heights)
    return float((share[:-1] + share[1:]).max())


def _sample(coord: np.ndarray) -> np.ndarray:
    """Return at most about 100,000 points, evenly taken."""
    return coord[:: max(1, len(coord) // 50_000)]


def _bulk(sample: np.ndarray) -> np.ndarray:
    """Return the lower and upper corner of the box without the outermost percent on each side."""
    return np.quantile(sample, [0.01, 0.99], axis=0)
