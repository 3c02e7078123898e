"""The linear probe: one linear layer, learned on frozen features."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...training.descent import BETAS, schedule
from .base import ABOVE_0, AT_LEAST_1, SHARE, Classifier, Head, Of
from .rows import LabelledRows, columns_of

HELD = 1 << 29  # bytes of features that are read once and kept; more are read again for each mini-batch


@dataclass(kw_only=True, eq=False, repr=False)
class LinearProbe(Classifier):
    """Softmax regression by AdamW with a cosine schedule, as the paper's linear probing does it [Table 15].

    >>> X = np.random.default_rng(0).normal(size=(500, 4))
    >>> y = (X @ [[1, 0], [0, 1], [1, 1], [0, 0]]).argmax(1)
    >>> LinearProbe(steps=300).fit(X, y).score(X, y) > 0.9
    True

    After `fit`: `classes_` (k,), `coef_` (k, c) and `intercept_` (k,), for which features @ coef_.T + intercept_ are
    the logits, and `losses_`, the mean loss of each tenth of the steps. The weights start at 0, so `random_state` is
    the seed of the order of the rows.
    """

    name = "linear"
    constraints: ClassVar = {"steps": AT_LEAST_1, "batch": AT_LEAST_1, "lr": ABOVE_0, "warmup": SHARE}

    steps: int = 2000
    """Mini-batches to learn from. The number is the same for few and many points, so that a limited protocol differs
    in its data alone; the paper counts epochs of scenes instead."""
    batch: int = 4096
    """Rows of a mini-batch; each pass over the rows is in a new random order."""
    lr: float = 0.01
    """Largest learning rate [Table 15], reached after `warmup` of the steps, then falling to 0 as a cosine."""
    weight_decay: float = 0.01
    """Of AdamW on the weights, not the biases [Table 15]."""
    warmup: float = 0.01
    """Share of the steps in which the learning rate rises [Table 15: 2 of 200 epochs]."""
    standardize: bool = True
    """Shift and scale each column to mean 0 and standard deviation 1 before learning, by its exact statistics over all
    the rows given to `fit`. The head stays one linear layer on the features, see `coef_`, but learns equally well
    whatever their scale. False is a bare layer."""

    def _learn(self, data: LabelledRows) -> None:
        mean, scale = _statistics(data) if self.standardize else (torch.zeros(()), torch.ones(()))
        self._mean, self._scale, self._columns = mean.to(self._device), scale.to(self._device), data.columns
        labels, width = torch.from_numpy(np.searchsorted(self.classes_, data.labels)).to(self._device), self._width
        weight = torch.zeros((len(self.classes_), width), device=self._device, requires_grad=True)
        bias = torch.zeros(len(self.classes_), device=self._device, requires_grad=True)
        groups = [{"params": [weight], "weight_decay": self.weight_decay}, {"params": [bias], "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=BETAS)
        losses = torch.zeros(self.steps, device=self._device)  # not a list: what is kept must not pin the heap
        take = partial(self._standardized, data)
        for step, (x, rows) in enumerate(minibatches(take, len(data), self.steps, self.batch, self.random_state)):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * schedule(step, self.steps, self.warmup)
            loss = F.cross_entropy(F.linear(x, weight, bias), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[step] = loss.detach()
        self._weight, self._bias = weight.detach(), bias.detach()
        self.losses_ = [float(losses[a:b].mean()) for a, b in _tenths(self.steps)]
        self._fold()

    def _fold(self) -> None:
        """Set `coef_` and `intercept_`, the layer on features as they come."""
        mean, scale = self._mean.cpu(), self._scale.cpu()
        folded = self._weight.cpu().double() / scale
        coef = torch.zeros((len(self.classes_), self.n_features_in_), dtype=torch.float64)
        coef[:, slice(None) if self._columns is None else torch.from_numpy(self._columns)] = folded
        self.coef_, self.intercept_ = coef.numpy(), (self._bias.cpu() - (folded * mean).sum(1)).numpy()

    def _standardized(self, data: LabelledRows, rows: np.ndarray) -> Tensor:
        return data.take(rows).to(self._device).sub_(self._mean).div_(self._scale)

    def decision_function(self, X: Any, *, of: Of = None) -> np.ndarray:
        """Return the logits (n, k) of each row of `X` (n, c); see `Head.predict`."""
        return Head.predict(self, X, of=of)

    def _values(self, X: Tensor) -> Tensor:
        return F.linear(self._prepared(X), self._weight, self._bias)

    def _prepared(self, X: Tensor) -> Tensor:
        """Return the columns that were learned from, standardised."""
        return ((X if self._columns is None else X[:, self._columns]) - self._mean) / self._scale

    def _state(self) -> dict[str, Tensor]:
        names = {"weight": self._weight, "bias": self._bias, "mean": self._mean, "scale": self._scale}
        return names | {"losses": torch.tensor(self.losses_, dtype=torch.float64)}

    def _shapes(self, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        k, width = len(self.classes_), self._width
        each = (width,) if self.standardize else ()
        return {"weight": (k, width), "bias": (k,), "mean": each, "scale": each, "losses": (len(_tenths(self.steps)),)}

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        for name in ("weight", "bias", "mean", "scale"):
            setattr(self, f"_{name}", tensors[name].float().to(self._device))
        self._columns, self.losses_ = columns_of(self.blocks, self.n_features_in_), tensors["losses"].tolist()
        self._fold()


def minibatches(
    take: Callable[[np.ndarray], Tensor], rows: int, steps: int, batch: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows of each step's mini-batch, valid until the next, and their numbers, on the device of what `take`
    returns for some numbers: it is asked once for all rows that can be held, or else for those of each step."""
    first = take(np.arange(1))
    whole = take(np.arange(rows)) if first.element_size() * rows * first.shape[1] <= HELD else None
    x = first.new_empty((min(batch, rows), first.shape[1]))
    for _, chosen in zip(range(steps), _orders(rows, batch, seed), strict=False):
        on_device = chosen.to(x.device)
        yield take(chosen.numpy()) if whole is None else torch.index_select(whole, 0, on_device, out=x), on_device


def _orders(rows: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Yield row numbers of mini-batches: every pass is a new permutation, cut into batches that may span two passes."""
    generator, left, batch = torch.Generator().manual_seed(seed), torch.empty(0, dtype=torch.int64), min(batch, rows)
    while True:
        if len(left) < batch:
            left = torch.cat([left, torch.randperm(rows, generator=generator)])
        yield left[:batch]
        left = left[batch:]


def _statistics(data: LabelledRows) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each column over all rows, in float64; constant columns get 1."""
    mean = reduce(torch.add, (x.double().sum(0) for x in data.passes())) / len(data)
    squares = reduce(torch.add, ((x.double() - mean).square().sum(0) for x in data.passes()))
    scale = (squares / len(data)).sqrt()
    scale[scale <= 1e-6 * (1 + mean.abs())] = 1
    return mean.float(), scale.float()


def _tenths(steps: int) -> list[tuple[int, int]]:
    """Return start and end of ten parts of the steps, or of as many as there are."""
    return [(a, b) for a, b in pairwise(steps * i // 10 for i in range(11)) if b > a]
