"""What training adds to a pass of any family: stochastic depth, attention dropout, shuffled curves."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..sparse.hierarchy import Grid


@dataclass(frozen=True)
class Noise:
    """What training adds to a pass and evaluation does not: stochastic depth, attention dropout, shuffled curves."""

    generator: torch.Generator

    def paths(self, rate: float, grid: Grid) -> Tensor | None:
        """Return (m, 1): 0 for a scene whose branch is dropped, else 1 / (1 - rate); None when nothing can drop."""
        if rate == 0:
            return None
        kept = torch.rand(grid.scenes, generator=self.generator, device=self.generator.device) >= rate
        return (kept / (1 - rate)).to(grid.keys.device)[grid.cells[:, 0].long(), None]

    def seed(self) -> int:
        """Draw a seed for an operation that makes its own random numbers."""
        return int(torch.randint(1 << 62, (), generator=self.generator, device=self.generator.device))

    def shuffled(self, curves: tuple[str, ...]) -> tuple[str, ...]:
        """Return the curves in a random order."""
        order = torch.randperm(len(curves), generator=self.generator, device=self.generator.device)
        return tuple(curves[i] for i in order.tolist())


def noise(module: nn.Module, generator: torch.Generator | None) -> Noise | None:
    """Return None in evaluation; in training the noise drawn from `generator`, without which the pass fails."""
    if not module.training:
        return None
    if generator is None:
        raise InputError(
            "the network is in training mode, which draws random numbers; pass generator=torch.Generator(), "
            "or call .eval() first."
        )
    return Noise(generator)


def joined(x: Tensor, y: Tensor, paths: Tensor | None) -> Tensor:
    """Return `y`, which is `x` plus a branch, with the branch dropped or scaled per scene."""
    return y if paths is None else torch.lerp(x, y, paths.to(x.dtype))
