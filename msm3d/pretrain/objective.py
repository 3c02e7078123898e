"""Masked Scene Modeling: the loss of one scene, step by step as in the paper's Figures 4 and 5; see docs/how.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from ..errors import InputError
from ..ops import Backend
from ..scan.augment import cropped
from ..scan.cloud import PointCloud
from ..scan.rescan import rescanned
from .config import PretrainConfig
from .networks import Classifiers, Objects, Student, Teacher
from .targets import Moments, level_loss
from .views import Counterparts, Masked, View, crop, mask, view_of


@dataclass(frozen=True, eq=False)
class Sample:
    """A scene made ready for a step: everything random about its data is drawn."""

    views: list[View]
    masked: list[Masked]
    counterparts: list[Counterparts]  # of each student's crop, in the view that its targets come from
    labels: list[Tensor]
    """Class (k,) of each finest voxel of the crops, -1 for none; empty unless labels count and the scene has some."""
    instances: list[Tensor]  # the same of its object


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a scene gives: something to learn from, and something to log."""

    loss: Tensor
    per_level: list[float]  # the loss of each supervised level, fine to coarse
    labelled: float  # the mean cross entropy of the classifiers; 0 where no label counts
    objects: float  # the same of telling objects apart
    moments: list[Tensor]  # of the teacher's features, for `Moments.update`
    teacher: list[Tensor]  # the teacher's features of the first view, for the monitors


def prepare(
    cloud: PointCloud,
    config: PretrainConfig,
    share: float,
    ops: Backend,
    generator: torch.Generator,
) -> Sample:
    """Return two views of a scene with colour and normal, a crop of each, `share` of it hidden, and their links.

    All of it is on the CPU, by the backend `ops`, and everything random is drawn from `generator`.

    Raises:
        InputError: labels count, and the scene has one that is no class of the configuration.
    """
    if config.labels and cloud.segment is not None and (most := int(cloud.segment.max(initial=-1))) >= config.classes:
        raise InputError(
            f"a scan has the label {most}, and classes is {config.classes}, so that labels are below it; "
            f"give classes={most + 1}, or -1 for points without a class."
        )
    cloud = cropped(rescanned(cloud, config.rescan, generator), config.view, generator)
    views = [view_of(cloud, config.augmentation, config.backbone, ops, generator) for _ in range(2)]
    masked = []
    for view, middle in zip(views, _middles(cloud, config.apart, generator), strict=True):
        keep = crop(view, middle, config.crop, config.crop_voxels, generator)
        part, _ = view.hierarchy.subset(keep)
        masked.append(Masked.of(view, keep, mask(part, share, config.masking, generator)))
    linked, labels, instances = list[Counterparts](), list[Tensor](), list[Tensor]()
    known = (labels, config.labels, cloud.segment), (instances, config.instances, cloud.instance)
    for i in range(2):
        points = views[i].points[masked[i].rows[0]]
        for found, weight, ids in known:
            if weight and ids is not None:
                found.append(torch.from_numpy(ids)[points])
        linked.append(Counterparts.of(points, masked[i].crop.ancestors(), views[1 - i if config.cross_view else i]))
    return Sample(views, masked, linked, labels, instances)


def loss(
    sample: Sample,
    student: Student,
    teacher: Teacher,
    moments: Moments,
    config: PretrainConfig,
    ops: Backend,
    generator: torch.Generator,
) -> Outcome:
    """Return the loss of a scene, with gradients to the student alone; the teacher is in evaluation mode.

    `moments` are those of the steps before; `generator` is of the student's stochastic depth and dropout.
    """
    with torch.no_grad():  # the teacher sees whole views
        weights = rounded(teacher.unet, config.precision)
        pairs = [(view.features, view.hierarchy) for view in sample.views]
        teacher_features = [functional_call(teacher.unet, weights, (*pair, ops)) for pair in pairs]
    levels = range(config.backbone.levels) if config.levels == "all" else range(1)
    run = config, student, teacher, moments
    total, per_level = torch.zeros((), device=teacher_features[0][0].device), [0.0] * len(levels)
    heads: list[tuple[list[Tensor], Classifiers | Objects | None, float]] = [
        (sample.labels, student.classifiers, config.labels),
        (sample.instances, student.objects, config.instances),
    ]
    named = [0.0] * len(heads)
    for i in range(2):
        view, masked, other = sample.views[i], sample.masked[i], 1 - i if config.cross_view else i
        visible = view.features[masked.rows[0][masked.seen[0]]]
        weights = rounded(student.backbone, config.precision)
        features = functional_call(student.backbone, weights, (visible, masked, ops, generator))
        places = masked, sample.counterparts[i], sample.views[other]
        for level in levels:  # every level before it is scaled up
            part = level_loss(level, features[level], teacher_features[other][level], *places, *run)
            total = total + part / (2 * len(levels))
            per_level[level] += float(part.detach()) / 2
        for k, (ids, head, weight) in enumerate(heads):
            if ids and head is not None:
                part = _named_loss(features, masked.crop.ancestors(), ids[i], head)
                total = total + weight * part / 2
                named[k] += float(part.detach()) / 2
    both = [torch.stack(pair).mean(0) for pair in zip(*map(Moments.of, teacher_features), strict=True)]
    return Outcome(total, per_level, named[0], named[1], both, teacher_features[0])


def _named_loss(features: list[Tensor], ancestors: list[Tensor], ids: Tensor, head: Classifiers | Objects) -> Tensor:
    """Return the mean over levels of the cross entropy of each level's cells with the mix of ids (k,) in them."""
    rows = (ids >= 0).nonzero()[:, 0]
    result, names = features[0].sum() * 0, ids[rows]
    if not len(rows):
        return result
    if isinstance(head, Classifiers):
        count = len(head[0])
    else:  # objects are told apart within a crop
        kinds, names = names.unique(return_inverse=True)
        count = len(kinds)
    for level, (one, cell) in enumerate(zip(features, ancestors, strict=True)):
        mix = one.new_zeros(len(one) * count)
        mix.index_add_(0, cell[rows] * count + names, torch.ones_like(rows, dtype=mix.dtype))
        mix = mix.view(len(one), count)
        known = mix.sum(1).nonzero()[:, 0]
        mix = mix[known] / mix[known].sum(1, keepdim=True)
        result = result - (mix * head.scores(level, one[known], mix).log_softmax(1)).sum(1).mean()
    return result / len(features)


def rounded(network: torch.nn.Module, precision: str) -> Mapping[str, Any]:
    """Return the network's parameters as they are multiplied: matrices in bfloat16, or everything as it is.

    Gradients flow to the float32 parameters, which is where small updates are not lost.
    """
    bf16 = precision == "bf16"
    return {name: p.bfloat16() if bf16 and p.dim() > 1 else p for name, p in network.named_parameters()}


def _middles(cloud: PointCloud, apart: float, generator: torch.Generator) -> tuple[int, int]:
    """Return two points of the scene, at most `apart` metres from each other in x and y."""
    first = int(torch.randint(len(cloud), (), generator=generator))
    near = np.flatnonzero(np.square(cloud.coord[:, :2] - cloud.coord[first, :2]).sum(1) <= apart**2)
    return first, int(near[int(torch.randint(len(near), (), generator=generator))])
