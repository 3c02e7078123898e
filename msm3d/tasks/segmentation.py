"""Semantic segmentation: the class of each point, judged by intersection over union."""

from typing import Any

import numpy as np

from ..datasets.classes import IGNORE, ClassList
from ..scan.cloud import PointCloud
from .base import Metric, Task
from .confusion import Confusion


class Segmentation(Task):
    """The class of each point.

    >>> scores = Segmentation().score(np.array([0, 1, 1]), np.array([0, 0, 1]), ClassList("two", ("wall", "floor")))
    >>> scores["allacc"], scores["iou/floor"]
    (0.6666666666666666, 0.5)
    """

    name = "segmentation"
    needs = ("segment",)
    heads = ("linear", "knn")
    metrics = (Metric("miou", "mIoU"), Metric("macc", "mAcc"), Metric("allacc", "allAcc"))
    per_class = (Metric("iou", "IoU"), Metric("accuracy", "accuracy"))

    def targets(self, scan: PointCloud) -> np.ndarray:
        """Return the label (n,) of each point, -1 where nothing is judged."""
        assert scan.segment is not None, "`require` comes first"
        return scan.segment.astype(np.int64)

    def labelled(self, scan: PointCloud) -> np.ndarray:
        """Return the points with a label."""
        return np.flatnonzero(scan.segment != IGNORE)

    def tally(self, classes: ClassList | None = None) -> "SegmentationTally":
        """Return a confusion matrix; without `classes` it grows to the labels it meets."""
        return SegmentationTally(classes)

    def class_points(self, truth: np.ndarray, classes: ClassList) -> list[int]:
        """Return how many points of each class are judged."""
        return np.bincount(truth[truth >= 0], minlength=len(classes)).tolist()


class SegmentationTally:
    """A confusion matrix, and the metrics read from it."""

    def __init__(self, classes: ClassList | None) -> None:
        self.classes, self.counts = classes, Confusion(0 if classes is None else len(classes))

    def update(self, truth: Any, prediction: Any) -> None:
        """Count the labels (n,) of one scene."""
        if self.classes is None:
            top = max(int(np.max(labels, initial=-1)) for labels in (truth, prediction))
            self.counts = self.counts.grown(top + 1)
        self.counts.update(truth, prediction)

    def metrics(self) -> dict[str, float]:
        """Return mIoU, mAcc and allAcc, and IoU and accuracy of each class that has them."""
        scores = self.counts.scores()
        names = range(len(scores.iou)) if self.classes is None else self.classes.names
        found = {"miou": scores.miou, "macc": scores.macc, "allacc": scores.allacc}
        for metric, values in (("iou", scores.iou), ("accuracy", scores.accuracy)):
            found |= {f"{metric}/{n}": value for n, value in zip(names, values, strict=True) if value is not None}
        return found
