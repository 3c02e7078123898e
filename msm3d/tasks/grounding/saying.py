"""Sentences about a scan's things, made from their labels: each is true of one thing alone, and clearly so."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .colors import COLORS
from .objects import Objects
from .phrases import ALSO, HELD, LEARNED, NAMELESS, ORDINALS
from .predicates import PREDICATES, meant

SPOKEN = 5
"""Things that a sentence speaks of at most: see `Sentence.spoken`."""
MOST = 6
"""Sentences of each relation in a scan."""
_REDUNDANT = 1  # of these, such that say more than is needed of the only thing of its class
_VIEWS = 6  # places to stand and look from, in a scan
_LONG = 1.5  # metres at least between where somebody stands and looks


@dataclass(frozen=True)
class Sentence:
    """A sentence, and what is known of it."""

    text: str
    target: int
    """The thing that is meant, by its number in the `Objects`."""
    relation: str
    """One of `PREDICATES`."""
    distractors: int
    """Other things of the same class."""
    anchors: tuple[int, int, int, int] = (-1, -1, -1, -1)
    """The other things that it speaks of: an anchor, a second one, where somebody stands and looks; -1 for none."""

    @property
    def spoken(self) -> tuple[int, ...]:
        """The target and the anchors."""
        return (self.target, *self.anchors)


@dataclass(frozen=True)
class Statement:
    """A relation, of which class and anchors, and the one thing that it holds of."""

    relation: str
    label: int
    anchors: tuple[int, ...]  # as the relation takes them
    detail: Any  # a colour word, or a number of counting
    target: int

    def clear(self, things: Objects) -> np.ndarray:
        """Return how clearly it holds of each thing, see `PREDICATES`."""
        more = () if self.detail is None else (self.detail,)
        return PREDICATES[self.relation](things, self.label, *self.anchors, *more)


def sentences(
    things: Objects, names: Sequence[str], seed: Any = 0, *, held: bool = False, most: int = MOST
) -> list[Sentence]:
    """Return sentences that are each clearly true of one thing, and clearly false of all others.

    >>> from msm3d import PointCloud
    >>> coord = np.random.default_rng(0).uniform(0, 0.1, (150, 3)) + np.repeat([[1, 0, 0], [2, 0, 0], [4, 0, 0]], 50, 0)
    >>> scan = {"coord": coord, "segment": np.repeat([1, 0, 0], 50), "instance": np.repeat([0, 1, 2], 50)}
    >>> said = sentences(Objects.given(PointCloud.of(scan)), ["chair", "door"])
    >>> [(one.relation, one.target, one.distractors) for one in said]
    [('class', 0, 0), ('closest', 1, 1), ('farthest', 2, 1), ('ordinal', 2, 1)]

    Args:
        things: of a scan.
        names: of the classes.
        seed: of the choice of statements and forms; the same gives the same sentences. A number or several.
        held: also each sentence in a second form, which no sentence without `held` has: after all others, in the same
            order.
        most: of each relation. Statements about one of several things of a class come first.
    """
    rng = np.random.default_rng(seed)
    chosen = [one for relation in PREDICATES for one in _chosen(things, names, relation, rng, most)]
    forms = [LEARNED, HELD] if held else [LEARNED]
    return [_said(one, things, names, form, rng) for form in forms for one in chosen]


def statements(things: Objects, names: Sequence[str], relation: str, rng: np.random.Generator) -> Iterator[Statement]:
    """Yield all that can clearly be said of one thing by a relation; `rng` draws where somebody stands and looks."""
    counts = np.bincount(things.labels, minlength=len(names))
    present = [int(label) for label in np.flatnonzero(counts)]
    there = [names[label] for label in present]
    spoken = [label for label in present if _plain(names[label], there)]
    lone = [int(np.flatnonzero(things.labels == label)[0]) for label in spoken if counts[label] == 1]
    for label in spoken:
        others = [anchor for anchor in lone if things.labels[anchor] != label]
        for anchors, detail in _WAYS[relation](things, int(counts[label]), others, rng):
            made = Statement(relation, label, anchors, detail, -1)
            target = meant(made.clear(things))
            if target is not None:
                yield Statement(relation, label, anchors, detail, target)


def _plain(name: str, there: Sequence[str]) -> bool:
    """Return whether a noun means one class of those that are there: a shower curtain is a curtain, too."""
    return name not in NAMELESS and not any(other.endswith(f" {name}") for other in there)


Way = Iterator[tuple[tuple[int, ...], Any]]


def _alone(things: Objects, count: int, anchors: list[int], rng: np.random.Generator) -> Way:
    """Yield what a noun alone says: enough for the only thing of its class."""
    if count == 1:
        yield (), None


def _compared(things: Objects, count: int, anchors: list[int], rng: np.random.Generator) -> Way:
    if count > 1:
        yield (), None


def _colors(things: Objects, count: int, anchors: list[int], rng: np.random.Generator) -> Way:
    if count > 1:
        yield from (((), word) for word in COLORS)


def _compared_by(things: Objects, count: int, anchors: list[int], rng: np.random.Generator) -> Way:
    if count > 1:
        yield from (((anchor,), None) for anchor in anchors)


def _by_one(things: Objects, count: int, anchors: list[int], rng: np.random.Generator) -> Way:
    yield from (((anchor,), None) for anchor in anchors)


def _counting(things: Objects, count: int, anchors: list[int], rng: np.random.Generator) -> Way:
    yield from (((anchor,), number) for anchor in anchors for number in ORDINALS if number <= count)


def _pairs(things: Objects, count: int, anchors: list[int], rng: np.random.Generator) -> Way:
    yield from (((one, other), None) for i, one in enumerate(anchors) for other in anchors[:i])


def _seen_from(things: Objects, count: int, anchors: list[int], rng: np.random.Generator) -> Way:
    views = [(v, w) for v in anchors for w in anchors if things.apart[v, w] >= _LONG]
    for view in rng.permutation(len(views))[:_VIEWS]:
        stand, look = views[view]
        yield from (((anchor, stand, look), None) for anchor in anchors if anchor != stand)


_WAYS: dict[str, Callable[[Objects, int, list[int], np.random.Generator], Way]] = {
    "class": _alone, "color": _colors, "largest": _compared, "smallest": _compared, "closest": _compared_by,
    "farthest": _compared_by, "near": _by_one, "between": _pairs, "left": _seen_from, "right": _seen_from,
    "ordinal": _counting, "above": _by_one, "on": _by_one,
}  # fmt: skip
"""What each relation may be said with: given the number of things of the class, and the things that are the only ones
of theirs."""


def _chosen(
    things: Objects, names: Sequence[str], relation: str, rng: np.random.Generator, most: int
) -> list[Statement]:
    """Return some statements of a relation: each thing once before any is meant twice, and few that are redundant."""
    every = list(statements(things, names, relation, rng))
    mixed = [every[i] for i in rng.permutation(len(every))]
    counts = np.bincount(things.labels, minlength=len(names))
    needed = [one for one in mixed if counts[one.label] > 1]
    redundant = [one for one in mixed if counts[one.label] == 1]
    if relation == "class":
        return redundant[:most]
    met: list[int] = []
    turns = []
    for one in needed:
        turns.append(met.count(one.target))
        met.append(one.target)
    order = np.argsort(turns, kind="stable")
    return [needed[i] for i in order[:most]] + redundant[:_REDUNDANT]


def _said(
    one: Statement, things: Objects, names: Sequence[str], forms: dict[str, tuple[str, ...]], rng: np.random.Generator
) -> Sentence:
    """Return the sentence of a statement, in one of some forms."""

    def noun(label: int) -> str:
        name = names[label]
        other = ALSO.get(name, name)
        return other if other not in names and rng.random() < 0.3 else name

    form = forms[one.relation][rng.integers(len(forms[one.relation]))]
    spoken = dict(zip(_MARKS.get(one.relation, "a"), one.anchors, strict=False))
    marks = {mark: noun(int(things.labels[thing])) for mark, thing in spoken.items()}
    if one.relation == "color":
        marks["c"] = one.detail
    if one.relation == "ordinal":
        marks["n"] = ORDINALS[one.detail]
    distractors = int(np.count_nonzero(things.labels == one.label)) - 1
    first, second, stand, look = (spoken.get(mark, -1) for mark in "abvw")
    text = form.format(t=noun(one.label), **marks)
    return Sentence(text, one.target, one.relation, distractors, (first, second, stand, look))


_MARKS = {"between": "ab", "left": "avw", "right": "avw"}  # what the anchors of a relation are in its forms
