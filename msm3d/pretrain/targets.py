"""What the student's predictions are compared with, and how: the loss of one level of one crop."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import PretrainConfig
from .networks import Student, Teacher
from .views import Counterparts

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


@dataclass(frozen=True, eq=False)
class Level:
    """A level of a crop, with what the teacher has at the same places."""

    level: int
    """0 is the finest."""
    features: Tensor
    """(m, c): the student's of the crop, before they are scaled up."""
    teacher_features: Tensor
    """(k, c): the teacher's of the whole view that the targets come from."""
    cells: Tensor
    """(k, 3): the voxels of that view."""
    counterparts: Counterparts
    """Of the crop in that view."""
    hidden: Tensor
    """(r,): the rows that count as hidden; where nothing is hidden, all of them, the objective without its mask."""
    visible: Tensor
    """(s,): the rows that the student has seen."""

    def at_crop(self, features: Tensor) -> Tensor:
        """Return features (k, d) of the view at the voxels of the crop (m, d)."""
        return self.counterparts.mean(self.level, features, len(self.features))


def level_loss(at: Level, config: PretrainConfig, student: Student, teacher: Teacher, moments: Moments) -> Tensor:
    """Return the loss at a level, 0 where a mask leaves nothing to learn from.

    With prototypes, hidden voxels are assigned to them as the teacher assigns their counterparts; else the predictor's
    output is to point where the teacher's normalised features do, which visible voxels may be asked for in both cases.
    """
    result, level = at.features.sum() * 0, at.level
    if student.clusters is not None and teacher.clusters is not None and len(at.hidden):
        with torch.no_grad():
            projected = at.at_crop(teacher.clusters.heads[level](at.teacher_features))[at.hidden]
            assigned = assignments(teacher.clusters.scores(level, projected), config.temperatures[1])
        scores = student.clusters.scores(level, student.clusters.heads[level](at.features[at.hidden]))
        result = result + config.prototype_weight * disagreement(scores, assigned, config.temperatures[0])
    weights = (at.hidden, 0.0 if config.prototypes else 1.0), (at.visible, config.visible)
    weighted = [(rows, weight) for rows, weight in weights if weight and len(rows)]
    if weighted:
        targets, predicted = _targets(at, config, moments), student.predictor[level](at.features)
        for rows, weight in weighted:
            result = result + weight * distance(predicted[rows], targets[rows])
    return result


@torch.no_grad()
def _targets(at: Level, config: PretrainConfig, moments: Moments) -> Tensor:
    """Return what the predictor is to say (m, c) at the voxels of the crop."""
    features = at.teacher_features
    if config.target == "centred":
        features = moments.standardized(at.level, features)
    if config.placeless:
        features = placeless(features, at.cells)
    return at.at_crop(F.layer_norm(features, features.shape[1:]))
