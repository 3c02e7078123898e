"""Instance segmentation: each thing's class and points, judged by ScanNet's average precision, and so its box."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...datasets.classes import IGNORE, ClassList
from ...errors import InputError
from ...scan.cloud import PointCloud
from ..base import Metric, Task
from ..heads.base import Classifier
from .average_precision import LEAST, MaskTally
from .boxes import aligned_box
from .detection import BoxTally
from .found import Instances

RADIUS = 0.08
"""Metres. The published code has 1.5 of its voxels, which are 2 cm; this is as much of ours, of 5 cm."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of a scan."""

    segment: np.ndarray  # (n,) labels, -1 where nothing is judged
    instance: np.ndarray  # (n,) the thing of each point, -1 for none
    coord: np.ndarray  # (n, 3) metres

    def boxes(self, counted: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes (g, 7) along the axes and the classes (g,) of all things of some labels."""
        order = np.argsort(self.instance, kind="stable")
        ids, first = np.unique(self.instance[order], return_index=True)
        groups = np.split(order, first[1:])
        kept = [points for i, points in zip(ids, groups, strict=True) if i >= 0 and self.segment[points[0]] in counted]
        boxes = [aligned_box(self.coord[points]) for points in kept]
        return np.array(boxes).reshape(-1, 7), np.array([self.segment[points[0]] for points in kept], np.int64)


class InstanceSegmentation(Task):
    """The things of a scan: PointGroup's heads on frozen features, groups of points that offsets have moved together.

    >>> task = InstanceSegmentation(stuff=(0, 1))
    >>> truth = Truth(np.repeat([0, 4], 200), np.repeat([0, 1], 200), np.zeros((400, 3)))
    >>> found = Instances(np.repeat([-1, 0], 200), np.array([4]), np.array([0.9]))
    >>> task.score(found, truth, ClassList("five", ("wall", "floor", "cabinet", "bed", "chair")))["map/chair"]
    1.0

    Args:
        stuff: labels without things: by default those of the data set's `ClassList`, such as wall and floor. Their
            points are void where masks are judged.
        radius: metres between moved points of a thing.
        least: points of the smallest thing that is found.

    Raises:
        InputError: the radius or the number is not above 0.
    """

    name = "instances"
    needs = ("segment", "instance")
    heads = ("pointgroup-linear", "pointgroup")
    metrics = (
        Metric("map", "mAP"), Metric("ap50", "AP50"), Metric("ap25", "AP25"), Metric("box_ap50", "box AP50"),
        Metric("box_ap25", "box AP25"),
    )  # fmt: skip
    per_class = (Metric("ap50", "AP50"), Metric("ap25", "AP25"), Metric("map", "mAP"))
    whole_scenes = True

    def __init__(self, *, stuff: Iterable[int] | None = None, radius: float = RADIUS, least: int = LEAST) -> None:
        for name, value in (("radius", radius), ("least", least)):
            if not value > 0:
                raise InputError(f"{name} is {value}; give a number above 0.")
        self.stuff = None if stuff is None else sorted({*map(int, stuff)})
        self.names: list[str] = []
        self.radius, self.least = radius, least

    def of(self, classes: ClassList) -> "InstanceSegmentation":
        """Return the task for a list of classes, which says what is stuff unless that was said."""
        mine = InstanceSegmentation(stuff=self.stuff, radius=self.radius, least=self.least)
        things, mine.names = {*classes.things}, list(classes.names)
        if mine.stuff is None:
            mine.stuff = [label for label in range(len(classes)) if label not in things]
        return mine

    def targets(self, scan: PointCloud) -> np.ndarray:
        """Return the class of each point and the way to the mean of its thing's points, (n, 4) float32, NaN for no
        thing; of stuff, too: heads leave out what they are told to."""
        assert scan.segment is not None, "`require` comes first"
        assert scan.instance is not None
        _, number, size = np.unique(scan.instance, return_inverse=True, return_counts=True)
        middle = np.stack([np.bincount(number, axis) for axis in scan.coord.T], 1) / size[:, None]
        offset = np.where(scan.instance[:, None] >= 0, middle[number] - scan.coord, np.nan)
        return np.column_stack([scan.segment, offset]).astype(np.float32)

    def labelled(self, scan: PointCloud) -> np.ndarray:
        """Return the points with a class."""
        return np.flatnonzero(scan.segment != IGNORE)

    def fit(self, head: Any, rows: Iterable[tuple[np.ndarray, np.ndarray]], of: Any = None) -> Any:
        """Return the head, told what is stuff, fitted on the examples of some scans, or raise InputError for one that
        tells classes alone."""
        if isinstance(head, Classifier):
            raise InputError(f"a head {head.name!r} tells classes alone; give {' or '.join(self.heads)}.")
        known = head.get_params()
        told = {"stuff": self.stuff or [], "names": self.names}
        return head.set_params(**{name: told[name] for name in told if name in known}).fit(rows, of=of)

    def truth(self, scan: PointCloud) -> Truth:
        """Return labels, things and positions."""
        assert scan.segment is not None
        assert scan.instance is not None
        return Truth(scan.segment, scan.instance, scan.coord)

    def prediction(self, values: np.ndarray, owner: np.ndarray, scan: PointCloud) -> Instances:
        """Return the things of a scan, of the probabilities and offsets (m, c + 3) of a head such as `PointGroup`."""
        moved = scan.coord + values[owner, -3:]
        return Instances.of(moved, values[:, :-3], owner, self.stuff or (), self.radius, self.least)

    def tally(self, classes: ClassList | None = None) -> "InstanceTally":
        """Return what counts masks and boxes of some classes, or raise InputError without these."""
        if classes is None:
            raise InputError("average precision is a mean over classes; give their list.")
        return InstanceTally(classes, self.of(classes).stuff or [])

    def class_points(self, truth: Truth, classes: ClassList) -> list[int]:
        """Return how many points of each class are judged."""
        return np.bincount(truth.segment[truth.segment >= 0], minlength=len(classes)).tolist()


class InstanceTally:
    """Masks and boxes of all scenes, and the metrics of both."""

    def __init__(self, classes: ClassList, stuff: Iterable[int]) -> None:
        self.masks, self.boxes = MaskTally(classes, stuff), BoxTally(classes, stuff)

    def update(self, truth: Truth, prediction: Instances) -> None:
        """Count one scene."""
        said = prediction.classes, prediction.scores
        self.masks.add(truth.segment, truth.instance, prediction.masks, *said)
        self.boxes.add(*truth.boxes(self.masks.counted), prediction.boxes(truth.coord), *said)

    def metrics(self) -> dict[str, float]:
        """Return mAP, AP50 and AP25 of masks, AP50 and AP25 of boxes, and each of every class that has it."""
        return self.masks.metrics() | self.boxes.metrics()
