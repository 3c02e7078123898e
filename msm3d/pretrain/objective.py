"""Masked Scene Modeling: the loss of one scene, step by step as in the paper's Figures 4 and 5.

Two augmented views of a scene are voxelised apart. The student sees a crop of each with patches missing: its encoder
is given the visible voxels alone, its decoder the crop with a token where a voxel is hidden, and from coarse to fine
every level predicts, before it is scaled up, what the teacher says of the same places in the *other* view, which the
teacher sees whole. The teacher is a slow average of the student.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from ..ops import Backend
from ..scan.augment import cropped
from ..scan.cloud import PointCloud
from ..scan.rescan import rescanned
from .config import PretrainConfig
from .masking import Masked, crop, mask
from .networks import Classifiers, Student, Teacher
from .targets import Moments, assignments, disagreement, distance, placeless
from .views import Counterparts, View, view_of


@dataclass(frozen=True, eq=False)
class Sample:
    """A scene made ready for a step: everything random about its data is drawn."""

    views: tuple[View, View]
    masked: tuple[Masked, Masked]
    counterparts: tuple[Counterparts, Counterparts]
    """Of each student's crop, in the view that its targets come from."""
    labels: tuple[Tensor, Tensor] | None = None
    """Class (k,) of each finest voxel of the crops, -1 for none, where labels count and the scene has some."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a scene gives: something to learn from, and something to log."""

    loss: Tensor
    per_level: list[float]
    """The loss of each supervised level, fine to coarse."""
    labelled: float
    """The mean cross entropy of the classifiers; 0 where no label counts."""
    moments: list[Tensor]
    """Of the teacher's features, for `Moments.update`."""
    teacher: list[Tensor]
    """The teacher's features of the first view, for the monitors."""


def prepare(
    cloud: PointCloud,
    config: PretrainConfig,
    share: float,
    ops: Backend,
    device: torch.device,
    generator: torch.Generator,
) -> Sample:
    """Return two views of a scene, a crop and a mask of each, and how they are linked.

    Args:
        cloud: with colour and normal.
        config: of the run.
        share: of the patches to hide, `config.hidden_share(step)`.
        ops: the backend that builds the tables.
        device: where the networks are.
        generator: of everything random here.
    """
    cloud = cropped(rescanned(cloud, config.rescan, generator), config.view, generator)
    shape = config.backbone
    views = [view_of(cloud, config.augmentation, shape, ops, device, generator) for _ in range(2)]
    masked = []
    for view, middle in zip(views, _middles(cloud, config.apart, generator), strict=True):
        keep = crop(view, middle, config.crop, config.crop_voxels, generator)
        part, _ = view.hierarchy.subset(keep)
        masked.append(Masked.of(view, keep, mask(part, share, config.masking, generator)))
    linked, labels = [], []
    for i in range(2):
        points = views[i].points[masked[i].rows[0]]
        if config.labels and cloud.segment is not None:
            labels.append(torch.from_numpy(cloud.segment).to(device)[points])
        linked.append(Counterparts.of(points, masked[i].crop.ancestors(), views[1 - i if config.cross_view else i]))
    known = (labels[0], labels[1]) if labels else None
    return Sample((views[0], views[1]), (masked[0], masked[1]), (linked[0], linked[1]), known)


def loss(
    sample: Sample,
    student: Student,
    teacher: Teacher,
    moments: Moments,
    config: PretrainConfig,
    ops: Backend,
    generator: torch.Generator,
) -> Outcome:
    """Return the loss of a scene, with gradients to the student alone.

    Args:
        sample: of `prepare`.
        student: what learns, in training mode.
        teacher: what it learns from, in evaluation mode: no dropout, no dropped paths.
        moments: of the teacher's features in the steps before.
        config: of the run.
        ops: the backend.
        generator: of the student's stochastic depth and dropout.
    """
    with torch.no_grad():  # the teacher sees whole views
        weights = rounded(teacher.unet, config.precision)
        said = [functional_call(teacher.unet, weights, (v.features, v.hierarchy, ops)) for v in sample.views]
    levels = range(config.backbone.levels) if config.levels == "all" else range(1)
    total, per_level, labelled = torch.zeros((), device=said[0][0].device), [0.0] * len(levels), 0.0
    for i in range(2):
        view, masked, linked = sample.views[i], sample.masked[i], sample.counterparts[i]
        visible = view.features[masked.rows[0][masked.seen[0]]]
        weights = rounded(student.backbone, config.precision)
        features = functional_call(student.backbone, weights, (visible, masked, ops, generator))
        other = 1 - i if config.cross_view else i
        targets, cells = said[other], [grid.cells[:, 1:] for grid in sample.views[other].hierarchy.grids]
        for level in levels:  # every level before it is scaled up
            parts = features[level], targets[level], cells[level]
            part = _level_loss(level, *parts, masked, linked, student, teacher, moments, config)
            total = total + part / (2 * len(levels))
            per_level[level] += float(part.detach()) / 2
        if sample.labels is not None and student.classifiers is not None:
            named = _label_loss(features, masked.crop.ancestors(), sample.labels[i], student.classifiers)
            total = total + config.labels * named / 2
            labelled += float(named.detach()) / 2
    both = [torch.stack(pair).mean(0) for pair in zip(*(Moments.of(features) for features in said), strict=True)]
    return Outcome(total, per_level, labelled, both, said[0])


