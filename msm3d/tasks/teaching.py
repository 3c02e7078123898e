"""From some labelled points to a head: candidates are compared on places that are new to them, the best is fitted."""

import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch

from .._util import stages
from .._util.words import choices, count
from ..datasets.classes import IGNORE
from ..errors import InputError
from ..model import Model
from ..scan.options import ReadOptions
from .confusion import Confusion
from .described import described
from .fingerprint import Fingerprint
from .given import Given, numbered
from .heads.about import About
from .heads.base import Classifier
from .heads.logistic import LogisticHead
from .heads.mlp import MLPHead
from .heads.nearest import KNNProbe
from .places import Places, too_few

KINDS = ("logistic", "nearest", "mlp")
"""The heads that are compared; the first is taken unless another is surely better."""
LEAST = 2  # labelled points of a class
MOST = 1000  # rows of a class that are learned from, drawn at random
COMPARED = 250  # rows of a class that candidates are compared with
BANK = 400  # rows that the nearest are looked for among: a million points must not take long
UNLABELLED = 8000  # rows, labelled or not, that say how frequent the classes are
PRIOR, LOOSEST, STRICTEST = 16.0, 0.01, 0.1  # penalty of the logistic head: PRIOR / rows, within these


@dataclass(frozen=True, eq=False)
class Lessons:
    """What heads learn from: one row for each class that a voxel of a scan has a label of."""

    rows: np.ndarray  # (k, c) float32
    labels: np.ndarray  # (k,)
    coord: np.ndarray  # (k, 3) metres, of a labelled point in the voxel
    scans: np.ndarray  # (k,) the number of the scan

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Lessons":
        """Return some of them."""
        return Lessons(self.rows[rows], self.labels[rows], self.coord[rows], self.scans[rows])

    def few(self, most: int, seed: int) -> "Lessons":
        """Return at most so many of each class, drawn by a seed, in their order."""
        return self.take(_drawn(self.labels, most, seed))


@dataclass(frozen=True)
class Comparison:
    """What came of comparing kinds of heads."""

    best: str  # the kind to take
    scores: dict[str, float]  # mIoU of each, 0 to 1; none where they cannot be compared
    why: str  # in words, how that was judged, or why not


def teach(
    model: Model,
    examples: Iterable[tuple[Any, Any]],
    *,
    names: Sequence[str] = (),
    levels: int | Sequence[int] | None = None,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    options: ReadOptions | None = None,
    max_memory: int | str | None = None,
) -> Classifier:
    """Return a head that labels scans as the labelled points of some do; twenty points of each class are enough.

    Logistic, nearest-neighbour and small-network heads are compared by cross-validation over places: points that lie
    together in space are never learned from and judged in the same turn, see `Places`. Another kind than the first is
    taken where its mIoU is surely better; in too few places nothing can be compared. `about_` holds the figures. How
    frequent the classes are is found on all points of the scans, labelled or not, see `LogisticHead.expect`.

    >>> from msm3d import Model, rooms
    >>> from msm3d.backbones.hunet import BackboneConfig
    >>> small = Model(BackboneConfig(channels=(8, 8), decoder_channels=(8, 8), conv_blocks=(1, 1),
    ...                              attention_blocks=(0, 0), heads=(0, 0), voxel_size=0.05)).eval()
    >>> room = rooms.make(900_001, points=2000)
    >>> clicks = {"wall": np.flatnonzero(room.segment == 0)[::20], "floor": np.flatnonzero(room.segment == 1)[::20]}
    >>> teach(small, [(room, clicks)]).about_.names
    ('wall', 'floor')

    Args:
        model: whose descriptors are learned from; it stays as it is.
        examples: pairs of a scan, as for `Model.extract`, and its labels: rows by name, a file of these
            (`labels.Labels`), integers (n,) of which -1 and 255 are none, a file that holds such, or None for those in
            the scan's own file.
        names: of integer labels from 0 on, instead of what files say.
        levels: of the descriptor, as for `Model.extract`; all by default.
        kinds: which heads to compare, of `KINDS`.
        seed: of everything random.
        options: how the scans are to be understood.
        max_memory: as for `Model.extract`.

    Returns:
        A fitted classifier: `predict` takes descriptors, `segment` scans, and `save` keeps it.

    Raises:
        InputError: labels are not of their scan, there are fewer than two classes, or a class has too few points.
    """
    if wrong := [kind for kind in kinds if kind not in KINDS] or ([] if kinds else [""]):
        raise InputError(f"kinds has {wrong[0]!r}; {choices(wrong[0], KINDS)}")
    of, options = Fingerprint.of(model, levels), options or ReadOptions()
    options = replace(options, spacing=model.config.inputs.voxel_size)  # points on a mesh as `segment` has them
    given = list[Given]()
    for scan, labels in examples:
        with stages.of(scan) if isinstance(scan, (str, os.PathLike)) else nullcontext():
            given.append(Given.of(scan, labels, names, options))
    if not given:
        raise InputError("there are no examples; give at least one scan with labels.")
    called, labels = numbered(given)
    _require_enough(called, labels)
    lessons, everywhere = _lessons(model, given, labels, of, seed, max_memory)
    called = {label: called[label] for label in np.unique(lessons.labels).tolist()}
    found = compared(lessons, of, list(called.values()), kinds, seed)
    head = candidate(found.best, of, seed, len(lessons)).fit(lessons.rows, lessons.labels, of=of)
    if isinstance(head, LogisticHead):
        head.expect(everywhere)
    points = sum(int((numbers != IGNORE).sum()) for numbers in labels)
    source = f"msm3d teach: {count(points, 'labelled point')} of {count(len(given), 'scan')}"
    head.about_ = About(names=tuple(called.values()), source=source, scores=found.scores, judged=found.why)
    return head


