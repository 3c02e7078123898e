"""Named, versioned ways of judging features, and the choice of few scenes and few points to learn from."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._util.chosen import chosen_levels
from ..datasets import Dataset
from ..errors import InputError
from ..tasks.heads import HEADS
from ..tasks.heads.base import Head
from .cache import Examples, shuffled

Limit = tuple[float, int | None]  # share of the scenes, and labelled points of each, None for the whole sample


@dataclass(frozen=True)
class Protocol:
    """A way of judging features; any change of its settings needs a new version."""

    name: str
    version: int
    settings: Mapping[str, Any]  # what its head is made with, beside seed, device and columns
    neighbours: tuple[int, ...] = ()  # numbers of neighbours that are reported, from one bank
    head: str = "linear"  # one of `msm3d.tasks.heads.HEADS`

    def probes(
        self, rows: Any, choices: Mapping[str, list[slice]], seed: int, device: str, fit: Callable[..., Head] = Head.fit
    ) -> dict[str, Head]:
        """Return heads, fitted on `rows` by `fit`, for some choices of columns, of which the first holds all others."""
        kind, options = HEADS[self.head], {"random_state": seed, "device": device}
        if kind.one_fit:  # all of its columns serve every choice
            choices = dict(list(choices.items())[:1])
        return {name: fit(kind(**self.settings, blocks=blocks, **options), rows) for name, blocks in choices.items()}

    def predictions(
        self, probes: Mapping[str, Head], choices: Mapping[str, list[slice]], rows: np.ndarray
    ) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yield the choice of columns, the method and its values (m, ...) for features (m, c) of all that is reported,
        by what `probes` returned for the same choices."""
        for name, head in probes.items():
            mine = choices if head.one_fit else {name: choices[name]}
            for choice, variant, values in head.predictions(rows, mine, self.neighbours):
                yield choice, self.name + variant, values


_LINEAR = {"steps": 2000, "batch": 4096, "lr": 0.01, "weight_decay": 0.01, "warmup": 0.01}
_KNN = {"k": 20, "temperature": 0.07, "bank": 10_000}
_MATCH = {"steps": 600, "scenes": 8, "sentences": 16, "lr": 3e-3, "weight_decay": 0.01, "warmup": 0.1}
PROTOCOLS = {
    "linear": Protocol("linear", 1, {**_LINEAR, "standardize": True}),
    "linear-plain": Protocol("linear-plain", 1, {**_LINEAR, "standardize": False}),
    "knn": Protocol("knn", 1, {**_KNN, "balanced": True}, (1, 20), "nearest"),
    "knn-uniform": Protocol("knn-uniform", 1, {**_KNN, "balanced": False}, (1, 20), "nearest"),
    "pointgroup": Protocol("pointgroup", 1, {**_LINEAR, "hidden": 128}, head="pointgroup"),
    "pointgroup-linear": Protocol("pointgroup-linear", 1, {**_LINEAR, "hidden": None}, head="pointgroup"),
    "match": Protocol("match", 1, {**_MATCH, "things": 1000}, head="match"),
    "match-minilm": Protocol("match-minilm", 1, {**_MATCH, "things": 1000, "text": "minilm"}, head="match"),
    "match-geometry": Protocol("match-geometry", 1, {**_MATCH, "things": 0, "sees": "geometry"}, head="match"),
    "match-text": Protocol("match-text", 1, {**_MATCH, "things": 0, "sees": "text"}, head="match"),
}
"""The linear ones follow the paper's Table 15 in optimiser, rates and schedule; they learn from sampled points, not
from crops of augmented scenes, and without test-time augmentation. The paper says nothing of its nearest neighbours."""


class LeakageError(InputError):
    """A scene to test on is among those to learn from."""


def few_scenes(train: Dataset, share: float, seed: int) -> Dataset:
    """Return the first floor(share * n), at least 1, of the scenes in an order that `seed` decides.

    Of one seed the smaller shares are within the larger ones. ScanNet's own lists of few scenes are other ones; give
    those with `Dataset.only`.
    """
    if not 0 < share <= 1:
        raise InputError(f"scenes is {share}; give a share of the scenes above 0 and at most 1, such as 0.05.")
    order = np.random.default_rng([seed, 1]).permutation(len(train))
    chosen = sorted(order[: max(1, int(share * len(train) + 1e-9))].tolist())
    return replace(train, scenes=tuple(train.scenes[i] for i in chosen))


