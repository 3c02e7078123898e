"""Average precision of boxes, as 3DETR and VoteNet judge detection.

Source: 3DETR, utils/ap_calculator.py and utils/eval_det.py: PASCAL VOC's average precision over the whole curve.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...datasets.classes import ClassList
from ...errors import InputError
from .boxes import box_iou

BOX_OVERLAPS = {"box_ap50": 0.5, "box_ap25": 0.25}
"""The intersections over union by volume that a box needs, by the metric."""


def box_average_precision(
    scenes: Iterable[Mapping[str, Any]], *, classes: int | Sequence[str] | ClassList, ignore: Iterable[int] = ()
) -> dict[str, float]:
    """Return AP50 and AP25 of boxes, over all classes and of each.

    >>> box = [0, 0, 0, 1, 1, 1, 0]
    >>> scene = {"true_boxes": [box], "true_classes": [1], "boxes": [box, box], "classes": [1, 1], "scores": [0.9, 0.5]}
    >>> box_average_precision([scene], classes=["wall", "chair"])
    {'box_ap50': 1.0, 'box_ap25': 1.0, 'box_ap50/chair': 1.0, 'box_ap25/chair': 1.0}

    Args:
        scenes: a mapping for each scene with `true_boxes` (g, 7), `true_classes` (g,), `boxes` (k, 7), `classes` (k,)
            and `scores` (k,), more being surer; boxes as in `msm3d.tasks.instances.boxes`.
        classes: their number, their names, or a `ClassList`.
        ignore: labels that are left out.

    Returns:
        `box_ap50`, `box_ap25`, and each as NAME/CLASS, all within 0 to 1; classes without a true box are left out.

    Raises:
        InputError: arrays do not fit together.
    """
    tally = BoxTally(classes, ignore)
    for scene in scenes:
        true = scene["true_boxes"], scene["true_classes"]
        tally.add(*true, scene["boxes"], scene["classes"], scene["scores"])
    return tally.metrics()


class BoxTally:
    """The boxes of each scene, and the metrics of all; arguments as of `box_average_precision`."""

    def __init__(self, classes: int | Sequence[str] | ClassList, ignore: Iterable[int] = ()) -> None:
        names = classes.names if isinstance(classes, ClassList) else classes
        self.names, self.ignore = [*map(str, range(names) if isinstance(names, int) else names)], {*ignore}
        self.found: list[tuple[int, float, dict[str, bool]]] = []  # class, score, and at which overlaps it is right
        self.true = np.zeros(len(self.names), np.int64)

    def add(self, true_boxes: Any, true_classes: Any, boxes: Any, classes: Any, scores: Any) -> None:
        """Count one scene: each box, the surest first, may take the true box that it overlaps most, if that is free."""
        true_classes, classes = (np.asarray(values, np.int64).reshape(-1) for values in (true_classes, classes))
        scores, iou = np.asarray(scores, np.float64), box_iou(boxes, true_boxes)
        if iou.shape != (len(classes), len(true_classes)) or scores.shape != classes.shape:
            raise InputError(
                f"there are {iou.shape[1]} true boxes of {len(true_classes)} classes, {iou.shape[0]} boxes, "
                f"{len(classes)} classes and {len(scores)} scores; give one of each for each box."
            )
        for values in (true_classes, classes):
            if len(values) and not 0 <= values.min() <= values.max() < len(self.names):
                raise InputError(f"a box has the class {values.max()}; give 0 to {len(self.names) - 1}.")
        self.true += np.bincount(true_classes, minlength=len(self.names))
        taken = {name: np.zeros(len(true_classes), bool) for name in BOX_OVERLAPS}
        for box in np.argsort(-scores, kind="stable"):
            mine = np.where(true_classes == classes[box], iou[box], -1.0)
            best, right = int(mine.argmax()) if len(mine) else -1, dict.fromkeys(BOX_OVERLAPS, False)
            for name, overlap in BOX_OVERLAPS.items():
                if best >= 0 and mine[best] > overlap and not taken[name][best]:
                    taken[name][best] = right[name] = True
            self.found.append((int(classes[box]), float(scores[box]), right))

    def metrics(self) -> dict[str, float]:
        """Return AP50 and AP25 over all classes and of each; what is not defined is left out."""
        means, each = {}, {}
        for name in BOX_OVERLAPS:
            of_class = {
                f"{name}/{self.names[label]}": self._of(label, name)
                for label in np.flatnonzero(self.true).tolist()
                if label not in self.ignore
            }
            means |= {name: float(np.mean([*of_class.values()]))} if of_class else {}
            each |= of_class
        return means | each

    def _of(self, label: int, name: str) -> float:
        mine = sorted(((score, right[name]) for of, score, right in self.found if of == label), key=lambda one: -one[0])
        return voc(np.array([right for _, right in mine], bool), int(self.true[label]))


def voc(right: np.ndarray, true: int) -> float:
    """Return the area under the envelope of precision over recall; `right` (k,) says it of each box, surest first.

    >>> voc(np.array([True, False, True]), true=4)
    0.41666666666666663
    """
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(right) + 1))[::-1])[::-1]
    return float((np.diff(hits, prepend=0) / true) @ precision) if len(right) else 0.0
