"""The linear probe: one linear layer, learned on frozen features."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..datasets.classes import IGNORE
from ..errors import require
from ..training.descent import BETAS, schedule
from .blocks import Blocks, columns_of
from .estimator import Probe, gathered

HELD = 1 << 29
"""Bytes of features that are read once and kept; more are read again for each mini-batch."""


class LinearProbe(Probe):
    """Softmax regression by AdamW with a cosine schedule, as the paper's linear probing does it [Table 15].

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(500, 4))
    >>> y = (X @ [[1, 0], [0, 1], [1, 1], [0, 0]]).argmax(1)
    >>> LinearProbe(steps=300).fit(X, y).score(X, y) > 0.9
    True

    Args:
        steps: mini-batches to learn from. The number is the same for few and many points, so that a limited protocol
            differs in its data alone; the paper counts epochs of scenes instead.
        batch: rows of a mini-batch; each pass over the rows is in a new random order.
        lr: largest learning rate [Table 15], reached after `warmup` of the steps, then falling to 0 as a cosine.
        weight_decay: of AdamW on the weights, not the biases [Table 15].
        warmup: share of the steps in which the learning rate rises [Table 15: 2 of 200 epochs].
        standardize: shift and scale each column to mean 0 and standard deviation 1 before learning, by its exact
            statistics over all the rows given to `fit`. The probe stays one linear layer on the features, see `coef_`,
            but learns equally well whatever their scale. False is a bare layer.
        blocks: slices of the columns to learn from; None for all.
        ignore: the label of rows to leave out.
        random_state: seed of the order of the rows; the weights start at 0.
        device: where to learn, such as "cpu" or "cuda".

    After `fit`: `classes_` (k,), `coef_` (k, c) and `intercept_` (k,), for which features @ coef_.T + intercept_ are
    the logits, and `losses_`, the mean loss of each tenth of the steps.

    Raises:
        InputError: a parameter is out of range, or features and labels do not fit together.
    """

    def __init__(
        self,
        *,
        steps: int = 2000,
        batch: int = 4096,
        lr: float = 0.01,
        weight_decay: float = 0.01,
        warmup: float = 0.01,
        standardize: bool = True,
        blocks: Any = None,
        ignore: int = IGNORE,
        random_state: int = 0,
        device: str = "cpu",
    ) -> None:
        self.steps = steps
        self.batch = batch
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.standardize = standardize
        self.blocks = blocks
        self.ignore = ignore
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any = None) -> "LinearProbe":
        """Learn the layer.

        Args:
            X: (n, c) features in any float type, in memory or memory-mapped: only mini-batches are copied. With
                `y=None` an iterable of pairs (features, labels), walked once and kept as it is.
            y: (n,) integer labels.
        """
        for name in ("steps", "batch"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        require("lr", self.lr, self.lr > 0, "above 0")
        require("warmup", self.warmup, 0 <= self.warmup < 1, "within 0 to 1")
        data = gathered(self, X, y)
        data.columns = self._columns = columns_of(self.blocks, self.n_features_in_)
        mean, scale = _statistics(data) if self.standardize else (torch.zeros(()), torch.ones(()))
        self._mean, self._scale = mean.to(self._device), scale.to(self._device)
        self._weight, self._bias, losses = self._learned(data)
        folded = self._weight.cpu().double() / scale
        coef = torch.zeros((len(self.classes_), self.n_features_in_), dtype=torch.float64)
        coef[:, slice(None) if data.columns is None else torch.from_numpy(data.columns)] = folded
        self.coef_, self.intercept_ = coef.numpy(), (self._bias.cpu() - (folded * mean).sum(1)).numpy()
        self.losses_ = [float(losses[a:b].mean()) for a, b in _tenths(self.steps)]
        return self

    def _learned(self, data: Blocks) -> tuple[Tensor, Tensor, Tensor]:
        """Return weight (k, c) and bias (k,) on standardised columns, and the loss (steps,) of each step."""
        labels = torch.from_numpy(np.searchsorted(self.classes_, data.labels)).to(self._device)
        width = self.n_features_in_ if data.columns is None else len(data.columns)
        weight = torch.zeros((len(self.classes_), width), device=self._device, requires_grad=True)
        bias = torch.zeros(len(self.classes_), device=self._device, requires_grad=True)
        groups = [{"params": [weight], "weight_decay": self.weight_decay}, {"params": [bias], "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=BETAS)
        order = _Order(len(data), self.batch, self.random_state)
        losses = torch.zeros(self.steps, device=self._device)  # not a list: what is kept must not pin the heap
        whole = self._standardized(data, np.arange(len(data))) if 4 * len(data) * width <= HELD else None
        x = torch.empty((min(self.batch, len(data)), width), device=self._device)
        for step in range(self.steps):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * schedule(step, self.steps, self.warmup)
            rows = order.next()
            if whole is None:
                x = self._standardized(data, rows.numpy())
            else:
                torch.index_select(whole, 0, rows.to(self._device), out=x)
            loss = F.cross_entropy(F.linear(x, weight, bias), labels[rows.to(self._device)])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[step] = loss.detach()
        return weight.detach(), bias.detach(), losses

    def _standardized(self, data: Blocks, rows: np.ndarray) -> Tensor:
        return data.take(rows).to(self._device).sub_(self._mean).div_(self._scale)

    def decision_function(self, X: Any) -> Any:
        """Return the logits (n, k) of each row of `X` (n, c)."""
        return torch.cat([values.cpu() for values in self._passes(X)]).numpy()

    @property
    def _device(self) -> torch.device:
        return torch.device(self.device)

    def _values(self, X: Tensor) -> Tensor:
        X = X if self._columns is None else X[:, self._columns]
        return F.linear((X - self._mean) / self._scale, self._weight, self._bias)


class _Order:
    """Mini-batches of row numbers: every pass is a new permutation, cut into batches that may span two passes."""

    def __init__(self, rows: int, batch: int, seed: int) -> None:
        self.rows, self.batch = rows, batch
        self.generator = torch.Generator().manual_seed(seed)
        self.left = torch.empty(0, dtype=torch.int64)

    def next(self) -> Tensor:
        batch = min(self.batch, self.rows)
        if len(self.left) < batch:
            self.left = torch.cat([self.left, torch.randperm(self.rows, generator=self.generator)])
        rows, self.left = self.left[:batch], self.left[batch:]
        return rows


def _statistics(data: Blocks) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each column over all rows, in float64; constant columns get 1."""
    total, squares = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for x in data.passes():
        total = total + x.double().sum(0)
    mean = total / len(data)
    for x in data.passes():
        squares = squares + (x.double() - mean).square().sum(0)
    scale = (squares / len(data)).sqrt()
    scale[scale <= 1e-6 * (1 + mean.abs())] = 1
    return mean.float(), scale.float()


def _tenths(steps: int) -> list[tuple[int, int]]:
    """Return start and end of ten parts of the steps, or of as many as there are."""
    edges = [steps * i // 10 for i in range(11)]
    return [(a, b) for a, b in pairwise(edges) if b > a]
