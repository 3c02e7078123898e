"""Grounding as a task: sentences about the things of scans, and how often the right thing is picked."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...datasets.classes import IGNORE, ClassList
from ...errors import InputError
from ...model import Model
from ...scan.cloud import PointCloud
from ..base import Metric, Task
from ..fingerprint import scene_hash
from ..instances.boxes import box_iou
from ..instances.task import InstanceSegmentation
from .asked import Answers, Asked, Described, rows
from .objects import Objects
from .saying import MOST, SPOKEN, Sentence, sentences
from .told import Told, about

OVERLAPS = {"acc25": 0.25, "acc50": 0.5}
"""The intersections over union by volume that the box of a thing that was found needs, by the metric."""
LEARNED = 24
"""Sentences of each relation that are learned from, of a scan; few are tested, so that no relation counts for more."""
_TIE = 1e-5  # logits that are as close are equal: what sees the text alone cannot tell things apart


@dataclass(frozen=True, eq=False)
class Truth:
    """The things of a scan and sentences about them."""

    things: Objects
    sentences: list[Sentence]
    """In forms that are learned from."""
    others: list[Sentence]
    """The same in other words."""

    @property
    def texts(self) -> list[str]:
        """All sentences, those in other words last."""
        return [one.text for one in (*self.sentences, *self.others)]


class Grounding(Task):
    """Which thing a sentence means: sentences are made from a scan's labels, see `sentences`, or were said by people.

    >>> Grounding().metrics[0].title
    'Acc'

    Args:
        seed: of the sentences, beside the scan.
        told: sentences that people said, by scene, see `msm3d.tasks.grounding.told`; none are made then.
    """

    name = "grounding"
    needs = ("segment", "instance")
    heads = ("match", "match-geometry", "match-text")
    metrics = (
        Metric("acc", "Acc"), Metric("unique", "unique"), Metric("multiple", "multiple"), Metric("easy", "easy"),
        Metric("hard", "hard"), Metric("paraphrase", "other words"), Metric("acc25", "Acc@0.25"),
        Metric("acc50", "Acc@0.5"), Metric("chance", "same-class chance"),
    )  # fmt: skip
    whole_scenes = True

    def __init__(self, *, seed: int = 0, told: Mapping[str, list[Told]] | None = None) -> None:
        self.seed, self.told, self.names, self.stuff = seed, told, [], []  # the last two are of `of`
        self._last: tuple[Any, Any] = (None, None)

    def of(self, classes: ClassList) -> "Grounding":
        """Return the task for a list of classes, which names them and says which are stuff."""
        mine = Grounding(seed=self.seed, told=self.told)
        mine.names, things = [*classes.names], {*classes.things}
        mine.stuff = [label for label in range(len(classes)) if label not in things]
        return mine

    def targets(self, scan: PointCloud) -> np.ndarray:
        """Return class and offset of each point, as of `InstanceSegmentation`."""
        return InstanceSegmentation().targets(scan)

    def labelled(self, scan: PointCloud) -> np.ndarray:
        """Return the points with a class."""
        return np.flatnonzero(scan.segment != IGNORE)

    def examples(
        self, features: np.ndarray, owner: np.ndarray, scan: PointCloud, chosen: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the chosen points, all things and sentences about them, see `rows`."""
        things = self.truth(scan).things
        said = self._said(scan, things, LEARNED)
        asked = Asked.of(things, features, owner, [one.text for one in said])
        meant = np.array([one.spoken for one in said], np.int64).reshape(-1, SPOKEN)
        asked = replace(asked, meant=meant, labels=things.labels)
        return rows(asked, features[owner[chosen]], self.targets(scan)[chosen])

    def fit(self, head: Any, rows: Iterable[tuple[np.ndarray, np.ndarray]], of: Any = None) -> Any:
        """Return the head, told names and stuff, fitted on the examples of some scans.

        Raises:
            InputError: the head understands no sentence.
        """
        known = head.get_params()
        if not {"names", "stuff", "sees"} <= known.keys():
            raise InputError(f"a head {head.name!r} understands no sentence; give {' or '.join(self.heads)}.")
        return head.set_params(names=self.names, stuff=self.stuff).fit(rows, of=of)

    def truth(self, scan: PointCloud) -> Truth:
        """Return the things of a scan and sentences about them; always the same ones."""
        if self._last[0] is not scan:
            things = Objects.given(scan, self.stuff)
            every = self._said(scan, things, MOST, held=True)
            half = len(every) if self.told is not None else len(every) // 2
            self._last = scan, Truth(things, every[:half], every[half:])
        return self._last[1]

    def _said(self, scan: PointCloud, things: Objects, most: int, held: bool = False) -> list[Sentence]:
        content = scene_hash(scan)
        if self.told is not None:
            return [*about(things, self.told.get(content, []))]
        return sentences(things, self.names, [self.seed, int(content[:16], 16)], most=most, held=held)

    def inputs(self, features: np.ndarray, owner: np.ndarray, scan: PointCloud) -> Any:
        """Return the scan as a head is asked about it."""
        truth = self.truth(scan)
        asked = Asked.of(truth.things, features, owner, truth.texts)
        return Described(features, owner, scan, asked)

    def prediction(self, values: Any, owner: np.ndarray, scan: PointCloud) -> Answers:
        """Return what the head said."""
        return values

    def found(self, model: Model, head: Any, scan: PointCloud, *, max_memory: int | str | None = None) -> Answers:
        """Return the answers to the sentences about a labelled scan; what is found by other sentences is `find`'s."""
        self.require("the scan", scan)
        return super().found(model, head, scan, max_memory=max_memory)

    def tally(self, classes: ClassList | None = None) -> "GroundingTally":
        """Return what counts answers."""
        return GroundingTally()


