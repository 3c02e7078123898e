"""The terms of the loss of one level of one crop: what the student's features are held against."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .config import PretrainConfig
from .networks import Clusters, Heads, Student, Teacher
from .targets import Moments, assignments, disagreement, distance, placeless
from .views import Counterparts


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


class Term(Protocol):
    """A part of the loss."""

    def __call__(self, at: Level) -> Iterator[Tensor]:
        """Yield what a level adds to the loss; nothing where there is nothing to learn from."""
        ...


@dataclass(frozen=True, eq=False)
class Clustering:
    """Hidden voxels are assigned to prototypes as the teacher assigns their counterparts."""

    student: Clusters
    teacher: Clusters
    weight: float
    temperatures: tuple[float, float]

    def __call__(self, at: Level) -> Iterator[Tensor]:
        """Yield the cross entropy of the hidden voxels' assignments."""
        if len(at.hidden):
            with torch.no_grad():
                projected = at.at_crop(self.teacher.heads[at.level](at.teacher_features))[at.hidden]
                assigned = assignments(self.teacher.scores(at.level, projected), self.temperatures[1])
            scores = self.student.scores(at.level, self.student.heads[at.level](at.features[at.hidden]))
            yield self.weight * disagreement(scores, assigned, self.temperatures[0])


@dataclass(frozen=True, eq=False)
class Regression:
    """The predictor's output points where the teacher's normalised features do."""

    predictor: Heads
    moments: Moments
    hidden: float
    """Weight of hidden voxels."""
    visible: float
    """Weight of visible voxels."""
    centred: bool
    """Whether targets lose their running mean and deviation first."""
    placeless: bool
    """Whether they then lose what their place explains."""

    def __call__(self, at: Level) -> Iterator[Tensor]:
        """Yield the distances of hidden voxels and of visible ones, where they have a weight."""
        weighted = [(rows, w) for rows, w in ((at.hidden, self.hidden), (at.visible, self.visible)) if w and len(rows)]
        if weighted:
            targets, predicted = self.targets(at), self.predictor[at.level](at.features)
            for rows, weight in weighted:
                yield weight * distance(predicted[rows], targets[rows])

    @torch.no_grad()
    def targets(self, at: Level) -> Tensor:
        """Return what is to be predicted (m, c) at the voxels of the crop."""
        features = at.teacher_features
        if self.centred:
            features = self.moments.standardized(at.level, features)
        if self.placeless:
            features = placeless(features, at.cells)
        return at.at_crop(torch.nn.functional.layer_norm(features, features.shape[1:]))


def terms(config: PretrainConfig, student: Student, teacher: Teacher, moments: Moments) -> list[Term]:
    """Return the terms that a configuration asks for."""
    found: list[Term] = []
    if config.prototypes:
        assert student.clusters is not None
        assert teacher.clusters is not None
        parts = student.clusters, teacher.clusters
        found.append(Clustering(*parts, weight=config.prototype_weight, temperatures=config.temperatures))
    regression = Regression(
        student.predictor,
        moments,
        hidden=0.0 if config.prototypes else 1.0,  # the clusters take its place
        visible=config.visible,
        centred=config.target == "centred",
        placeless=config.placeless,
    )
    return [*found, regression]


def level_loss(at: Level, parts: Sequence[Term]) -> Tensor:
    """Return the sum of the terms at a level, 0 where a mask leaves it nothing to learn from."""
    result = at.features.sum() * 0
    for term in parts:
        for value in term(at):
            result = result + value
    return result