def _level_loss(
    level: int,
    features: Tensor,
    target: Tensor,
    cells: Tensor,
    masked: Masked,
    linked: Counterparts,
    student: Student,
    teacher: Teacher,
    moments: Moments,
    config: PretrainConfig,
) -> Tensor:
    """Return the loss of one level of one crop: on hidden voxels, and on visible ones where they have a weight.

    Where nothing is hidden, every voxel counts as both: that is the objective without its mask.
    """
    n, hidden = len(features), masked.hidden(level)
    rows, others = (hidden | masked.whole).nonzero()[:, 0], (~hidden).nonzero()[:, 0]
    result = features.sum() * 0  # a mask may leave a level nothing to learn from
    if config.prototypes:
        assert student.clusters is not None
        assert teacher.clusters is not None
        if len(rows):
            with torch.no_grad():
                projected = linked.mean(level, teacher.clusters.heads[level](target), n)[rows]
                assigned = assignments(teacher.clusters.scores(level, projected), config.temperatures[1])
            scores = student.clusters.scores(level, student.clusters.heads[level](features[rows]))
            result = result + config.prototype_weight * disagreement(scores, assigned, config.temperatures[0])
    weights = [(rows, 0.0 if config.prototypes else 1.0), (others, config.visible)]
    if any(weight and len(chosen) for chosen, weight in weights):
        with torch.no_grad():
            normal = moments.standardized(level, target) if config.target == "centred" else target
            normal = placeless(normal, cells) if config.placeless else normal
            wanted = linked.mean(level, torch.nn.functional.layer_norm(normal, normal.shape[1:]), n)
        predicted = student.predictor[level](features)
        for chosen, weight in weights:
            if weight and len(chosen):
                result = result + weight * distance(predicted[chosen], wanted[chosen])
    return result


def _label_loss(features: list[Tensor], ancestors: list[Tensor], labels: Tensor, classifiers: Classifiers) -> Tensor:
    """Return the mean over levels of the cross entropy of each level's cells with the mix of labels in them."""
    rows = (labels >= 0).nonzero()[:, 0]
    result, classes = features[0].sum() * 0, len(classifiers[0])
    if not len(rows):
        return result
    for level, (one, cell) in enumerate(zip(features, ancestors, strict=True)):
        mix = one.new_zeros(len(one) * classes)
        mix.index_add_(0, cell[rows] * classes + labels[rows], torch.ones_like(rows, dtype=mix.dtype))
        mix = mix.view(len(one), classes)
        known = mix.sum(1).nonzero()[:, 0]
        mix = mix[known] / mix[known].sum(1, keepdim=True)
        result = result - (mix * classifiers.scores(level, one[known]).log_softmax(1)).sum(1).mean()
    return result / len(features)


def rounded(network: torch.nn.Module, precision: str) -> Mapping[str, Any]:
    """Return the network's parameters as they are multiplied: matrices in bfloat16, or everything as it is.

    Gradients flow to the float32 parameters, which is where small updates are not lost.
    """
    if precision == "fp32":
        return dict(network.named_parameters())
    return {name: p.bfloat16() if p.dim() > 1 else p for name, p in network.named_parameters()}


def _middles(cloud: PointCloud, apart: float, generator: torch.Generator) -> tuple[int, int]:
    """Return two points of the scene, at most `apart` metres from each other in x and y."""
    first = int(torch.randint(len(cloud), (), generator=generator))
    near = np.flatnonzero(np.square(cloud.coord[:, :2] - cloud.coord[first, :2]).sum(1) <= apart**2)
    return first, int(near[int(torch.randint(len(near), (), generator=generator))])