def candidate(kind: str, of: Fingerprint, seed: int, rows: int) -> Classifier:
    """Return a head that has not learned yet, with settings for so many labelled rows."""
    stops = np.cumsum(of.widths).tolist()
    blocks = [slice(stop - width, stop) for stop, width in zip(stops, of.widths, strict=True)]  # of the levels
    if kind == "logistic":
        penalty = float(np.clip(PRIOR / rows, LOOSEST, STRICTEST))
        return LogisticHead(penalty=penalty, blocks=blocks, normalize=True, random_state=seed)
    if kind == "mlp":
        settings: dict[str, Any] = {"lr": 0.003, "weight_decay": 0.1, "blocks": blocks, "normalize": True}
        return MLPHead(steps=200, batch=256, random_state=seed, **settings)
    return KNNProbe(k=20, bank=BANK, blocks=blocks, random_state=seed)


def compared(
    lessons: Lessons, of: Fingerprint, names: Sequence[str], kinds: Sequence[str] = KINDS, seed: int = 0
) -> Comparison:
    """Return how good each kind of head is on places that it had not learned from; `names` are those of the classes."""
    if len(kinds) < 2:
        return Comparison(kinds[0], {}, "no other kind of head was asked for")
    some = lessons.few(COMPARED, seed)
    places = Places.of(some.coord, some.labels, some.scans)
    folds = places.folds()
    if why := too_few(places, names) or ("" if folds else "too few places to compare heads: they lie side by side"):
        return Comparison(kinds[0], {}, f"{why}, so it is {kinds[0]}")
    classes, turns = np.unique(some.labels), {}
    at = np.searchsorted(classes, some.labels)
    for kind in kinds:
        turns[kind] = []
        for fold in folds:
            head = candidate(kind, of, seed, len(fold.learn)).fit(some.rows[fold.learn], some.labels[fold.learn])
            found = np.searchsorted(classes, head.predict(some.rows[fold.judge]))
            turns[kind].append(Confusion(len(classes)).update(at[fold.judge], found))
    judged = np.searchsorted(classes, places.judged)
    scores = {kind: _miou(reduce(add, parts), judged) for kind, parts in turns.items()}
    each = {kind: np.array([part.scores().miou for part in parts]) for kind, parts in turns.items()}
    best = _surely_best(scores, each)
    over = f"{count(len(np.unique(places.place)), 'place')} in {count(len(folds), 'turn')}"
    return Comparison(best, scores, f"cross-validation over {over}")


