"""What can be said of a thing, each by how clearly it holds: 1 and more is true by the margin, -1 and less is false by
it, and what lies between is not clear enough to be said.

A predicate returns that of all k things of a scan. Where it compares, it does so among the things of one class, and
all others are false. An anchor is the number of a thing.
"""

from collections.abc import Callable

import numpy as np

from .colors import COLORS, DIFFERENT, distances
from .objects import Objects

GAP = 0.2  # metres by which the closest thing is closer than the next
_LARGER = 1.25  # times as large as the next
_ABOVE, _ON = 0.06, 0.1  # metres


def of_class(things: Objects, label: int) -> np.ndarray:
    """Things of a class."""
    return np.where(things.labels == label, np.inf, -np.inf)


def colored(things: Objects, label: int, word: str) -> np.ndarray:
    """Things of a class whose mean colour is nearer to a word's than to every other word's, see `colors`."""
    far, mine = distances(things.colors), list(COLORS).index(word)
    return _among(things, label, (np.delete(far, mine, 1).min(1) - far[:, mine]) / DIFFERENT)


def largest(things: Objects, label: int) -> np.ndarray:
    """The thing of a class whose box has the largest volume."""
    return _first(things, label, [-np.log(things.volumes)], np.log(_LARGER))


def smallest(things: Objects, label: int) -> np.ndarray:
    """The thing of a class whose box has the smallest volume."""
    return _first(things, label, [np.log(things.volumes)], np.log(_LARGER))


def closest(things: Objects, label: int, anchor: int) -> np.ndarray:
    """The thing of a class closest to an anchor, by middles and by nearest points."""
    return _first(things, label, _distances(things, anchor), GAP)


def farthest(things: Objects, label: int, anchor: int) -> np.ndarray:
    """The thing of a class farthest from an anchor, by middles and by nearest points."""
    return _first(things, label, [-far for far in _distances(things, anchor)], GAP)


def ordinal(things: Objects, label: int, anchor: int, number: int) -> np.ndarray:
    """The thing of a class that is the first (1), second (2), … counted from an anchor, by middles and by nearest
    points."""
    return _agreed([_counted(things, label, far, number) for far in _distances(things, anchor)])


def near(things: Objects, label: int, anchor: int) -> np.ndarray:
    """Things of a class whose points come within half a metre of an anchor's; beyond a metre they do not."""
    return _among(things, label, (0.75 - things.gaps[anchor]) / 0.25, anchor)


def between(things: Objects, label: int, anchor: int, other: int) -> np.ndarray:
    """Things of a class between two anchors, as seen from above: along the line between the middles from 20 to 80 %,
    and within 0.3 m of it."""
    start, way = things.centres[anchor, :2], things.centres[other, :2] - things.centres[anchor, :2]
    length = max(float(np.linalg.norm(way)), 1e-9)
    along = (things.centres[:, :2] - start) @ way / length**2
    aside = np.abs((things.centres[:, :2] - start) @ [-way[1], way[0]]) / length
    clear = np.minimum.reduce([(along - 0.1) / 0.1, (0.9 - along) / 0.1, (0.45 - aside) / 0.15])
    return _among(things, label, clear, anchor, other)


def left(things: Objects, label: int, anchor: int, stand: int, look: int) -> np.ndarray:
    """Things of a class left of an anchor for who stands at one thing and looks at another: from the anchor within 45
    degrees of left, and not beyond 65."""
    way = things.centres[look, :2] - things.centres[stand, :2]
    return _beside(things, label, anchor, np.array([-way[1], way[0]]))


def right(things: Objects, label: int, anchor: int, stand: int, look: int) -> np.ndarray:
    """Things of a class right of an anchor, see `left`."""
    way = things.centres[look, :2] - things.centres[stand, :2]
    return _beside(things, label, anchor, np.array([way[1], -way[0]]))


def above(things: Objects, label: int, anchor: int) -> np.ndarray:
    """Things of a class that begin over an anchor's top, their middle within 0.2 m of it as seen from above."""
    height = (things.lows[:, 2] - things.highs[anchor, 2]) / _ABOVE
    return _among(things, label, np.minimum(height, _over(things, anchor)), anchor)


