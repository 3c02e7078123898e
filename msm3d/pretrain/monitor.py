"""Is the run alive? How many directions its features use, and whether they have all become one."""

import torch
from torch import Tensor

from ..errors import Msm3dError

ROWS = 2048  # features looked at: enough for a few hundred channels
LEAST_RANK = 1.5  # of every level's directions: below it they differ along hardly more than one
LEAST_STD = 1e-3  # of unit features, per channel, times the root of the channels: 0 is one single feature, 1 is noise
PATIENCE = 3  # looks in a row


class CollapseError(Msm3dError, RuntimeError):
    """Features have collapsed: the run teaches nothing any more."""


def effective_rank(features: Tensor) -> float:
    """Return the number of directions (1 to c) that features (m, c) use: e to the entropy of their spectrum.

    >>> round(effective_rank(torch.eye(4).repeat(8, 1)), 2)
    3.0

    Source: Roy and Vetterli, The effective rank, EUSIPCO 2007; of centred features here, so that a shared part, however
    large, counts for nothing.
    """
    spectrum = torch.linalg.svdvals(_some(features) - _some(features).mean(0))
    share = spectrum / spectrum.sum().clamp(min=1e-12)
    return float(torch.special.entr(share).sum().exp())


def spread(features: Tensor) -> float:
    """Return the mean deviation of unit features (m, c) per channel, times sqrt(c): 0 is collapse, near 1 is even."""
    return float(torch.nn.functional.normalize(_some(features), dim=1).std(0).mean()) * features.shape[1] ** 0.5


def _some(features: Tensor) -> Tensor:
    """Return evenly spaced rows, in float32."""
    return features[:: max(len(features) // ROWS, 1)][:ROWS].float()


class Monitor:
    """Looks at the teacher's features now and then, and stops a run whose features have collapsed."""

    def __init__(self) -> None:
        self.bad = 0

    def look(self, step: int, features: list[Tensor]) -> dict[str, list[float]]:
        """Return rank and spread per level, or fail where one has been too low for several looks in a row."""
        ranks, spreads = [effective_rank(f) for f in features], [spread(f) for f in features]
        level = next((i for i in range(len(ranks)) if ranks[i] < LEAST_RANK or spreads[i] < LEAST_STD), None)
        self.bad = 0 if level is None else self.bad + 1
        if self.bad >= PATIENCE:
            raise CollapseError(
                f"the features of level {level} have collapsed at step {step}: effective rank {ranks[level or 0]:.2f}, "
                f"spread {spreads[level or 0]:.4f}; start again with a lower lr, target=centred or prototypes=256."
            )
        return {"rank": [round(r, 2) for r in ranks], "spread": [round(s, 4) for s in spreads]}
