"""The nearest-neighbour probe: a vote of the most similar labelled features, nothing learned."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError
from ...ops import backend
from .base import ABOVE_0, AT_LEAST_1, Classifier
from .rows import LabelledRows, as_labels


@dataclass(kw_only=True, eq=False, repr=False)
class KNNProbe(Classifier):
    """Vote of the `k` labelled features with the largest cosine similarity.

    >>> X, y = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]), np.array([3, 7, 7])
    >>> KNNProbe(k=1).fit(X, y).predict(np.array([[0.9, 0.1], [0.2, 5.0]])).tolist()
    [3, 7]

    The paper gives neither k, nor metric, nor the size of its bank; these are ours, and a report names them. Each slice
    of `blocks` is scaled to length 1 first, so that every level counts the same, whatever its scale and width.

    After `fit`: `classes_` and `bank_labels_`, the labels of the rows that were kept, drawn by `random_state`.
    """

    name = "nearest"
    constraints: ClassVar = {"k": AT_LEAST_1, "bank": AT_LEAST_1.or_none(), "temperature": ABOVE_0.or_none()}
    one_fit = True

    k: int = 20
    """Neighbours that vote; fewer where the bank holds fewer."""
    temperature: float | None = 0.07
    """A neighbour's vote weighs exp(similarity / temperature), 0.07 as in DINO's protocol [arXiv 2104.14294, appendix];
    None gives each the same weight."""
    bank: int | None = 10_000
    """How many labelled rows to keep, drawn at random. None keeps all."""
    balanced: bool = True
    """Keep equally many of each class, rare ones whole; False keeps rows whatever their class, so that frequent classes
    vote more often."""

    def _learn(self, data: LabelledRows) -> None:
        rows, data.columns = self._drawn(data), None  # the bank holds all columns, and `_normalized` chooses
        self._keep(self._normalized(data.take(rows).to(self._device)), data.labels[rows])

    def _keep(self, bank: Tensor, labels: np.ndarray) -> None:
        """Set the bank and its labels."""
        self._bank, self.bank_labels_ = bank, labels
        self._places = torch.from_numpy(np.searchsorted(self.classes_, labels)).to(self._device)

    def _drawn(self, data: LabelledRows) -> np.ndarray:
        """Return the rows of the bank, ascending: those with the smallest of a random number each."""
        if self.bank is None or self.bank >= len(data):
            return np.arange(len(data))
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(self.random_state)).numpy()
        if self.balanced:  # in turn one of each class: sort by the place within the class
            by_class = np.argsort(data.labels[order], kind="stable")
            ascending = data.labels[order[by_class]]
            place = np.empty(len(order), dtype=np.int64)
            place[by_class] = np.arange(len(order)) - np.searchsorted(ascending, ascending)
            order = order[np.argsort(place, kind="stable")]
        return np.sort(order[: self.bank])

    def neighbours(self, X: Any, k: int | None = None) -> tuple[Tensor, Tensor]:
        """Return the similarity (n, k) of the nearest bank rows of each row of `X` (n, c), and their rows (n, k), of
        equally similar ones the lower first."""
        return self.neighbours_by(X, [self._slices], k)[0]

    def neighbours_by(
        self, X: Any, choices: Sequence[Sequence[slice]], k: int | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Return for each choice among the probe's own `blocks` what `neighbours` of a probe with only these would.

        Each slice is compared once for all choices: most of the time goes into these products.

        >>> X, y = np.eye(4)[:, [0, 1, 2, 3, 0]] + 0.1, np.arange(4)
        >>> probe = KNNProbe(k=1, blocks=[slice(0, 2), slice(2, 5)]).fit(X, y)
        >>> [rows[:, 0].tolist() for _, rows in probe.neighbours_by(X[:2], [[slice(0, 2)], probe.blocks])]
        [[0, 1], [0, 1]]
        """
        chosen = [[self._slices.index(block) for block in choice] for choice in choices]
        parts = [self._nearest(x, chosen, k) for x in self._passes(X, self._normalized)]
        values, rows = (torch.cat(each, 1) for each in zip(*parts, strict=True))
        return [
            (one * (len(self._slices) / len(choice)), row)
            for one, row, choice in zip(values, rows, chosen, strict=True)
        ]

    def vote(self, similarity: Tensor, rows: Tensor) -> np.ndarray:
        """Return the label (n,) that neighbours (n, k), as `neighbours` returns them, vote for."""
        return self.classes_[self._votes(similarity, rows).argmax(1).cpu().numpy()]

    def predictions(
        self, X: Any, choices: Mapping[str, Sequence[slice]], each: Sequence[int] = ()
    ) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yield each choice of slices, each number of neighbours and its labels (n,), as of a probe with only these."""
        found = self.neighbours_by(X, list(choices.values())) if len(choices) > 1 else [self.neighbours(X)]
        for name, (similarity, rows) in zip(choices, found, strict=True):
            for k in each or (self.k,):
                yield name, f" k={k}", self.vote(similarity[:, :k], rows[:, :k])

    @property
    def _rows(self) -> int:
        return 1 << 12  # a bank is made ready once for as many

    @property
    def _slices(self) -> list[slice]:
        """The slices that are compared."""
        return [slice(None)] if self.blocks is None else list(self.blocks)

    def _values(self, X: Tensor) -> Tensor:
        values, rows = self._nearest(self._normalized(X), [list(range(len(self._slices)))])
        return self._votes(values[0], rows[0])

    def _nearest(self, X: Tensor, choices: list[list[int]], k: int | None = None) -> tuple[Tensor, Tensor]:
        """Return similarities and rows (choices, n, k) of normalized `X` for choices of numbers of slices."""
        widths = [len(range(*block.indices(self.n_features_in_))) for block in self._slices]
        k = min(self.k if k is None else k, len(self._bank))
        return backend(self._device).nearest(X, self._bank, k, list(accumulate(widths)), choices)

    def _votes(self, similarity: Tensor, rows: Tensor) -> Tensor:
        """Return the share (n, classes) of the votes."""
        if self.temperature is None:
            weights = torch.full_like(similarity, 1 / similarity.shape[1])
        else:
            weights = (similarity / self.temperature).softmax(1)
        votes = similarity.new_zeros((len(similarity), len(self.classes_)))
        return votes.scatter_add_(1, self._places[rows], weights)

    def _probabilities(self, values: Tensor) -> Tensor:
        return values

    def _state(self) -> dict[str, Tensor]:
        return {"bank": self._bank, "labels": torch.from_numpy(self.bank_labels_)}

    def _shapes(self, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        rows = len(tensors["labels"]) if "labels" in tensors else 0
        return {"bank": (rows, self._width), "labels": (rows,)}

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        labels = as_labels(tensors["labels"])
        if not len(labels) or not np.isin(labels, self.classes_).all():
            raise InputError("the bank is empty, or holds labels that are not classes of the head")
        self._keep(tensors["bank"].float().to(self._device), labels)

    def _normalized(self, X: Tensor) -> Tensor:
        """Return the slices that are compared, each of length 1 divided by the root of their number."""
        slices = self._slices
        return torch.cat([F.normalize(X[:, block], dim=1) for block in slices], 1) / len(slices) ** 0.5
