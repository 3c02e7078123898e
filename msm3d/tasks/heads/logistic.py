"""Softmax regression with a penalty, solved to the end: the linear layer for few labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...ops import backend
from .base import ABOVE_0, AT_LEAST_1
from .rows import LabelledRows
from .softmax import Standardized

EXPECTED = 50  # steps of expectation maximisation
RAREST = 1e-3  # share of a class below which it is not held to be rarer


@dataclass(kw_only=True, eq=False, repr=False)
class LogisticHead(Standardized):
    """One linear layer: the least mean cross-entropy with a penalty on squared weights, found by L-BFGS.

    >>> X = np.random.default_rng(0).normal(size=(60, 40))
    >>> y = (X[:, 0] > 0).astype(int)
    >>> LogisticHead().fit(X[:40], y[:40]).score(X[40:], y[40:]) > 0.5
    True

    `LinearProbe`, which AdamW learns in a number of steps, gives each column a voice early on, useful or not, and falls
    behind where labels are few. All rows are held in memory, and nothing is random. After `fit` there is `classes_`.
    """

    name = "logistic"
    constraints: ClassVar = {"penalty": ABOVE_0, "iterations": AT_LEAST_1}

    penalty: float = 0.01
    """Half of it times the sum of squared weights is added to the mean loss."""
    iterations: int = 60
    """Of L-BFGS at most, each with a line search."""
    normalize: bool = False
    """Scale each slice of `blocks`, or the whole row, to length 1 first, so that every level counts the same: better
    where labels are few [benchmarks/tasks/teach.py]."""

    def _sizes(self, classes: int, width: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (classes, width), "bias": (classes,)}

    def _begins(self, sizes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        return {name: torch.zeros(size) for name, size in sizes.items()}

    def _logits(self, x: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        return F.linear(x, learned["weight"], learned["bias"])

    def _read(self, x: Tensor) -> Tensor:
        return self._levelled(x) if self.normalize else x

    def _learn(self, data: LabelledRows) -> None:
        labels, learned = self._prepared(data)
        x = self._standardized(data, np.arange(len(data)))
        ops = backend(self._device)
        searched = {"line_search_fn": "strong_wolfe", "history_size": 10}
        solver = torch.optim.LBFGS(list(learned.values()), max_iter=self.iterations, **searched)

        def loss() -> Tensor:
            solver.zero_grad()
            found = ops.cross_entropy(x, labels, learned["weight"], learned["bias"])
            found = found + self.penalty / 2 * learned["weight"].square().sum()
            found.backward()
            return found

        solver.step(loss)  # type: ignore[arg-type]  # which torch declares to return a float
        self._learned = {name: tensor.detach() for name, tensor in learned.items()}

    def expect(self, X: Any, share: float = 1 / 3) -> "LogisticHead":
        """Make classes that are frequent among some rows (n, c), whose labels nobody knows, likelier, and rare ones
        less likely; return the head.

        Labels that people give say what a class looks like, not how much of it there is. How frequent the classes are
        is found by expectation maximisation on the head's own probabilities, and `share` of its logarithm is added to
        the biases: not all, because mIoU counts rare classes as much as others.

        >>> X = np.random.default_rng(0).normal(size=(400, 1))
        >>> head = LogisticHead().fit(X, (X[:, 0] > 0).astype(int))
        >>> before = head.predict_proba(X)[:, 0].mean()
        >>> bool(head.expect(X[X[:, 0] < 0]).predict_proba(X)[:, 0].mean() > before)
        True

        Source: M. Saerens, P. Latinne, C. Decaestecker, Adjusting the outputs of a classifier to new a priori
        probabilities, Neural Computation 14 (2002), equation 2.9.
        """
        likely = torch.from_numpy(self.predict_proba(X))
        prior = frequency = torch.full((likely.shape[1],), 1 / likely.shape[1])
        for _ in range(EXPECTED if len(likely) else 0):
            both = likely * (frequency / prior)
            frequency = (both / both.sum(1, keepdim=True)).mean(0)
        shift = share * frequency.clamp(min=RAREST).log()
        self._learned["bias"] = self._learned["bias"] + (shift - shift.mean()).to(self._device)
        return self
