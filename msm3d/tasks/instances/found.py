"""What was found in a scan: things, and which points are theirs."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...datasets.classes import IGNORE
from .boxes import aligned_box, oriented_box
from .grouping import grouped


@dataclass(frozen=True, eq=False)
class Instances:
    """Things of a scan of n points, k of them, the surest first.

    >>> found = Instances(np.array([0, 0, -1, 1]), np.array([4, 6]), np.array([0.9, 0.5]))
    >>> found.masks.tolist(), found.sizes.tolist()
    ([[True, True, False, False], [False, False, False, True]], [2, 1])
    """

    instance: np.ndarray
    """(n,) int64, the thing of each point by its row in the others; -1 for none."""
    classes: np.ndarray
    """(k,) int64 labels."""
    scores: np.ndarray
    """(k,) float64 from 0 to 1, more is surer."""

    @classmethod
    def of(
        cls, coord: np.ndarray, chances: np.ndarray, owner: np.ndarray, stuff: Any, radius: float, least: int
    ) -> "Instances":
        """Return the groups of some points (n, 3), moved onto the middles of their things, that may be things.

        `owner` (n,) is the row of each point in `chances` (m, c), the probability of each label. The class of a point
        is the likeliest; it is in no thing if that is of `stuff`. A group of fewer than `least` points is none; the
        score of others is the mean probability of their class.

        Source: PointGroup's inference without a network for scores [Pointcept, models/point_group].
        """
        label = chances.argmax(1)
        label[np.isin(label, list(stuff))] = IGNORE
        label, group = label[owner], grouped(coord, label[owner], radius)
        inside, n = group >= 0, int(group.max(initial=-1)) + 1
        size = np.bincount(group[inside], minlength=n)
        total = np.bincount(group[inside], chances[owner[inside], label[inside]].astype(np.float64), minlength=n)
        large = np.flatnonzero(size >= least)
        large = large[np.argsort(-total[large] / size[large], kind="stable")]
        number = np.full(n + 1, IGNORE)  # the last is for -1
        number[large] = np.arange(len(large))
        classes = np.zeros(n, np.int64)
        classes[group[inside]] = label[inside]
        return cls(number[group], classes[large], total[large] / size[large])

    def __len__(self) -> int:
        """Return the number of things."""
        return len(self.classes)

    @property
    def masks(self) -> np.ndarray:
        """(k, n) booleans: the points of each thing."""
        return self.instance == np.arange(len(self))[:, None]

    @property
    def sizes(self) -> np.ndarray:
        """(k,) points of each thing."""
        return np.bincount(self.instance[self.instance >= 0], minlength=len(self))

    def boxes(self, coord: np.ndarray, *, oriented: bool = False) -> np.ndarray:
        """Return the box (k, 7) around each thing, along the axes or, `oriented`, around the upright axis; see
        `msm3d.tasks.instances.boxes`. `coord` (n, 3) are the points."""
        order = np.argsort(self.instance, kind="stable")
        edges = np.searchsorted(self.instance[order], np.arange(len(self) + 1))
        box = oriented_box if oriented else aligned_box
        boxes = [box(coord[order[a:b]]) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        return np.array(boxes).reshape(-1, 7)
