"""What a task is: what it needs of a labelled scan, what a head learns for it, and how a prediction is scored."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from ..datasets.classes import IGNORE, ClassList
from ..errors import InputError
from ..model import Model
from ..scan.cloud import PointCloud


@dataclass(frozen=True)
class Metric:
    """One number that a prediction is judged by."""

    name: str
    """In rows of a report; of one class it is NAME/CLASS."""
    title: str
    """In tables."""
    share: bool = True
    """Whether it lies within 0 to 1 and is shown in percent."""


class Tally(Protocol):
    """What is counted of predictions, scene by scene."""

    def update(self, truth: Any, prediction: Any) -> Any:
        """Count one scene."""
        ...

    def metrics(self) -> dict[str, float]:
        """Return every metric by name, with NAME/CLASS for those of a class; what is not defined is left out."""
        ...


class Task(ABC):
    """Something to predict from descriptors. A subclass has a `name` and says what the comments of each field ask.

    A head sees rows: by default the descriptors of labelled points and one target for each. A task whose rows are
    others, such as objects, replaces `examples` and `inputs`; one that makes more of a head's rows than a value per
    point, such as instances out of offsets, replaces `prediction`.
    """

    name: ClassVar[str]
    """In the registry, on the command line and in reports."""
    needs: ClassVar[tuple[str, ...]]
    """Attributes of a scan that must be there, such as "segment" or "instance"."""
    heads: ClassVar[tuple[str, ...]]
    """The protocols, or heads with their own settings, that it is learned with unless others are named."""
    metrics: ClassVar[tuple[Metric, ...]]
    """What is reported, the main one first."""
    per_class: ClassVar[tuple[Metric, ...]] = ()
    """What is reported of each class, the main one first."""
    whole_scenes: ClassVar[bool] = False
    """Whether only whole scenes can be judged, not a sample of their points."""

    def of(self, classes: ClassList) -> "Task":
        """Return the task for a list of classes, where it depends on which they are."""
        return self

    @abstractmethod
    def targets(self, scan: PointCloud) -> np.ndarray:
        """Return what is to be learned of each point, (n, ...)."""

    def labelled(self, scan: PointCloud) -> np.ndarray:
        """Return the points that are learned from and judged."""
        return np.arange(len(scan))

    def examples(
        self, features: np.ndarray, owner: np.ndarray, scan: PointCloud, chosen: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what a head learns from a scan, features (k, c) float16 and targets (k, ...): `features` are its
        descriptors (m, c), `owner` the row (n,) of each point, `chosen` some of the labelled points in random order."""
        return features[owner[chosen]], self.targets(scan)[chosen]

    def fit(self, head: Any, rows: Iterable[tuple[np.ndarray, np.ndarray]], of: Any = None) -> Any:
        """Return the head, fitted on the examples of some scans; `of` as for `Head.fit`."""
        return head.fit(rows, of=of)

    def truth(self, scan: PointCloud) -> Any:
        """Return what a prediction for the scan is held against."""
        return self.targets(scan)

    def inputs(self, features: np.ndarray, owner: np.ndarray, scan: PointCloud) -> np.ndarray:
        """Return the rows that a head predicts from; arguments as for `examples`."""
        return features

    def prediction(self, values: np.ndarray, owner: np.ndarray, scan: PointCloud) -> Any:
        """Return the prediction for a scan, made of what a head returned for the rows of `inputs`."""
        return values[owner]

    def found(self, model: Model, head: Any, scan: PointCloud, *, max_memory: int | str | None = None) -> Any:
        """Return the prediction for a scan by a head that was fitted on descriptors of the model, or raise InputError
        where it was fitted on others; `max_memory` as for `Model.extract`."""
        how: dict[str, Any] = {"at": "voxels", "dtype": "float16"}  # as in the cache that heads learn from
        rows, owner = model.extract(scan, **how, max_memory=max_memory)
        return self.prediction(head.predict(self.inputs(rows, owner, scan), of=model), owner, scan)

    @abstractmethod
    def tally(self, classes: ClassList | None = None) -> Tally:
        """Return what counts predictions, nothing counted yet."""

    def score(self, prediction: Any, truth: Any, classes: ClassList | None = None) -> dict[str, float]:
        """Return every metric of one scene's prediction."""
        tally = self.tally(classes)
        tally.update(truth, prediction)
        return tally.metrics()

    def class_points(self, truth: Any, classes: ClassList) -> list[int]:
        """Return how many points of each class are judged; of a task without classes nothing."""
        return []

    def require(self, name: str, scan: PointCloud) -> None:
        """Raise InputError unless the scan of a name has what the task needs."""
        for attribute in self.needs:
            if getattr(scan, attribute) is None:
                what = "labels" if attribute == "segment" else attribute
                raise InputError(f"{name} has no {what}; give scenes with {attribute}.")

    def chosen(self, name: str, scan: PointCloud) -> np.ndarray:
        """Return `labelled`, or raise InputError where there is nothing to learn from."""
        self.require(name, scan)
        labelled = self.labelled(scan)
        if not len(labelled):
            raise InputError(f"{name} has no labelled point, all of its labels are {IGNORE}; leave the scene out.")
        return labelled
