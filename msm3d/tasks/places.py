"""Places: labelled points that lie together in space, so that no head is judged right beside what it has learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

LINK = 0.5
"""Edge in metres of the cells that are linked where they touch; what they hold of a class is one place."""
WIDEST = 3.0
"""Metres after which a place ends, such as along a wall that goes round the whole building."""
FOLDS = 5

_HALF = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]  # of 26 neighbours, one of each pair


@dataclass(frozen=True, eq=False)
class Fold:
    """One turn of a cross-validation."""

    learn: np.ndarray  # rows to learn from
    judge: np.ndarray  # rows to be judged, of places that none of `learn` is in or right beside


@dataclass(frozen=True, eq=False)
class Places:
    """Labelled points of some scans by the place that each is in.

    >>> coord = np.array([[0, 0, 0], [0.2, 0, 0], [9, 0, 0], [0, 0, 0]])
    >>> Places.of(coord, labels=np.array([0, 0, 0, 1]), scans=np.zeros(4, int)).place.tolist()
    [0, 0, 1, 2]
    """

    place: np.ndarray  # (n,) the place of each point, counted from 0
    labels: np.ndarray  # (n,)
    cells: np.ndarray  # (n, 4) scan and cell of each point

    @classmethod
    def of(cls, coord: np.ndarray, labels: np.ndarray, scans: np.ndarray) -> "Places":
        """Return the places of points (n, 3) in metres, by their labels (n,) and the scan (n,) that each is of.

        A place is what touching cells hold of one class. It is cut where it goes on for long; and where three scans or
        more hold most of the classes twice, each scan is a place.
        """
        cells = np.concatenate([scans[:, None], np.floor(coord / LINK).astype(np.int64)], 1)
        classes = np.unique(labels)
        in_scans = [len(np.unique(scans[labels == label])) for label in classes]
        if len(np.unique(scans)) > 2 and 2 * sum(k > 1 for k in in_scans) >= len(classes):
            return cls(_numbered(np.stack([scans, labels], 1)), labels, cells)
        keys = np.concatenate([labels[:, None], cells], 1)
        blocks = np.floor(coord / WIDEST).astype(np.int64)
        together = _linked(keys)
        large = np.zeros(together.max(initial=0) + 1, bool)
        for place in range(len(large)):
            large[place] = (np.ptp(coord[together == place], axis=0) > WIDEST).any()
        cut = np.where(large[together][:, None], blocks, 0)
        return cls(_numbered(np.concatenate([together[:, None], cut], 1)), labels, cells)

    @property
    def judged(self) -> list[int]:
        """The classes in at least two places: of others there is nothing left to learn where one is judged."""
        classes = np.unique(self.labels)
        return [int(c) for c in classes if len(np.unique(self.place[self.labels == c])) > 1]

    def folds(self, most: int = FOLDS) -> list[Fold]:
        """Return the turns in which each place of the `judged` classes is judged once; few classes give none.

        What of the same class lies in a cell that touches one of a judged place is not learned from in that turn.
        """
        turn = np.full(len(self.place), -1)
        for label in self.judged:
            rows = np.flatnonzero(self.labels == label)
            places, sizes = np.unique(self.place[rows], return_counts=True)
            held = np.zeros(min(most, len(places)), np.int64)
            for place, size in sorted(zip(places, sizes, strict=True), key=lambda pair: (-pair[1], pair[0])):
                to = int(held.argmin())
                held[to] += size
                turn[self.place == place] = to
        folds = []
        for k in range(turn.max(initial=-1) + 1):
            judge = np.flatnonzero(turn == k)
            learn = np.flatnonzero((turn != k) & ~self._beside(judge))
            if set(self.labels[judge]) <= set(self.labels[learn]):
                folds.append(Fold(learn, judge))
        return folds

    def _beside(self, rows: np.ndarray) -> np.ndarray:
        """Return whether each point (n,) is right beside one of some points of its class."""
        keys = np.concatenate([self.labels[:, None], self.cells], 1)
        near = [keys[rows] + [0, 0, *step] for step in product((-1, 0, 1), repeat=3)]
        return np.isin(_records(keys), _records(np.concatenate(near)))


def _records(keys: np.ndarray) -> np.ndarray:
    """Return rows (n, k) as n values that can be compared."""
    keys = np.ascontiguousarray(keys, np.int64)
    return keys.view([("", np.int64)] * keys.shape[1])[:, 0]


def _numbered(keys: np.ndarray) -> np.ndarray:
    """Return a number from 0 for each row (n, k), the same for equal ones, in the order in which they first come."""
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first.argsort().argsort()[inverse.reshape(-1)]


def _linked(keys: np.ndarray) -> np.ndarray:
    """Return for each of the keys (n, 5), class, scan and cell, the number of the cells that touch it on and on."""
    unique, owner = np.unique(keys, axis=0, return_inverse=True)
    records = _records(unique)
    group = np.arange(len(unique))
    pairs: list[np.ndarray] = []
    for step in _HALF:
        beside = _records(unique + [0, 0, *step])
        at = np.minimum(np.searchsorted(records, beside), len(records) - 1)
        here = np.flatnonzero(records[at] == beside)
        pairs.append(np.stack([here, at[here]], 1))
    links = np.concatenate(pairs)
    while True:  # each takes over the smallest number around, and that of the cell of this number
        before = group.copy()
        np.minimum.at(group, links[:, 0], group[links[:, 1]])
        np.minimum.at(group, links[:, 1], group[links[:, 0]])
        group = group[group]
        if np.array_equal(before, group):
            return _numbered(group[owner.reshape(-1)][:, None])


def too_few(places: Places, names: Sequence[str]) -> str:
    """Return why heads cannot be judged on these places, in words, or nothing where they can; `names` by label."""
    classes, judged = np.unique(places.labels), places.judged
    if len(judged) >= 2 and 2 * len(judged) >= len(classes):
        return ""
    alone = [names[i] for i, label in enumerate(classes) if label not in judged]
    some = ", ".join(alone[:4]) + (", …" if len(alone) > 4 else "")
    return f"too few places to compare heads: {some} {'lie' if len(alone) > 1 else 'lies'} in one place each"
