"""Does a scan look like metres with z up? What users get wrong most often; every real scan that we have passes."""

from typing import NamedTuple

import numpy as np

from .._util.words import count, either, option, warn
from ..errors import InputError

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "ft": 0.3048, "in": 0.0254}  # metres in one unit
UNIT_WORDS = {"m": "metres", "cm": "centimetres", "mm": "millimetres", "ft": "feet", "in": "inches"}
UPS = {"z": ([0, 1, 2], [1, 1, 1]), "y": ([0, 2, 1], [1, -1, 1]), "-y": ([0, 2, 1], [1, 1, -1])}
"""The rotation that turns each upward axis to z: the old axis behind each new one, and its sign."""

_LEAST = 100  # points or voxels: of fewer little can be said
_ROWS = 1 << 15  # points at a time

Corners = tuple[np.ndarray, np.ndarray]


class _Bulk(NamedTuple):
    """Most of a scan: a sample of its points, and the box around them without the outermost percent on each side."""

    sample: np.ndarray  # (k, 3), at most about 100,000, evenly taken
    low: np.ndarray  # (3,)
    high: np.ndarray  # (3,)


def _sample(coord: np.ndarray) -> np.ndarray:
    return np.asfortranarray(coord[:: max(1, len(coord) // 50_000)])


def _bulk(coord: np.ndarray) -> _Bulk:
    sample = _sample(coord)
    places = [(len(sample) - 1) * share for share in (0.01, 0.99)]
    rows = [min(int(place) + step, len(sample) - 1) for place in places for step in (0, 1)]
    ordered = np.partition(sample.T, sorted(set(rows)), axis=1)[:, rows].T
    low, high = (_within(ordered[i], ordered[i + 1], places[i // 2] % 1) for i in (0, 2))
    return _Bulk(sample, low, high)


def _within(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Return what lies between, to the bit as `np.quantile`, which imports numpy.ma: that takes longer than this."""
    step = second - first
    return first + step * share if share < 0.5 else second - step * (1 - share)


def corners(coord: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest x, y and z (3,) of coordinates (n, 3), NaN where one is; n is at least 1."""
    low, high = np.empty((2, 3, -(-len(coord) // _ROWS)))
    for part in range(low.shape[1]):  # what is smaller than a core's cache is read from memory once
        for axis, values in enumerate(coord[part * _ROWS : (part + 1) * _ROWS].T):
            low[axis, part], high[axis, part] = values.min(), values.max()
    return low.min(1), high.max(1)


def doubt(coord: np.ndarray, raw: np.ndarray, ends: Corners, units: str, up: str, spacing: float) -> None:
    """Warn of coordinates (n, 3), metres with z up, that can hardly be right; `raw`, in `units`, is what was given.

    `ends` are their corners, and `spacing` is what must be told apart, in metres: the voxels that they are for.
    """
    bulk = _bulk(coord)
    _warn_of_units(bulk, len(coord), units)
    if units == "m":
        _warn_of_feet(bulk)
        _warn_of_unit_size(coord, *ends)
    _warn_of_steps(bulk.sample if raw is coord else _sample(raw), units, spacing)
    _warn_of_up(bulk, up)


def require_extent(low: np.ndarray, high: np.ndarray) -> None:
    """Raise InputError for corners (3,) that span more than anything that is scanned: no grid could hold that."""
    axis = int((high / 2 - low / 2).argmax())  # halves: a difference of numbers may be too large for one
    span = float(high[axis] / 2 - low[axis] / 2)
    if span > 1e12 / 2:  # half the way to Saturn
        raise InputError(
            f"the points span {min(2 * span, 1e308):.3g} m along {'xyz'[axis]}; drop outliers, "
            f"or {either('pass', 'give')} {option('units')} if these are not metres."
        )


def warn_of_size(coord: np.ndarray, voxels: int, size: float, coarsest: float) -> None:
    """Warn of a scan in which a network sees too little: `voxels` of `size` metres, of `coarsest` at the last level."""
    if voxels < _LEAST:
        have = f"{count(len(coord), 'point')} in {count(voxels, 'voxel')} of {size:g} m"
        warn(f"the scan has {have}, too few to show what things are: its features say little.")
        return
    bulk = _bulk(coord)
    span = bulk.high - bulk.low
    if max(span[:2]) < 6 * coarsest and span[2] < coarsest < 6 * span[2]:
        spans = " x ".join(f"{float(f'{x:.2g}'):g}" for x in span)
        warn(
            f"the scan spans {spans} m, a table top perhaps: the network knows rooms, and of so small a scan its "
            f"features say little. If it is larger, {either('pass', 'give')} {option('units')}."
        )


def _warn_of_units(bulk: _Bulk, count: int, units: str) -> None:
    """Warn where the bulk of the points, without 2 % of outliers, spans what no indoor scan does."""
    if count < _LEAST:
        return
    span = float((bulk.high - bulk.low).max())
    if span == 0 or 0.05 <= span <= 200:
        return
    raw = span / UNITS[units]
    likely = next((name for name in ("m", "mm", "cm", "in") if name != units and 2 <= raw * UNITS[name] <= 100), None)
    cure = f"pass {option('units')}, or scale the coordinates"
    if likely:
        cure = f"if these are {UNIT_WORDS[likely]}, pass {option('units', likely)}"
    warn(f"the points span {float(f'{span:.3g}'):g} m with {option('units', units)}; {cure}.")


def _warn_of_up(bulk: _Bulk, up: str) -> None:
    """Warn where another axis than z looks vertical, after `up` was applied."""
    if (found := _upward(bulk)) is None:
        return
    axis, sign = found
    axes, signs = UPS[up]  # back to the axes of the data
    name = ("-" if sign * signs[axis] < 0 else "") + "xyz"[axes[axis]]
    cure = f"pass {option('up', name)}" if name in UPS else f"turn the coordinates so that {name} becomes z"
    warn(f"the points look as if {name} were up, not {up}; if so, {cure}.")


def _warn_of_feet(bulk: _Bulk) -> None:
    """Warn of a room that is as wide as rooms are, but 7 to 10 high, from its floor to its ceiling or to its top."""
    sample, low, high = bulk
    wide, tall = (high - low)[:2], float(high[2] - low[2])
    if len(sample) < 500 or not (wide.min() > 6 and wide.max() < 27 and 6.5 < tall < 10.5):
        return
    levels = _occupied(np.floor((sample - low) / 0.2).astype(np.int64))
    heights = np.bincount(np.clip(levels, 0, None)) / len(levels)
    pairs = heights[:-1] + heights[1:]
    if pairs[: len(pairs) // 4].max() < 0.1:  # no floor
        return
    top = 33 + pairs[33:].argmax() if len(pairs) > 33 else 0
    height = 0.2 * float(top - pairs[:10].argmax()) if top and pairs[top] > 0.05 else tall
    if 7.2 < height < 10.2:
        warn(
            f"the scan is about {height:.0f} m high and {wide.max():.0f} m wide, which would be usual in feet: "
            f"if these are feet, pass {option('units', 'ft')}."
        )


def _occupied(cells: np.ndarray) -> np.ndarray:
    """Return z of each different cell, of cells (n, 3).

    >>> sorted(_occupied(np.array([[0, 0, 7], [1, -2, 7], [0, 0, 7], [0, 0, 9]])).tolist())
    [7, 7, 9]
    """
    first = cells.min(0)
    x, y, z = (cells - first).T
    wide, tall = int(y.max()) + 1, int(z.max()) + 1
    if (int(x.max()) + 1) * wide * tall >= 1 << 63:  # outliers, so far away that no one number holds a cell
        return np.unique(cells, axis=0)[:, 2]
    return _different((x * wide + y) * tall + z) % tall + first[2]


def _different(keys: np.ndarray) -> np.ndarray:
    """Return each different number once, in ascending order."""
    ordered = np.sort(keys)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])]


def _warn_of_unit_size(coord: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Warn of a scan that fills a box of edge 1 or 2, or a ball of radius 1, to the last digit."""
    if len(coord) < _LEAST:
        return
    axis = int((high - low).argmax())
    first, last = float(low[axis]), float(high[axis])
    boxes = ((0, 1), (-0.5, 0.5), (-1, 1))
    box = next((b for b in boxes if abs(first - b[0]) < 1e-5 and abs(last - b[1]) < 1e-5), None)
    ball = 1 <= last - first <= 2 and np.abs(coord.mean(0)).max() < 1e-4
    if box is not None:
        shape = f"run from {box[0]:g} to {box[1]:g}"
    elif ball and abs(np.sqrt(np.square(coord).sum(1).max()) - 1) < 1e-5:
        shape = "fill a ball of radius 1"
    else:
        return
    warn(f"the coordinates {shape}, as if normalised: features hang on size in metres, scale them back.")


def _warn_of_steps(sample: np.ndarray, units: str, spacing: float) -> None:
    """Warn of coordinates so large that single precision cannot tell neighbouring voxels apart."""
    if len(sample) < _LEAST or sample.dtype.kind != "f":
        return
    half = sample.dtype == np.float16
    kind, least, most = (np.float16, 0, 6e4) if half else (np.float32, 1 << 17, 1e30)
    if max(sample.max(), -sample.min()) < least:
        return
    sizes = np.median(np.abs(sample.astype(np.float64)), axis=0)
    axis = int(sizes.argmax())
    size = kind(min(sizes[axis], most))
    step = float(np.spacing(size)) * UNITS[units]
    with np.errstate(over="ignore"):  # what no float32 holds is no float32
        held = (sample[:, axis].astype(kind) == sample[:, axis]).all()
    if step <= spacing or size < least or not held:
        return
    warn(
        f"the coordinates are stored in {size.dtype}: at {size * UNITS[units]:.0f} m their step is {step:.2g} m, more "
        f"than a voxel of {spacing:g} m; export them as doubles, or subtract an offset before saving."
    )


def _upward(bulk: _Bulk) -> tuple[int, int] | None:
    """Return the axis, and its sign, that looks vertical, where that is clearly not z. Says None rather than guess.

    The signs, read from a thinned sample: the points fill a cone seen from the origin, so they are in a camera's
    frame; most of the scan is one slab, a floor, across another axis or on top; or the scan is as high as a room
    along another axis and much larger along z.
    """
    sample, low, high = bulk
    span = high - low
    if len(sample) < 500 or not 0.5 < span.max() < 300:
        return None
    if 0 < max(low[2], -high[2]) < 2 * span[2]:  # all in front of the origin
        depth = np.abs(sample[:, 2]).clip(1e-3)
        wide, tall = np.abs(sample[:, :2] / depth[:, None]).T
        inside = np.mean((wide < 1.2) & (tall < 1.2))
        if inside > 0.999 and np.quantile(wide, 0.98) > 0.35 and np.quantile(tall, 0.98) > 0.25:
            return 1, -1 if low[2] > 0 else 1
    there = np.ones(len(sample), dtype=bool)
    for column, first, last in zip(sample.T, low, high, strict=True):
        there &= (column >= first) & (column <= last)
    key = np.zeros(np.count_nonzero(there), dtype=np.int64)
    for axis, column in enumerate(sample.T):
        key += np.floor((column[there] - low[axis]) / 0.05).astype(np.int64) << 20 * axis
    key = _different(key)  # a dense patch counts no more than a sparse one
    if len(key) < 500:
        return None
    cells = [key >> 20 * axis & (1 << 20) - 1 for axis in range(3)]
    layers = [np.bincount(column, minlength=2) / len(key) for column in cells]
    share = [float((one[:-1] + one[1:]).max()) for one in layers]  # that two neighbouring layers hold

    def height(axis: int) -> float:  # below the middle where furniture stands on a floor
        places = np.stack(cells, axis=1)
        return (places / places.max(0).clip(1)).mean(0)[axis]

    for axis in (0, 1):
        floor = share[axis] > 0.4 and share[axis] > 3 * share[2]
        flat = 1.8 * span[axis] < min(span[2], 1.5 * span[1 - axis])  # as a ceiling is, beside how far a room goes
        room = 2 < span[axis] < 4 and flat and share[axis] > share[2]
        if floor or room:
            return axis, 1 if height(axis) < 0.5 else -1
    return (2, -1) if share[2] > 0.5 and height(2) > 0.8 else None  # a ceiling alone may hold 0.45
