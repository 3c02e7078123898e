"""The linear probe: one linear layer, learned on frozen features."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...ops import backend
from .base import Of
from .rows import LabelledRows
from .softmax import Batch, Softmax, _tenths


@dataclass(kw_only=True, eq=False, repr=False)
class LinearProbe(Softmax):
    """Softmax regression by AdamW with a cosine schedule, as the paper's linear probing does it [Table 15].

    >>> X = np.random.default_rng(0).normal(size=(500, 4))
    >>> y = (X @ [[1, 0], [0, 1], [1, 1], [0, 0]]).argmax(1)
    >>> LinearProbe(steps=300).fit(X, y).score(X, y) > 0.9
    True

    After `fit`: `classes_` (k,), `coef_` (k, c) and `intercept_` (k,), for which features @ coef_.T + intercept_ are
    the logits, whether the columns were standardised or not, and `losses_`, the mean loss of each tenth of the steps.
    The weights start at 0, so `random_state` is the seed of the order of the rows.
    """

    name = "linear"

    @classmethod
    def of_layer(cls, weight: Tensor, bias: Tensor, *, of: Of = None) -> "LinearProbe":
        """Return the probe of a layer that was learned elsewhere, weight (k, c) and bias (k,), of the classes 0 to
        k - 1; its losses are not known, NaN."""
        probe = cls(standardize=False)
        probe.classes_, probe.n_features_in_ = np.arange(len(weight)), weight.shape[1]
        probe.described_by(of, weight.shape[1])
        losses = torch.full((len(_tenths(probe.steps)),), float("nan"), dtype=torch.float64)
        about = {"mean": torch.zeros(()), "scale": torch.ones(()), "losses": losses}
        probe._restore({"weight": weight, "bias": bias} | about)
        return probe

    def _sizes(self, classes: int, width: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (classes, width), "bias": (classes,)}

    def _begins(self, sizes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        return {name: torch.zeros(size) for name, size in sizes.items()}

    def _logits(self, x: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        return F.linear(x, learned["weight"], learned["bias"])

    def _loss(self, batch: Batch, labels: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        labels, rows = (labels[batch.rows], None) if batch.place is None else (labels, batch.rows)
        return backend(self._device).cross_entropy(batch.values, labels, learned["weight"], learned["bias"], rows)

    def _learn(self, data: LabelledRows) -> None:
        super()._learn(data)
        self._fold()

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        super()._restore(tensors)
        self._fold()

    def _fold(self) -> None:
        """Set `coef_` and `intercept_`, the layer on features as they come."""
        weight, bias = (self._learned[name].cpu() for name in ("weight", "bias"))
        mean, scale = self._mean.cpu(), self._scale.cpu()
        folded = weight.double() / scale
        coef = torch.zeros((len(self.classes_), self.n_features_in_), dtype=torch.float64)
        coef[:, slice(None) if self._columns is None else torch.from_numpy(self._columns)] = folded
        self.coef_: Any = coef.numpy()
        self.intercept_: Any = (bias - (folded * mean).sum(1)).numpy()
