"""How weights move: AdamW whose rate rises and then falls, with gradients that processes share and that are clipped."""

from collections.abc import Iterable, Sequence
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, nn

from .processes import ALONE, Group

BETAS = (0.9, 0.95)  # of AdamW [paper, Tables 14, 15 and 19]


def schedule(step: int, steps: int, warmup: float) -> float:
    """Return the share of the largest learning rate: a linear rise, then half a cosine down to 0.

    >>> [round(schedule(step, 100, 0.1), 3) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    rise = int(warmup * steps)
    return (step + 1) / rise if step < rise else (1 + cos(pi * (step - rise) / (steps - rise))) / 2


def optimizer(parts: Iterable[Iterable[nn.Parameter]], lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW that decays matrices, and neither scales nor biases: two groups for each part."""
    groups = []
    for part in map(list, parts):
        groups.append({"params": [p for p in part if p.dim() > 1], "weight_decay": weight_decay})
        groups.append({"params": [p for p in part if p.dim() <= 1], "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=lr, betas=BETAS, fused=True)


class Descent:
    """The optimiser of a run: `begin` a step, call `backward` as often as you like, and `end` it.

    Args:
        parameters: the weights to train; matrices decay, scales and biases do not.
        steps: number of steps of the whole run.
        lr: the largest learning rate.
        warmup: share of the steps, 0 to 1, in which the rate rises; along a cosine it then falls to 0.
        weight_decay: of AdamW, on matrices.
        clip: the largest norm of the gradient.
        group: the processes that share a step.
        shares: of the learning rate, one for each of the parameters; all take the whole rate by default.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        steps: int,
        lr: float = 1e-3,
        warmup: float = 0.01,
        weight_decay: float = 0.05,
        clip: float = 3.0,
        group: Group = ALONE,
        shares: Sequence[float] | None = None,
    ) -> None:
        parameters = list(parameters)
        rated = zip(parameters, shares or [1.0] * len(parameters), strict=True)
        trained = [(parameter, share) for parameter, share in rated if parameter.requires_grad]
        self.parameters = [parameter for parameter, _ in trained]
        self.steps, self.lr, self.warmup, self.clip, self.group = steps, lr, warmup, clip, group
        self.shares = list(dict.fromkeys(share for _, share in trained))
        parts = [[parameter for parameter, share in trained if share == one] for one in self.shares]
        self.optimizer = optimizer(parts, lr, weight_decay)

    def begin(self, step: int) -> float:
        """Forget the gradients, and set and return the learning rate of `step`, counted from 0."""
        lr = self.lr * schedule(step, self.steps, self.warmup)
        for i, group in enumerate(self.optimizer.param_groups):
            group["lr"] = lr * self.shares[i // 2]
        self.optimizer.zero_grad()
        return lr

    def end(self, *shared: Tensor) -> Tensor:
        """Move the weights along the gradients, and return the norm that these had before they were clipped.

        Gradients are summed over all processes, and so are the tensors `shared`, in place and in the same message.
        """
        for parameter in self.parameters:  # zero where a step had no use for it: the same list in every process
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.group.sum([*(p.grad for p in self.parameters if p.grad is not None), *shared])
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Return the optimiser's state, for a checkpoint."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the optimiser's state from a checkpoint."""
        self.optimizer.load_state_dict(state)