class GroundingTally:
    """How often the right thing was picked, of all sentences and of their kinds.

    A sentence is `unique` where there is one thing of the class, among all things, else `multiple`; of these it is
    `easy` with two and `hard` with more. `paraphrase` is of the forms that nothing was learned from, all others of
    forms that were. `acc25` and `acc50` ask whether the box of the best thing that was found overlaps the right one.
    Where several things fit equally well, each is picked by as large a share.
    """

    def __init__(self) -> None:
        self.hits: dict[str, list[float]] = defaultdict(list)

    def update(self, truth: Truth, prediction: Answers) -> None:
        """Count one scene."""
        boxes = prediction.boxes
        overlaps = None if boxes is None else box_iou(boxes, truth.things.boxes)
        for number, one in enumerate([*truth.sentences, *truth.others]):
            fits = prediction.given[number]
            best = np.flatnonzero(fits >= fits.max() - _TIE)
            hit = float((best == one.target).mean())
            if number >= len(truth.sentences):
                self.hits["paraphrase"].append(hit)
                continue
            for kind in kinds(one):
                self.hits[kind].append(hit)
            self.hits["chance"].append(1 / (1 + one.distractors))
            if overlaps is not None and prediction.found is not None:
                share = overlaps[prediction.found[number].argmax(), one.target] if len(overlaps) else 0.0
                for name, least in OVERLAPS.items():
                    self.hits[name].append(float(share >= least))

    def metrics(self) -> dict[str, float]:
        """Return every share, also as acc/RELATION; what no sentence was of is left out."""
        order = [metric.name for metric in Grounding.metrics]
        names = [*(name for name in order if name in self.hits), *sorted(self.hits.keys() - {*order})]
        return {name: float(np.mean(self.hits[name])) for name in names}


def kinds(one: Sentence) -> list[str]:
    """Return the metrics that a sentence counts for.

    >>> kinds(Sentence("the chair closest to the door", 3, "closest", 2))
    ['acc', 'acc/closest', 'multiple', 'hard']
    """
    found = ["acc", f"acc/{one.relation}"]
    if not one.distractors:
        return [*found, "unique"]
    return [*found, "multiple", "easy" if one.distractors == 1 else "hard"]
