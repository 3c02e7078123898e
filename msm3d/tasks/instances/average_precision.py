"""Average precision of masks, exactly as ScanNet's benchmark computes it.

Source: ScanNet, BenchmarkScripts/3d_evaluation/evaluate_semantic_instance.py. Its arithmetic is kept where it is
unusual: nine overlaps that end at 0.90, predictions matched in their order and not by score, no envelope of the curve.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...datasets.classes import IGNORE, ClassList
from ...errors import InputError

OVERLAPS = tuple(np.arange(0.5, 0.95, 0.05).tolist())
"""The nine intersections over union that mAP is the mean over: 0.50 to 0.90."""
LEAST = 100
"""Points of the smallest instance and of the smallest prediction that count."""


def average_precision(
    scenes: Iterable[Mapping[str, Any]], *, classes: int | Sequence[str] | ClassList, ignore: Iterable[int] = ()
) -> dict[str, float]:
    """Return mAP, AP50 and AP25 of masks, over all classes and of each, as ScanNet's benchmark defines them.

    >>> truth = {"segment": np.repeat([0, 1], 200), "instance": np.repeat([0, 1, 2, 2], 100)}
    >>> masks = np.array([truth["instance"] == 0, truth["instance"] == 2])
    >>> found = average_precision([truth | {"masks": masks, "classes": [0, 1], "scores": [0.9, 0.8]}], classes=2)
    >>> found["map"], found["ap50/0"], found["ap50/1"]
    (0.75, 0.5, 1.0)

    Args:
        scenes: a mapping for each scene with its truth, `segment` (n,) and `instance` (n,), integers, -1 for none, and
            the prediction: `masks` (k, n), `classes` (k,) and `scores` (k,), where more is surer. Predictions of equal
            overlap are matched in their order. An instance's class is that of its first point.
        classes: their number, their names, or a `ClassList`.
        ignore: labels whose points are void, such as wall and floor; -1 always is.

    Returns:
        `map`, the mean over nine overlaps from 0.50 to 0.90, `ap50` and `ap25`, each also as NAME/CLASS; all within 0
        to 1. Classes without an instance of 100 points are left out, and count in no mean; without any all are.

    Raises:
        InputError: arrays do not fit together, or a label is out of range.
    """
    tally = MaskTally(classes, ignore)
    for number, scene in enumerate(scenes):
        try:
            parts = [scene[name] for name in ("segment", "instance", "masks", "classes", "scores")]
        except KeyError as error:
            raise InputError(f"scene {number} has no {error.args[0]!r}; give all five arrays.") from None
        tally.add(*parts)
    return tally.metrics()


class MaskTally:
    """What is kept of each scene, small tables, and the metrics read from them; arguments as `average_precision`'s."""

    def __init__(self, classes: int | Sequence[str] | ClassList, ignore: Iterable[int] = ()) -> None:
        names = classes.names if isinstance(classes, ClassList) else classes
        self.names = [*map(str, range(names) if isinstance(names, int) else names)]
        void = {IGNORE, *ignore}
        self.counted = [label for label in range(len(self.names)) if label not in void]
        self.scenes: list[Overlaps] = []

    def add(self, segment: Any, instance: Any, masks: Any, classes: Any, scores: Any) -> None:
        """Count one scene."""
        segment, instance = np.asarray(segment), np.asarray(instance)
        masks, classes, scores = np.asarray(masks), np.asarray(classes), np.asarray(scores, np.float64)
        for name, values in (("segment", segment), ("instance", instance), ("classes", classes)):
            if values.ndim != 1 or (len(values) and values.dtype.kind not in "iu"):
                raise InputError(f"{name} has shape {values.shape} of {values.dtype}; give a row of integers.")
        n, k = len(segment), len(classes)
        if len(instance) != n or scores.shape != (k,) or (k and masks.shape != (k, n)):
            raise InputError(
                f"masks have shape {masks.shape}, for {n} labels, {len(instance)} instances, {k} classes and "
                f"{len(scores)} scores; give masks (k, n), classes and scores (k,), segment and instance (n,)."
            )
        if not np.isfinite(scores).all():
            raise InputError("scores hold NaN or infinity; give a number for each mask, more being surer.")
        for name, labels in (("segment", segment), ("classes", classes)):
            wrong = labels[(labels < IGNORE) | (labels >= len(self.names))]
            if len(wrong):
                raise InputError(f"{name} has the label {wrong[0]}; give 0 to {len(self.names) - 1}, or -1.")
        self.scenes.append(Overlaps.of(segment, instance, masks, (classes, scores), np.array(self.counted)))

    def metrics(self) -> dict[str, float]:
        """Return mAP, AP50 and AP25 over all classes and of each; what is not defined is left out."""
        every = [*OVERLAPS, 0.25]
        table = {label: [self._of(label, overlap) for overlap in every] for label in self.counted}
        table = {label: values for label, values in table.items() if None not in values}
        found: dict[str, float] = {}
        for name, part in (("map", slice(0, -1)), ("ap50", slice(0, 1)), ("ap25", slice(-1, None))):
            of_class = {f"{name}/{self.names[i]}": float(np.mean(values[part])) for i, values in table.items()}  # pyright: ignore
            found |= ({name: float(np.mean([*of_class.values()]))} if of_class else {}) | of_class
        order = ("map", "ap50", "ap25")
        return {name: found[name] for name in order if name in found} | found

    def _of(self, label: int, overlap: float) -> float | None:
        """Return the AP of a class at one overlap, or None where it has no instance that counts."""
        right, wrong, missed = [], [], 0
        for scene in self.scenes:
            more = scene.matched(label, overlap)
            right, wrong, missed = right + more[0], wrong + more[1], missed + more[2]
        return area(np.array(right), np.array(wrong), missed) if right or missed else None


