"""What classifiers share that are learned by cross-entropy: standardised columns, and mini-batches with AdamW."""

from abc import abstractmethod
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
class Standardized(Classifier):
    """A classifier that learns tensors from standardised columns.

    A subclass says their `_sizes`, `_begins` with them, defines the `_logits`, and learns from `_standardized` rows.
    """

    standardize: bool = True
    """Shift and scale each column to mean 0 and standard deviation 1 before learning, by its exact statistics over all
    the rows given to `fit`, so that it learns equally well whatever their scale. False takes them as they come."""

    @abstractmethod
    def _sizes(self, classes: int, width: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor that is learned, by name."""

    @abstractmethod
    def _begins(self, sizes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Return the tensors before the first step, on the CPU."""

    @abstractmethod
    def _logits(self, x: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        """Return the logits (n, k) of standardised rows (n, c)."""

    def _prepared(self, data: LabelledRows) -> tuple[Tensor, dict[str, Tensor]]:
        """Set how columns are standardised; return the place of each row's label, and the tensors to learn."""
        mean, scale = _statistics(data, self._read) if self.standardize else (torch.zeros(()), torch.ones(()))
        self._mean, self._scale, self._columns = mean.to(self._device), scale.to(self._device), data.columns
        labels = torch.from_numpy(np.searchsorted(self.classes_, data.labels)).to(self._device)
        begun = self._begins(self._sizes(len(self.classes_), self._width))
        return labels, {name: tensor.to(self._device).requires_grad_() for name, tensor in begun.items()}

    def _standardized(self, data: LabelledRows, rows: np.ndarray) -> Tensor:
        return self._read(data.take(rows).to(self._device)).sub_(self._mean).div_(self._scale)

    def _read(self, x: Tensor) -> Tensor:
        """Return the columns (n, c) that are learned from as they are standardised."""
        return x

    def _levelled(self, x: Tensor) -> Tensor:
        """Return rows (n, c) of which each slice of `blocks`, or else the whole, is of length 1."""
        blocks = [slice(None)] if self.blocks is None else self.blocks
        widths = [len(range(*block.indices(self.n_features_in_))) for block in blocks]
        return torch.cat([F.normalize(part, dim=1) for part in x.split(widths, 1)], 1)

    def decision_function(self, X: Any, *, of: Of = None) -> np.ndarray:
        """Return the logits (n, k) of each row of `X` (n, c); see `Head.predict`."""
        return Head.predict(self, X, of=of)

    def _input(self, X: Tensor) -> Tensor:
        """Return the columns of features (n, c) that were learned from, standardised."""
        X = X if self._columns is None else X[:, self._columns]
        return (self._read(X) - self._mean) / self._scale

    def _values(self, X: Tensor) -> Tensor:
        return self._logits(self._input(X), self._learned)

    def _state(self) -> dict[str, Tensor]:
        return self._learned | {"mean": self._mean, "scale": self._scale}

    def _shapes(self, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        each = (self._width,) if self.standardize else ()
        return self._sizes(len(self.classes_), self._width) | {"mean": each, "scale": each}

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        held = {name: tensor.float().to(self._device) for name, tensor in tensors.items()}
        self._mean, self._scale, self._learned = held.pop("mean"), held.pop("scale"), held
        self._columns = columns_of(self.blocks, self.n_features_in_)


@dataclass(kw_only=True, eq=False, repr=False)
class Softmax(Standardized):
    """A classifier whose `_logits` are learned by AdamW with a cosine schedule [Table 15].

    After `fit` there are `classes_` (k,) and `losses_`, the mean loss of each tenth of the steps.
    """

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

    def _learn(self, data: LabelledRows) -> None:
        labels, learned = self._prepared(data)
        groups = [
            {"params": [tensor], "weight_decay": self.weight_decay if tensor.dim() > 1 else 0.0}
            for tensor in learned.values()
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=BETAS, fused=True)
        losses = torch.zeros(self.steps, device=self._device)  # not a list: what is kept must not pin the heap
        take = partial(self._standardized, data)
        for step, batch in enumerate(minibatches(take, len(data), self.steps, self.batch, self.random_state)):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * schedule(step, self.steps, self.warmup)
            loss = self._loss(batch, labels, learned)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[step] = loss.detach()
        self._learned = {name: tensor.detach() for name, tensor in learned.items()}
        self.losses_ = [float(losses[a:b].mean()) for a, b in _tenths(self.steps)]

    def _loss(self, batch: "Batch", labels: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        """Return the mean cross-entropy of a mini-batch, of rows that have these labels (n,)."""
        return F.cross_entropy(self._logits(batch.x, learned), labels[batch.rows])

    def _state(self) -> dict[str, Tensor]:
        return super()._state() | {"losses": torch.tensor(self.losses_, dtype=torch.float64)}

    def _shapes(self, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        return super()._shapes(tensors) | {"losses": (len(_tenths(self.steps)),)}

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        super()._restore({name: tensor for name, tensor in tensors.items() if name != "losses"})
        self.losses_ = tensors["losses"].tolist()


@dataclass(frozen=True)
class Batch:
    """Some rows of those that are learned from, on the device of the values."""

    values: Tensor
    """All rows, if they are held, or else those of the batch."""
    rows: Tensor
    """Their numbers (b,)."""
    place: Tensor | None
    """Where those of the batch go (b, c), if all rows are held."""

    @property
    def x(self) -> Tensor:
        """The rows of the batch (b, c), valid until the next."""
        return self.values if self.place is None else torch.index_select(self.values, 0, self.rows, out=self.place)


def minibatches(take: Callable[[np.ndarray], Tensor], rows: int, steps: int, batch: int, seed: int) -> Iterator[Batch]:
    """Yield each step's mini-batch, on the device of what `take` returns for some numbers.

    It is asked once for all rows that can be held, or else for those of each step.
    """
    first = take(np.arange(1))
    whole = take(np.arange(rows)) if first.element_size() * rows * first.shape[1] <= HELD else None
    place = None if whole is None else first.new_empty((min(batch, rows), first.shape[1]))
    for _, chosen in zip(range(steps), _orders(rows, batch, seed), strict=False):
        yield Batch(take(chosen.numpy()) if whole is None else whole, chosen.to(first.device), place)


def _orders(rows: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Yield row numbers of mini-batches: every pass is a new permutation, cut into batches that may span two passes."""
    generator, left, batch = torch.Generator().manual_seed(seed), torch.empty(0, dtype=torch.int64), min(batch, rows)
    while True:
        if len(left) < batch:
            left = torch.cat([left, torch.randperm(rows, generator=generator)])
        yield left[:batch]
        left = left[batch:]


def _statistics(data: LabelledRows, read: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each column over all rows, in float64; constant columns get 1."""
    mean = reduce(torch.add, (read(x).double().sum(0) for x in data.passes())) / len(data)
    squares = reduce(torch.add, ((read(x).double() - mean).square().sum(0) for x in data.passes()))
    scale = (squares / len(data)).sqrt()
    scale[scale <= 1e-6 * (1 + mean.abs())] = 1
    return mean.float(), scale.float()


def _tenths(steps: int) -> list[tuple[int, int]]:
    """Return start and end of ten parts of the steps, or of as many as there are."""
    return [(a, b) for a, b in pairwise(steps * i // 10 for i in range(11)) if b > a]