def few_points(sample: Examples, points: int | None, seed: int, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return features and targets of `points` points of a sample, in an order that `seed` and the scene's hash decide:
    of one seed the smaller numbers are within the larger ones."""
    if points is None or points >= len(sample.targets):
        return sample.features, sample.targets
    rows = shuffled(np.arange(len(sample.targets)), seed, key)[:points]
    return sample.features[rows], sample.targets[rows]


def limits(scenes: float | Sequence[float], points: int | Sequence[int | None] | None) -> list[Limit]:
    """Return (share, points) pairs: the main one, then each other share with the main points, then each other number
    of points with the main share.

    >>> limits([1.0, 0.1, 0.05], [None, 20])
    [(1.0, None), (0.1, None), (0.05, None), (1.0, 20)]
    """
    shares = list(scenes) if isinstance(scenes, Sequence) else [scenes]
    counts = list(points) if isinstance(points, Sequence) else [points]
    if not shares or not counts:
        raise InputError("scenes or points is empty; give at least one share of the scenes, and one number of points.")
    return list(dict.fromkeys([(share, counts[0]) for share in shares] + [(shares[0], n) for n in counts[1:]]))


def level_sets(
    blocks: Mapping[str, slice], levels: bool | str | Sequence[str], last: str | None = None
) -> dict[str, list[slice]]:
    """Return named choices of columns: all first, then what `chosen_levels` says; `last` is a block.

    >>> list(level_sets({"level 0": slice(0, 2), "level 1": slice(2, 5)}, True))  # [paper, Table 11]
    ['all', 'level 0', 'level 1', 'all but level 0', 'all but level 1']
    >>> level_sets({"level 0": slice(0, 2), "level 1": slice(2, 5)}, "last", "level 0")  # [paper, Figure 2]
    {'all': [slice(0, 2, None), slice(2, 5, None)], 'last': [slice(0, 2, None)]}
    """
    sets = {"all": list(blocks.values())}
    for word in chosen_levels(levels):
        if word == "each" and len(blocks) > 1:
            sets |= {name: [block] for name, block in blocks.items()}
            sets |= {f"all but {out}": [b for name, b in blocks.items() if name != out] for out in blocks}
        elif word == "last":
            sets[word] = [blocks[last or next(iter(blocks))]]
        elif (name := f"level {word}") in blocks:
            sets[name] = [blocks[name]]
    return sets


def require_disjoint(train: Iterable[str], test: Iterable[str]) -> None:
    """Raise LeakageError if a name is in both splits, or two scans of one of ScanNet's places are in different ones."""
    places = {_place(name): name for name in train}
    for name in test:
        if known := places.get(_place(name)):
            what = "is also" if known == name else f"shows the place of {known}, which is"
            raise LeakageError(f"{name} {what} in the split to learn from; use splits that share none.")


def require_unseen(name: str, content: str, learned: Mapping[str, str]) -> None:
    """Raise LeakageError if the hash of a scene's content is that of one that was learned from, by its hash."""
    if known := learned.get(content):
        raise LeakageError(
            f"{name} has the points and labels of {known}, which is in the split to learn "
            "from; use splits that share none."
        )


def _place(name: str) -> str:
    scanned = name.startswith("scene") and len(name) == 12 and name[9] == "_"
    return name[:9] if scanned else name


def chosen_protocols(names: str | Iterable[str]) -> list[Protocol]:
    """Return protocols by name, from a list or from text with commas; a head that has none is one by itself."""
    listed = [name.strip() for name in (names.split(",") if isinstance(names, str) else names)]
    if not listed:
        raise InputError(f"there is no protocol; choose among {', '.join(PROTOCOLS)}.")
    taken = {protocol.head for protocol in PROTOCOLS.values()} | PROTOCOLS.keys()
    known = PROTOCOLS | {head: Protocol(head, 1, {}, head=head) for head in HEADS if head not in taken}
    for name in listed:
        if name not in known:
            raise InputError(f"unknown protocol {name!r}; choose among {', '.join(known)}.")
    return [known[name] for name in listed]
