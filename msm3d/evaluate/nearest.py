"""The nearest-neighbour probe: a vote of the most similar labelled features, nothing learned."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..datasets.classes import IGNORE
from ..errors import require
from .blocks import Blocks, columns_of
from .estimator import Probe, gathered

SIMILARITIES = 1 << 24
"""Similarities that are held at a time."""


class KNNProbe(Probe):
    """Vote of the `k` labelled features with the largest cosine similarity.

    >>> import numpy as np
    >>> X, y = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]), np.array([3, 7, 7])
    >>> KNNProbe(k=1).fit(X, y).predict(np.array([[0.9, 0.1], [0.2, 5.0]])).tolist()
    [3, 7]

    The paper gives neither k, nor metric, nor the size of its bank; these are ours, and a report names them.

    Args:
        k: neighbours that vote; fewer where the bank holds fewer.
        temperature: a neighbour's vote weighs exp(similarity / temperature), 0.07 as in DINO's protocol
            [arXiv 2104.14294, appendix]; None gives each the same weight.
        bank: how many labelled rows to keep, drawn at random. None keeps all.
        balanced: keep equally many of each class, rare ones whole; False keeps rows whatever their class, so that
            frequent classes vote more often.
        blocks: slices of the columns to compare, such as one per level of a descriptor. Each slice of a row is
            scaled to length 1 first, so that every level counts the same, whatever its scale and width. None compares
            all columns as one slice.
        ignore: the label of rows to leave out.
        random_state: seed of the draw.
        device: where to compare, such as "cpu" or "cuda".

    After `fit`: `classes_` and `bank_labels_`, the labels of the rows that were kept.

    Raises:
        InputError: a parameter is out of range, or features and labels do not fit together.
    """

    def __init__(
        self,
        *,
        k: int = 20,
        temperature: float | None = 0.07,
        bank: int | None = 10_000,
        balanced: bool = True,
        blocks: Any = None,
        ignore: int = IGNORE,
        random_state: int = 0,
        device: str = "cpu",
    ) -> None:
        self.k = k
        self.temperature = temperature
        self.bank = bank
        self.balanced = balanced
        self.blocks = blocks
        self.ignore = ignore
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any = None) -> "KNNProbe":
        """Draw the bank.

        Args:
            X: (n, c) features in any float type, in memory or memory-mapped: only the bank is copied. With `y=None`
                an iterable of pairs (features, labels), walked once.
            y: (n,) integer labels.
        """
        require("k", self.k, self.k >= 1, "at least 1")
        require("bank", self.bank, self.bank is None or self.bank >= 1, "at least 1, or None")
        require("temperature", self.temperature, self.temperature is None or self.temperature > 0, "above 0, or None")
        data = gathered(self, X, y)
        columns_of(self.blocks, self.n_features_in_)
        rows = self._drawn(data)
        self.bank_labels_ = data.labels[rows]
        self._bank = self._normalized(data.take(rows).to(self._device))
        self._places = torch.from_numpy(np.searchsorted(self.classes_, self.bank_labels_)).to(self._device)
        return self

    def _drawn(self, data: Blocks) -> np.ndarray:
        """Return the rows of the bank, ascending: those with the smallest of a random number each."""
        if self.bank is None or self.bank >= len(data):
            return np.arange(len(data))
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(self.random_state)).numpy()
        if self.balanced:  # in turn one of each class: sort by the place within the class
            labels = data.labels[order]
            by_class = np.argsort(labels, kind="stable")
            starts = np.searchsorted(labels[by_class], labels[by_class])
            place = np.empty(len(order), dtype=np.int64)
            place[by_class] = np.arange(len(order)) - starts
            order = order[np.argsort(place, kind="stable")]
        return np.sort(order[: self.bank])

    def neighbours(self, X: Any, k: int | None = None) -> tuple[Tensor, Tensor]:
        """Return the similarity (n, k) of the nearest bank rows of each row of `X` (n, c), and their rows (n, k)."""
        k = min(self.k if k is None else k, len(self._bank))
        found = [values.topk(k, dim=1) for values in self._passes(X, self._similarities)]
        return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])

    def neighbours_by(
        self, X: Any, choices: Sequence[Sequence[slice]], k: int | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Return for each choice of slices what `neighbours` of a probe with only these slices would.

        Each slice is compared once for all choices: most of the time goes into these products.

        >>> X, y = np.eye(4)[:, [0, 1, 2, 3, 0]] + 0.1, np.arange(4)
        >>> probe = KNNProbe(k=1, blocks=[slice(0, 2), slice(2, 5)]).fit(X, y)
        >>> [rows[:, 0].tolist() for _, rows in probe.neighbours_by(X[:2], [[slice(0, 2)], probe.blocks])]
        [[0, 1], [0, 1]]

        Args:
            X: (n, c) features.
            choices: each some of the probe's own `blocks`.
            k: how many neighbours; the probe's by default.
        """
        k = min(self.k if k is None else k, len(self._bank))
        blocks = list(self.blocks)
        chosen = [[blocks.index(block) for block in choice] for choice in choices]
        found = [([], []) for _ in choices]
        for parts in self._passes(X, self._similarities_by_block, max(1, self._rows // 4)):
            whole = parts.sum(0)
            for places, (values, rows) in zip(chosen, found, strict=True):
                best = _summed(parts, whole, places).topk(k, dim=1)
                values.append(best.values * (len(blocks) / len(places)))
                rows.append(best.indices)
        return [(torch.cat(values), torch.cat(rows)) for values, rows in found]

    def vote(self, similarity: Tensor, rows: Tensor) -> np.ndarray:
        """Return the label (n,) that neighbours (n, k), as `neighbours` returns them, vote for."""
        return self.classes_[self._votes(similarity, rows).argmax(1).cpu().numpy()]

    @property
    def _device(self) -> torch.device:
        return torch.device(self.device)

    @property
    def _rows(self) -> int:
        return max(1, SIMILARITIES // len(self._bank))

    def _values(self, X: Tensor) -> Tensor:
        values, rows = self._similarities(X).topk(min(self.k, len(self._bank)), dim=1)
        return self._votes(values, rows)

    def _similarities(self, X: Tensor) -> Tensor:
        return self._normalized(X) @ self._bank.T

    def _similarities_by_block(self, X: Tensor) -> Tensor:
        """Return (blocks, n, bank): what each slice adds to the similarity."""
        X = self._normalized(X)
        edges = np.cumsum([0] + [len(range(*block.indices(self.n_features_in_))) for block in self.blocks])
        return torch.stack([X[:, a:b] @ self._bank[:, a:b].T for a, b in pairwise(edges)])

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

    def _normalized(self, X: Tensor) -> Tensor:
        """Return the slices that are compared, each of length 1 divided by the root of their number."""
        slices = [slice(None)] if self.blocks is None else list(self.blocks)
        return torch.cat([F.normalize(X[:, block], dim=1) for block in slices], 1) / len(slices) ** 0.5


def _summed(parts: Tensor, whole: Tensor, places: list[int]) -> Tensor:
    """Return the sum of some of `parts` (p, n, m), of which `whole` is the sum, with few additions."""
    rest = [i for i in range(len(parts)) if i not in places]
    if len(places) == 1:
        return parts[places[0]]
    if not rest:
        return whole
    return whole - parts[rest[0]] if len(rest) == 1 else parts[places].sum(0)
