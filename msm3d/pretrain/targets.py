"""What the student's predictions are compared with, and how: the loss of one level of one crop."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import PretrainConfig
from .networks import Student, Teacher
from .views import Counterparts, Masked, View

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


def level_loss(
    level: int,
    features: Tensor,
    teacher_features: Tensor,
    masked: Masked,
    linked: Counterparts,
    view: View,
    config: PretrainConfig,
    student: Student,
    teacher: Teacher,
    moments: Moments,
) -> Tensor:
    """Return the loss of a level of a crop, 0 where a mask leaves nothing to learn from.

    With prototypes, hidden voxels are assigned to them as the teacher assigns their counterparts; else the predictor's
    output is to point where the teacher's normalised features do, which visible voxels may be asked for in both cases.

    `features` (m, c) are the student's of the crop, before they are scaled up; `teacher_features` (k, c) are of the
    whole `view` in which the targets are, at places that `linked` knows.
    """
    result, hidden = features.sum() * 0, masked.hidden(level)
    whole = len(masked.seen[0]) == len(masked.crop.grids[0])  # then all counts: the objective without its mask
    rows, seen = (hidden | whole).nonzero()[:, 0], (~hidden).nonzero()[:, 0]
    if student.clusters is not None and teacher.clusters is not None and len(rows):
        with torch.no_grad():
            projected = linked.mean(level, teacher.clusters.heads[level](teacher_features), len(features))[rows]
            assigned = assignments(teacher.clusters.scores(level, projected), config.temperatures[1])
        scores = student.clusters.scores(level, student.clusters.heads[level](features[rows]))
        result = result + config.prototype_weight * disagreement(scores, assigned, config.temperatures[0])
    weights = (rows, 0.0 if config.prototypes else 1.0), (seen, config.visible)
    if weighted := [(some, weight) for some, weight in weights if weight and len(some)]:
        with torch.no_grad():
            wanted = moments.standardized(level, teacher_features) if config.target == "centred" else teacher_features
            if config.placeless:
                wanted = placeless(wanted, view.hierarchy.grids[level].cells[:, 1:])
            wanted = linked.mean(level, F.layer_norm(wanted, wanted.shape[1:]), len(features))
        predicted = student.predictor[level](features)
        for some, weight in weighted:
            result = result + weight * distance(predicted[some], wanted[some])
    return result
