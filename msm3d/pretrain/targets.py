"""What the student's predictions are compared with, and how."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RATE = 0.05  # of the running moments: about the last twenty steps count


class Moments(nn.Module):
    """Running mean and variance of the teacher's features, per level and channel.

    A step uses those of the steps before it, so that they do not depend on how its scenes are spread over processes.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        for level, width in enumerate(widths):
            self.register_buffer(f"sums{level}", torch.zeros(2, width))
        self.register_buffer("weight", torch.zeros(()))

    @staticmethod
    def of(features: list[Tensor]) -> list[Tensor]:
        """Return per level mean and mean square (2, c) of features (m, c)."""
        return [torch.stack([f.mean(0), f.square().mean(0)]) for f in features]

    def update(self, moments: list[Tensor]) -> None:
        """Take in a step's moments, averaged over its views."""
        for level, new in enumerate(moments):
            getattr(self, f"sums{level}").lerp_(new, RATE)
        self.weight.lerp_(torch.ones_like(self.weight), RATE)

    def standardized(self, level: int, features: Tensor) -> Tensor:
        """Return features (m, c) with mean 0 and deviation 1 per channel; as they are in the first step."""
        if self.weight == 0:
            return features
        mean, square = getattr(self, f"sums{level}") / self.weight
        return (features - mean) / (square - mean.square()).clamp(min=0).sqrt().add(1e-4)


def placeless(features: Tensor, cells: Tensor) -> Tensor:
    """Return features (m, c) less what their cells' places (m, 3) explain: a ridge fit of a quadratic, cubic in z.

    >>> cells = torch.randint(0, 20, (500, 3), generator=torch.Generator().manual_seed(0)).double()
    >>> bool(placeless(cells @ torch.ones(3, 2).double(), cells).abs().max() < 0.2)
    True
    """
    place = cells.to(features.dtype)
    x, y, z = ((place - place.mean(0)) / place.std(0).clamp(min=0.5)).T
    terms = torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x, y * y, z * z, z**3], 1)
    square = terms.T @ terms + 1e-3 * len(terms) * torch.eye(terms.shape[1], dtype=terms.dtype, device=terms.device)
    return features - terms @ torch.linalg.solve(square, terms.T @ features)


def distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean over voxels of 1 - cosine: the same for every scale, so that no level outweighs another."""
    return (1 - F.cosine_similarity(predicted, target, dim=1)).mean()


def assignments(scores: Tensor, temperature: float, rounds: int = 3) -> Tensor:
    """Return soft assignments (m, k) of voxels to clusters: rows sum to 1, and clusters are about equally full.

    >>> assignments(torch.tensor([[1.0, 0.9], [1.0, 0.9]]), 0.1).tolist()
    [[0.5, 0.5], [0.5, 0.5]]

    Source: Sinkhorn's algorithm as in SwAV [arXiv 2006.09882].
    """
    kernel = ((scores - scores.max()) / temperature).exp()
    rows = torch.ones(len(kernel), device=kernel.device)
    columns = torch.ones(kernel.shape[1], device=kernel.device)
    for _ in range(rounds):  # scale columns, then rows; the matrix itself is scaled once, at the end
        columns = len(kernel) / kernel.shape[1] / (rows @ kernel).clamp(min=1e-30)
        rows = 1 / (kernel @ columns).clamp(min=1e-30)
    return kernel.mul_(columns).mul_(rows[:, None])


def disagreement(scores: Tensor, assigned: Tensor, temperature: float) -> Tensor:
    """Return the mean cross entropy of the student's `scores` (m, k) against assignments (m, k)."""
    return -(assigned * F.log_softmax(scores / temperature, 1)).sum(1).mean()
