"""Which points a view sees, and where in its picture: projection, the test of depth, or a depth made of the points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import InputError, quoted
from .view import View

_CELL = 0.1  # metres: of the cells whose number says how far apart points are
_LEVELS = 8  # sizes of a point in a picture, each twice the one before: up to 128 pixels


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When a view sees a point, and how its map is read there.

    >>> Rules.of("published")
    Rules(tolerance=0.0, share=0.25, border=10, rounded=True, buffer=False)
    """

    tolerance: float = 0.02
    """Metres by which a point may lie before or behind the measured depth."""
    share: float = 0.02
    """The same as a share of that depth; the larger of the two counts."""
    border: int = 0
    """Pixels along the edge of the picture that see nothing."""
    rounded: bool = False
    """Read the map at the nearest pixel, instead of bilinearly between four."""
    buffer: bool = True
    """Where there is no depth, let points hide what is behind them; False sees all that lies ahead in the picture."""

    def __post_init__(self) -> None:
        for name in ("tolerance", "share", "border"):
            value = getattr(self, name)
            whole = name == "border"
            good = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if not good or not 0 <= value < np.inf:
                raise InputError(f"{name} is {quoted(value)}; give {'pixels' if whole else 'a number'} from 0 on.")

    @classmethod
    def of(cls, given: "str | Rules") -> "Rules":
        """Return the rules of a name, "usual" or "published", or what is given; raise InputError for anything else.

        Source: "published" is what probes of 2D features on ScanNet use: the rounded pixel, at least 10 pixels inside
        the picture, and within a quarter of the depth [OpenScene and Lexicon3D, fusion_util.py].
        """
        if isinstance(given, Rules):
            return given
        if not isinstance(given, str) or given not in _NAMED:
            raise InputError(f"rules is {quoted(given)}; give usual, published or msm3d.lifting.Rules(…).")
        return _NAMED[given]


_NAMED = {
    "usual": Rules(),
    "published": Rules(tolerance=0.0, share=0.25, border=10, rounded=True, buffer=False),
}


class Seen(NamedTuple):
    """The points that a view sees."""

    row: np.ndarray
    """(k,) ascending, of the points."""
    ahead: np.ndarray
    """(k, 3) metres: right, down and ahead of the camera."""
    place: np.ndarray
    """(k, 2) column and row in a picture, as a share of its size: 0 to 1."""


def seen(view: View, coord: np.ndarray, rules: Rules, spacing: float) -> Seen:
    """Return which of the points (n, 3) a view sees; `spacing` is how far apart they are, for a view without depth."""
    pose, (high, wide) = view.pose, view.size or (0, 0)
    ahead = (coord - pose[:3, 3]) @ np.linalg.inv(pose[:3, :3]).T  # differences first: coordinates may be large
    row = np.flatnonzero(ahead[:, 2] > 0)
    ahead = ahead[row]
    at = _pixels(view.camera, ahead)
    kept = _inside(at, wide, high, rules)
    row, ahead, at = row[kept], ahead[kept], at[kept]
    if view.depth is not None:
        pixel = np.rint(at).astype(np.int64)
        depth = view.depth[pixel[:, 1], pixel[:, 0]]
        kept = (depth > 0) & (np.abs(depth - ahead[:, 2]) <= np.maximum(rules.tolerance, rules.share * depth))
    elif rules.buffer:
        kept = ~_hidden(at, ahead[:, 2], view, spacing, rules)
    else:
        kept = np.ones(len(row), bool)
    row, ahead, at = row[kept], ahead[kept], at[kept]
    if view.image_camera is not None and view.image is not None:
        high, wide = view.image.shape[:2]
        at = _pixels(view.image_camera, ahead)
        kept = _inside(at, wide, high, rules)
        row, ahead, at = row[kept], ahead[kept], at[kept]
    at = np.rint(at) if rules.rounded else at
    return Seen(row, ahead, (at + 0.5) / (wide, high))


def _pixels(camera: Sequence[float], ahead: np.ndarray) -> np.ndarray:
    """Return column and row (k, 2) of places before a camera, in pixels whose centres are whole numbers."""
    fx, fy, cx, cy = camera
    return ahead[:, :2] / ahead[:, 2:] * (fx, fy) + (cx, cy)


def _inside(at: np.ndarray, wide: int, high: int, rules: Rules) -> np.ndarray:
    """Return whether pixels (k, 2), once rounded, are in the picture and not in its border."""
    near = np.rint(at)
    inside = (near >= rules.border) & (near < np.array([wide, high]) - rules.border)
    return inside[:, 0] & inside[:, 1]


def spacing(coord: np.ndarray) -> float:
    """Return how far apart points (n, 3) on surfaces are, in metres: the root of the area that each has.

    >>> floor = np.stack(np.meshgrid(np.arange(50), np.arange(50), [0.0]), -1).reshape(-1, 3) * 0.02
    >>> round(spacing(floor), 3)
    0.02
    """
    cell, held = _CELL, 0
    while True:  # in cells that hold several points each, else their number says nothing of an area
        keys = np.floor((coord - coord.min(0)) / cell).astype(np.int64)
        size = keys.max(0) + 1
        held = len(np.unique((keys[:, 0] * size[1] + keys[:, 1]) * size[2] + keys[:, 2]))
        if held * 8 <= len(coord) or held == 1:
            return cell * float(np.sqrt(held / len(coord)))
        cell *= 2


def _hidden(at: np.ndarray, z: np.ndarray, view: View, spacing: float, rules: Rules) -> np.ndarray:
    """Return which points (k,) others hide: each covers a square about as wide as points are apart.

    A point is drawn into the picture of such squares at its distance. It hides what is behind it in its square and the
    eight around by more than the tolerance and three widths of a square, which a slanted surface needs.
    """
    assert view.size is not None
    focal, (tall, broad) = max(view.camera[:2]), view.size
    level = np.ceil(np.log2(np.maximum(spacing * focal / z, 1.0))).astype(np.int64)
    level = np.minimum(level, _LEVELS - 1)
    found = np.zeros(len(z), bool)
    for each in np.unique(level):
        edge = 1 << int(each)  # pixels
        square = np.floor((at + 0.5) / edge).astype(np.int64) + 1
        depth = np.full((-(-tall // edge) + 2, -(-broad // edge) + 2), np.inf)  # with a border: all have eight around
        drawn = level == each
        np.minimum.at(depth, (square[drawn, 1], square[drawn, 0]), z[drawn])
        for axis in (0, 1):
            rows = np.moveaxis(depth, axis, 0)
            rows[1:-1] = np.minimum(np.minimum(rows[:-2], rows[1:-1]), rows[2:])
        slack = np.maximum(rules.tolerance, rules.share * z) + 3 * edge * z / focal
        found |= depth[square[:, 1], square[:, 0]] < z - slack
    return found
