"""A small network on frozen features: one hidden layer, for classes that no plane separates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import AT_LEAST_1
from .softmax import Softmax


@dataclass(kw_only=True, eq=False, repr=False)
class MLPHead(Softmax):
    """A hidden layer with ReLU and a linear one, learned by AdamW with a cosine schedule.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).uniform(-1, 1, (600, 2))
    >>> y = (X[:, 0] * X[:, 1] > 0).astype(int)  # of an exclusive or, no line tells more than half
    >>> MLPHead(steps=300).fit(X, y).score(X, y) > 0.9
    True

    Both layers begin as torch's linear layers do, uniform within 1 / sqrt(width), drawn by `random_state`, which also
    is the seed of the order of the rows. After `fit` there are `classes_` (k,) and `losses_`, as of `LinearProbe`.
    """

    name = "mlp"
    constraints: ClassVar = {**Softmax.constraints, "hidden": AT_LEAST_1}

    hidden: int = 128
    """Width of the hidden layer."""
    normalize: bool = False
    """Scale each slice of `blocks`, or the whole row, to length 1 first, so that every level counts the same: better
    where labels are few [benchmarks/tasks/teach.py]."""

    def _read(self, x: Tensor) -> Tensor:
        return self._levelled(x) if self.normalize else x

    def _sizes(self, classes: int, width: int) -> dict[str, tuple[int, ...]]:
        hidden = {"hidden.weight": (self.hidden, width), "hidden.bias": (self.hidden,)}
        return hidden | {"weight": (classes, self.hidden), "bias": (classes,)}

    def _begins(self, sizes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(self.random_state)
        begun = {}
        for name, size in sizes.items():
            bound = sizes[name.replace("bias", "weight")][1] ** -0.5
            begun[name] = torch.empty(size).uniform_(-bound, bound, generator=generator)
        return begun

    def _logits(self, x: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
        x = F.relu(F.linear(x, learned["hidden.weight"], learned["hidden.bias"]))
        return F.linear(x, learned["weight"], learned["bias"])
