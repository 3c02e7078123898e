"""PointGroup's heads on frozen features: the class of each point, and how far it is to the middle of its thing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...datasets.classes import IGNORE
from ...errors import InputError
from ...training.descent import Descent
from .base import ABOVE_0, AT_LEAST_1, SHARE, Constraint, Head
from .linear import LinearProbe
from .rows import LabelledRows
from .softmax import minibatches

_CLIP = 3.0  # of the gradient
AT_LEAST_2 = Constraint("at least 2", lambda value: value >= 2)  # rows, for BatchNorm


@dataclass(kw_only=True, eq=False, repr=False)
class PointGroup(Head):
    """Two heads on the same features: a linear probe for classes, and one layer or two for offsets.

    Offsets are learned by their mean absolute error and by their direction, with equal weights, of the points whose
    thing counts.

    After `fit`: `classes_` (k,), `semantic_`, the linear probe, and `losses_`, the offsets' mean loss of each tenth of
    the steps. `predict` returns (n, c + 3): for each label from 0 to the largest its probability, then the offset.

    Source: PointGroup as Pointcept has it [Pointcept, models/point_group]: one linear layer for classes, and for
    offsets linear, BatchNorm, ReLU, linear. Its optimiser is replaced by that of `LinearProbe`.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 4))
    >>> y = np.column_stack([X[:, 0] > 0, X[:, 1:]])
    >>> values = PointGroup(steps=400, hidden=None).fit(X, y).predict(X)
    >>> values.shape, bool(np.abs(values[:, 2:] - y[:, 1:]).mean() < 0.1)
    ((300, 5), True)
    """

    name = "pointgroup"
    constraints: ClassVar = {"steps": AT_LEAST_1, "batch": AT_LEAST_2, "lr": ABOVE_0, "warmup": SHARE}
    constraints |= {"hidden": AT_LEAST_1.or_none()}

    steps: int = 2000
    """Mini-batches that each of the two heads learns from."""
    batch: int = 4096
    """Rows of a mini-batch."""
    lr: float = 0.01
    """Largest learning rate, see `LinearProbe`."""
    weight_decay: float = 0.01
    """Of AdamW on the weights, not the biases."""
    warmup: float = 0.01
    """Share of the steps in which the learning rate rises."""
    hidden: int | None = 128
    """Width of the layer between features and offsets; None for offsets that are linear in the features."""
    stuff: Any = ()
    """Labels without things, such as those of wall and floor: their points have a class, and no offset to learn."""
    names: Any = ()
    """Names of the labels from 0, for whoever shows what was found."""
    ignore: int = IGNORE
    """The label of rows to leave out."""

    classes_: np.ndarray = field(init=False)
    """(k,) the labels met in `fit`, ascending."""
    semantic_: LinearProbe = field(init=False)
    """The probe that tells classes."""

    def _gathered(self, X: Any, y: Any) -> LabelledRows:
        pairs = list(X) if y is None else [(X, y)]
        data = LabelledRows(pairs, ignore=None)
        if data.labels.ndim != 2 or data.labels.shape[1] != 4:
            raise InputError(f"the targets have shape {data.labels.shape}; give (n, 4): class, and offset in metres.")
        self.semantic_ = self._probe().fit(
            [(features, np.asarray(of)[:, 0].astype(np.int64)) for features, of in pairs]
        )
        self.classes_ = self.semantic_.classes_
        return data

    def _probe(self) -> LinearProbe:
        """Return the probe for classes, not fitted."""
        same = ("steps", "batch", "lr", "weight_decay", "warmup", "ignore", "blocks", "random_state", "device")
        return LinearProbe(**{name: getattr(self, name) for name in same})

    def _learn(self, data: LabelledRows) -> None:
        classes = data.labels[:, 0].astype(np.int64)
        kept = np.isfinite(data.labels[:, 1:]).all(1) & ~np.isin(classes, [self.ignore, *self.stuff])
        rows = np.flatnonzero(kept)
        if len(rows) < 2:
            raise InputError("no two points belong to things whose class counts; give scenes with instances of some.")
        offsets = torch.from_numpy(data.labels[rows, 1:].astype(np.float32)).to(self._device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            layers = self._layers().to(self._device)
        names = ("steps", "lr", "weight_decay", "warmup")
        descent = Descent(layers.parameters(), clip=_CLIP, **{name: getattr(self, name) for name in names})

        def take(some: np.ndarray) -> Tensor:
            return self.semantic_._standardized(data, rows[some])

        losses = torch.zeros(self.steps, device=self._device)
        batches = minibatches(take, len(rows), self.steps, self.batch, self.random_state)
        for step, some in enumerate(batches):
            descent.begin(step)
            loss = offset_loss(layers(some.x), offsets[some.rows])
            loss.backward()
            descent.end()
            losses[step] = loss.detach()
        self._offset = self._folded(layers, take, len(rows))
        self.losses_ = [float(part.mean()) for part in losses.tensor_split(10) if len(part)]

    def _layers(self) -> nn.Sequential:
        if self.hidden is None:
            return nn.Sequential(nn.Linear(self._width, 3))
        norm = nn.BatchNorm1d(self.hidden, eps=1e-3, track_running_stats=False)  # see `_folded`
        return nn.Sequential(
            nn.Linear(self._width, self.hidden, bias=False), norm, nn.ReLU(), nn.Linear(self.hidden, 3)
        )

    def _folded(self, layers: nn.Sequential, take: Any, rows: int) -> dict[str, Tensor]:
        """Return weights and biases; BatchNorm becomes part of the layer before it, by its statistics over all rows."""
        last = {"weight": layers[-1].weight.detach(), "bias": layers[-1].bias.detach()}
        if self.hidden is None:
            return last
        first, norm = layers[0], layers[1]
        with torch.no_grad():
            total = squares = torch.zeros(self.hidden, dtype=torch.float64, device=self._device)
            for start in range(0, rows, self._rows):
                x = first(take(np.arange(start, min(start + self._rows, rows)))).double()
                total, squares = total + x.sum(0), squares + x.square().sum(0)
            mean = total / rows
            factor = norm.weight / (squares / rows - mean.square() + norm.eps).clamp(min=norm.eps).sqrt()
            inner = {"inner.weight": first.weight * factor[:, None], "inner.bias": norm.bias - mean * factor}
        return {name: value.float() for name, value in inner.items()} | last

    def _values(self, X: Tensor) -> Tensor:
        found, x = self.semantic_._values(X).softmax(1), self.semantic_._input(X)
        chances = found.new_zeros((len(X), int(self.classes_.max()) + 1))
        chances[:, torch.from_numpy(self.classes_).to(X.device)] = found
        if self.hidden is not None:
            x = F.linear(x, self._offset["inner.weight"], self._offset["inner.bias"]).relu()
        return torch.cat([chances, F.linear(x, self._offset["weight"], self._offset["bias"])], 1)

    def _state(self) -> dict[str, Tensor]:
        semantic = {f"semantic.{name}": value for name, value in self.semantic_._state().items()}
        offset = {f"offset.{name}": value for name, value in self._offset.items()}
        return semantic | offset | {"losses": torch.tensor(self.losses_, dtype=torch.float64)}

    def _shapes(self, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        self.semantic_ = self._probe()
        self.semantic_.n_features_in_, self.semantic_.classes_ = self.n_features_in_, self.classes_
        shapes = {f"semantic.{name}": shape for name, shape in self.semantic_._shapes({}).items()}
        width = self._width if self.hidden is None else self.hidden
        shapes |= {"offset.weight": (3, width), "offset.bias": (3,), "losses": (min(10, self.steps),)}
        if self.hidden is not None:
            shapes |= {"offset.inner.weight": (self.hidden, self._width), "offset.inner.bias": (self.hidden,)}
        return shapes

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        parts = {part: {n[len(part) :]: t for n, t in tensors.items() if n.startswith(part)} for part in _PARTS}
        self.semantic_._restore(parts["semantic."])
        self._offset = {name: value.float().to(self._device) for name, value in parts["offset."].items()}
        self.losses_ = tensors["losses"].tolist()


_PARTS = ("semantic.", "offset.")  # of the names of the tensors


def offset_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Return PointGroup's loss of offsets (n, 3): mean absolute error, summed over the axes, less the mean cosine.

    >>> float(offset_loss(torch.tensor([[1.0, 0, 0]]), torch.tensor([[3.0, 0, 0]])))
    1.0
    """
    return (predicted - true).abs().sum(1).mean() - F.cosine_similarity(predicted, true, dim=1).mean()