def _miou(confusion: Confusion, judged: np.ndarray) -> float:
    """Return the mean over the classes that are judged."""
    iou = confusion.scores().iou
    return float(np.mean([iou[label] or 0.0 for label in judged]))


def _surely_best(scores: dict[str, float], each: dict[str, np.ndarray]) -> str:
    """Return the kind with the best score; but the first one unless that is better by twice the standard error, over
    the turns, of the difference: of few labels the comparison is noise.

    >>> _surely_best({"a": 0.5, "b": 0.6}, {"a": np.array([0.5, 0.5, 0.5]), "b": np.array([0.5, 0.7, 0.6])})
    'a'
    >>> _surely_best({"a": 0.5, "b": 0.6}, {"a": np.array([0.5, 0.5, 0.5]), "b": np.array([0.6, 0.61, 0.59])})
    'b'
    """
    first, best = next(iter(scores)), max(scores, key=lambda kind: scores[kind])
    ahead = each[best] - each[first]
    if len(ahead) < 2 or ahead.mean() <= 2 * ahead.std(ddof=1) / len(ahead) ** 0.5:
        return first
    return best


def _lessons(
    model: Model, given: Sequence[Given], labels: Sequence[np.ndarray], of: Fingerprint, seed: int, max_memory: Any
) -> tuple[Lessons, np.ndarray]:
    """Return the rows to learn from, at most `MOST` of a class in all, of many scans fewer from each, and rows from
    everywhere in the scans, each scan having as large a share of them as of the points."""
    parts, everywhere = [], []
    each, whole = max(100, -(-4 * MOST // len(given))), sum(len(one.cloud) for one in given)
    draw = torch.Generator().manual_seed(seed)
    for number, (one, numbers) in enumerate(zip(given, labels, strict=True)):
        known = np.flatnonzero(numbers != IGNORE)
        cloud = replace(one.cloud, total=None)
        with described(model, cloud, **of.asked, max_memory=max_memory) as (rows, owner):
            pairs = np.stack([owner[known], numbers[known]], 1)
            _, first = np.unique(pairs, axis=0, return_index=True)
            points = known[np.sort(first)]
            points = points[_drawn(numbers[points], each, seed)]
            held = np.array(rows[owner[points]], np.float32)
            drawn = torch.randint(len(owner), (-(-UNLABELLED * len(owner) // whole),), generator=draw).numpy()
            everywhere.append(np.array(rows[np.sort(owner[drawn])], np.float32))
        parts.append(Lessons(held, numbers[points], cloud.coord[points], np.full(len(points), number)))
    joined = (np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "labels", "coord", "scans"))
    lessons = Lessons(*joined)
    if not np.isfinite(lessons.rows).all():
        raise InputError("the descriptors of labelled points are not finite; give other weights, or another precision.")
    around = np.concatenate(everywhere)
    return lessons.few(MOST, seed), around[np.isfinite(around).all(1)]


def _require_enough(called: dict[int, str], labels: Sequence[np.ndarray]) -> None:
    every = np.concatenate(labels)
    found, counts = np.unique(every[every != IGNORE], return_counts=True)
    if len(found) < 2:
        there = f"only {called[int(found[0])]!r}" if len(found) else "no class"
        raise InputError(f"the labels have {there}; give points of at least two classes.")
    for label, points in zip(found.tolist(), counts.tolist(), strict=True):
        if points < LEAST:
            cure = f"label at least {LEAST}, better 20, or leave the class out"
            raise InputError(f"the class {called[label]!r} has {count(points, 'labelled point')}; {cure}.")


def _drawn(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return at most so many rows of each class, ascending: those with the smallest of a random number each."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).numpy()
    kept = [order[labels[order] == label][:most] for label in np.unique(labels)]
    return np.sort(np.concatenate(kept))