def on(things: Objects, label: int, anchor: int) -> np.ndarray:
    """Things of a class that stand on an anchor: their bottom is at its top, and their middle over it."""
    touch = (1.5 * _ON - np.abs(things.lows[:, 2] - things.highs[anchor, 2])) / (_ON / 2)
    return _among(things, label, np.minimum(touch, _over(things, anchor)), anchor)


PREDICATES: dict[str, Callable[..., np.ndarray]] = {
    "class": of_class, "color": colored, "largest": largest, "smallest": smallest, "closest": closest,
    "farthest": farthest, "near": near, "between": between, "left": left, "right": right, "ordinal": ordinal,
    "above": above, "on": on,
}  # fmt: skip
"""Every relation by its name."""


def meant(clear: np.ndarray) -> int | None:
    """Return the one thing that a predicate clearly holds of while it is clearly false of all others, or None.

    >>> meant(np.array([-1.2, 3, -5])), meant(np.array([-0.5, 3, -5])), meant(np.array([1.0, 3]))
    (1, None, None)
    """
    true = np.flatnonzero(clear >= 1)
    return int(true[0]) if len(true) == 1 and np.count_nonzero(clear > -1) == 1 else None


def _distances(things: Objects, anchor: int) -> list[np.ndarray]:
    return [things.apart[anchor], things.gaps[anchor]]


def _among(things: Objects, label: int, clear: np.ndarray, *anchors: int) -> np.ndarray:
    """Return what holds of the things of a class, and of no anchor."""
    there = things.labels == label
    there[list(anchors)] = False
    return np.where(there, clear, -np.inf)


def _agreed(ways: list[np.ndarray]) -> np.ndarray:
    """Return what two ways of measuring agree on, by the less clear one; 0 where they do not."""
    every = np.stack(ways)
    return np.where((every > 0).all(0), every.min(0), np.where((every < 0).all(0), every.max(0), 0))


def _first(things: Objects, label: int, ways: list[np.ndarray], margin: float) -> np.ndarray:
    """Return which thing of a class has the least of some values, by a margin; all ways have to say the same."""
    return _agreed([_counted(things, label, values, 1, margin) for values in ways])


def _counted(things: Objects, label: int, values: np.ndarray, number: int, margin: float = GAP) -> np.ndarray:
    """Return which thing of a class has the `number`-th least of some values: the margin lies between it and those
    before and after it, and the limits are half way."""
    there = things.labels == label
    ranked = np.sort(values[there])
    if not 1 <= number <= len(ranked):
        return np.full(len(things), -np.inf)
    edges = np.concatenate([[-np.inf], (ranked[1:] + ranked[:-1]) / 2, [np.inf]])[number - 1 : number + 1]
    clear = np.minimum(values - edges[0], edges[1] - values) / (margin / 2)
    return np.where(there, clear, -np.inf)


def _beside(things: Objects, label: int, anchor: int, way: np.ndarray) -> np.ndarray:
    """Return things of a class whose middle lies along a way from an anchor's, seen from above, at least 0.3 m off."""
    step = things.centres[:, :2] - things.centres[anchor, :2]
    far, length = np.linalg.norm(step, axis=1), np.linalg.norm(way)
    cosine = (step @ way / np.maximum(far * length, 1e-9)).clip(-1, 1)
    clear = np.minimum((55 - np.degrees(np.arccos(cosine))) / 10, (far - 0.2) / 0.1)
    return _among(things, label, clear, anchor)


def _over(things: Objects, anchor: int) -> np.ndarray:
    """Return whose middle is over an anchor's box: within 0.2 m of it as seen from above, and not beyond 0.4."""
    middle, low, high = things.centres[:, :2], things.lows[anchor, :2], things.highs[anchor, :2]
    aside = np.linalg.norm(np.maximum(np.maximum(low - middle, middle - high), 0), axis=1)
    return (0.3 - aside) / 0.1
