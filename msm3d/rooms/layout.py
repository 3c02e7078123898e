"""Where things stand: walls with openings, and footprints that must not overlap."""

from dataclasses import dataclass, field
from math import cos, sin
from typing import NamedTuple

import numpy as np

from .pieces import Piece


class Footprint(NamedTuple):
    """An upright block over an oriented rectangle: centre, half extents, yaw, and from which to which height."""

    x: float
    y: float
    half_width: float
    half_depth: float
    yaw: float
    low: float = 0.0
    high: float = 2.0

    def holds(self, places: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """Which of the places (n, 2) are in the rectangle or closer to it than `margin`."""
        away = places - [self.x, self.y]
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        local = np.abs(away @ np.array([[c, -s], [s, c]]))
        return (local[:, 0] < self.half_width + margin) & (local[:, 1] < self.half_depth + margin)

    def corners(self) -> np.ndarray:
        """(4, 2) metres, counter-clockwise."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        w, d = self.half_width, self.half_depth
        local = np.array([[-w, -d], [w, -d], [w, d], [-w, d]])
        return local @ np.array([[c, s], [-s, c]]) + [self.x, self.y]


def overlap(a: Footprint, b: Footprint) -> bool:
    """Whether two blocks share more than a touch, by separating axes.

    >>> here = Footprint(0, 0, 1, 1, 0)
    >>> overlap(here, Footprint(1.5, 0, 1, 1, 0.3)), overlap(here, Footprint(2.5, 0, 1, 1, 0))
    (True, False)
    """
    if a.low >= b.high or b.low >= a.high:
        return False
    dx, dy = b.x - a.x, b.y - a.y
    if dx * dx + dy * dy > (a.half_width + a.half_depth + b.half_width + b.half_depth) ** 2:
        return False
    turn = b.yaw - a.yaw
    c, s = abs(cos(turn)), abs(sin(turn))
    for one, two in ((a, b), (b, a)):
        along, aside = cos(one.yaw), sin(one.yaw)
        if abs(dx * along + dy * aside) >= one.half_width + two.half_width * c + two.half_depth * s - 1e-6:
            return False
        if abs(dy * along - dx * aside) >= one.half_depth + two.half_width * s + two.half_depth * c - 1e-6:
            return False
    return True


class Opening(NamedTuple):
    """A hole in a wall: its middle along the wall, width, lower and upper edge, and depth of the jamb; metres."""

    at: float
    width: float
    low: float
    high: float
    depth: float


@dataclass(eq=False, slots=True)
class Wall:
    """A straight wall of a room, which lies to the left of the way from `start` to `end`."""

    start: np.ndarray
    end: np.ndarray
    openings: list[Opening] = field(default_factory=list)
    hung: list[tuple[float, float, float, float]] = field(default_factory=list)
    """What hangs on it: from and to along the wall, lower and upper edge."""
    shared: bool = False
    """Another room lies behind it, so it takes no window."""

    @property
    def length(self) -> float:
        """Metres."""
        return float(np.linalg.norm(self.end - self.start))

    @property
    def along(self) -> np.ndarray:
        """Unit vector from start to end."""
        return (self.end - self.start) / self.length

    @property
    def inward(self) -> np.ndarray:
        """Unit vector into the room."""
        return np.array([-self.along[1], self.along[0]])

    @property
    def yaw(self) -> float:
        """Yaw of a piece with its back to the wall."""
        return float(np.arctan2(-self.along[1], -self.along[0]))

    def point(self, at: float, off: float = 0.0) -> np.ndarray:
        """The place `at` metres along the wall and `off` metres in front of it."""
        return self.start + self.along * at + self.inward * off

    def blocked(self, at: float, width: float, low: float, high: float) -> bool:
        """Whether an opening or a hung thing is in this stretch of the wall."""
        a, b = at - width / 2, at + width / 2
        holes = [(o.at - o.width / 2 - 0.1, o.at + o.width / 2 + 0.1, o.low, o.high + 0.1) for o in self.openings]
        return any(a < d and b > c and low < z1 and high > z0 for c, d, z0, z1 in holes + self.hung)


class Placed(NamedTuple):
    """A piece at its place; `footprint` is None for what hangs or stands on something else."""

    piece: Piece
    at: np.ndarray
    yaw: float
    footprint: Footprint | None