@dataclass(frozen=True, eq=False)
class Overlaps:
    """What is kept of one scene: g instances, k predictions and the points that they share."""

    true_classes: np.ndarray  # (g,)
    true_sizes: np.ndarray  # (g,) points
    classes: np.ndarray  # (k,)
    scores: np.ndarray  # (k,)
    sizes: np.ndarray  # (k,) points
    void: np.ndarray  # (k,) points of them that are void
    shared: np.ndarray  # (k, g) points

    @classmethod
    def of(
        cls, segment: np.ndarray, instance: np.ndarray, masks: np.ndarray, said: tuple[Any, Any], counted: np.ndarray
    ) -> "Overlaps":
        """Count the points of a scene; `said` are classes and scores of the masks, `counted` the labels that are."""
        ids, first, number, sizes = np.unique(instance, return_index=True, return_inverse=True, return_counts=True)
        kept = np.flatnonzero((ids != IGNORE) & np.isin(segment[first], counted))
        there = np.isin(said[0], counted)
        void, rows = ~np.isin(segment, counted), []
        for mask in masks[there] if len(there) else []:
            points = np.flatnonzero(mask)
            rows.append([len(points), np.count_nonzero(void[points]), *np.bincount(number[points], minlength=len(ids))])
        table = np.array(rows, np.int64).reshape(len(rows), 2 + len(ids))
        table, classes, scores = (values[table[:, 0] >= LEAST] for values in (table, said[0][there], said[1][there]))
        return cls(segment[first][kept], sizes[kept], classes, scores, table[:, 0], table[:, 1], table[:, 2:][:, kept])

    def matched(self, label: int, overlap: float) -> tuple[list[float], list[float], int]:
        """Return of one class the scores of what is right and of what is wrong, and the number of instances missed.

        The first prediction that overlaps an instance enough is its own; a further one, which another instance may
        still take, is wrong. One that overlaps none enough is wrong, unless more than such a share of it is excused:
        void, or of instances that are too small to count.
        """
        mine, true = np.flatnonzero(self.classes == label), np.flatnonzero(self.true_classes == label)
        shared, sizes = self.shared[np.ix_(mine, true)], self.sizes[mine]
        enough = shared / (sizes[:, None] + self.true_sizes[true] - shared) > overlap
        counts, scores = self.true_sizes[true] >= LEAST, self.scores[mine]
        free, right, wrong, missed = np.ones(len(mine), bool), [], [], 0
        for instance in np.flatnonzero(counts):
            best, *others = np.flatnonzero(enough[:, instance] & free).tolist() or [None]
            if best is None:
                missed += 1
                continue
            free[best], score = False, scores[best]
            for other in others:
                wrong.append(min(score, scores[other]))
                score = max(score, scores[other])
            right.append(score)
        excused = (self.void[mine] + shared[:, ~counts].sum(1)) / sizes
        return right, [*wrong, *scores[~enough.any(1) & (excused <= overlap)]], missed


def area(right: np.ndarray, wrong: np.ndarray, missed: int) -> float:
    """Return the area under precision over recall, by the mean of the widths to both sides of each point.

    There is a point for each different score, of what is at least as sure, and one of precision 1 and recall 0.

    >>> area(np.array([0.9, 0.8]), np.array([0.1]), missed=1)
    0.6666666666666666
    """
    least = np.unique(np.concatenate([right, wrong]))
    true = len(right) - np.searchsorted(np.sort(right), least)
    false = len(wrong) - np.searchsorted(np.sort(wrong), least)
    precision = np.append(true / (true + false), 1.0)
    recall = np.append(true / (len(right) + missed), 0.0)
    around = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ (around[:-2] - around[2:]) / 2)
