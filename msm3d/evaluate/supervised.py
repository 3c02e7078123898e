"""Supervised training, modest on purpose: the ceiling that self-supervised features are held against."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..backbones import Regularisation, Shape, build, record, shape_of
from ..datasets import Dataset
from ..errors import InputError, require
from ..model import Model
from ..scan.augment import augmented, cropped
from ..scan.cloud import PointCloud
from ..scan.normals import completed
from ..sparse.hierarchy import Hierarchy
from ..sparse.interpolate import descriptors
from ..sparse.voxels import voxelize
from ..training import Descent, Trainer, turns

HEADS = ("finest", "all")


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """How to train with labels; the defaults are the paper's Table 19 where a batch of one or two scenes allows it."""

    steps: int = 2000
    """Number of batches; the paper has 200 epochs of batches of 48."""
    batch: int = 1
    """Number of scenes in a batch."""
    lr: float = 1e-3
    """Largest learning rate, after `warmup` of the steps, then a cosine down to 0."""
    warmup: float = 0.01
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.05
    """Weight decay of matrices; scales and biases have none."""
    clip: float = 3.0
    """Largest norm of the gradient; a larger one is scaled down to it."""
    crop: int | None = 120_000
    """Most points of a scene."""
    seed: int = 0
    """Random seed of the weights, the order of the scenes and their augmentation."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("lr", "clip"):
            require(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        require("warmup", self.warmup, 0 <= self.warmup < 1, "within 0 to 1")
        require("crop", self.crop, self.crop is None or self.crop >= 1, "at least 1, or None")


@dataclass(frozen=True, kw_only=True)
class SupervisedSettings(LabelSettings):
    """How to train from scratch."""

    head: str = "all"
    """What the linear head reads: "all" levels, interpolated and side by side, or the "finest" alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require("head", self.head, self.head in HEADS, "one of " + ", ".join(HEADS))


def train_supervised(
    train: Dataset,
    config: Shape,
    settings: SupervisedSettings | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int = 100,
    device: str | torch.device = "cpu",
    backend: str | None = None,
    log: Callable[[int, float], None] | None = None,
) -> Model:
    """Train a network of `config` from scratch on labelled scenes, and return it without its head, in evaluation mode,
    frozen and named "supervised", for probing.

    Everything random of a step is drawn from the seed and the step's number: a run that goes on from a checkpoint
    computes what it would have computed without the break.

    Args:
        train: labelled scenes; two batches of them are in memory at a time.
        config: shape of the network.
        settings: how to train.
        checkpoint: a file to write every `every` steps and at the end, and to go on from where it is there.
        every: steps between checkpoints.
        device: where to train.
        backend: one of `msm3d.ops.BACKENDS`; the best for the device by default.
        log: called with each step, from 0, and its loss.

    Raises:
        InputError: a setting is out of range, a scene has no labels, or the checkpoint is of another run.
    """
    settings = settings or SupervisedSettings()
    model, head = drawn(config, len(train.classes), settings.head, settings.seed, backend)
    model.meta |= {"name": "supervised", "data": train.name}
    descent = Descent([*model.parameters(), *head.parameters()], **pace(settings))
    run = Supervision(train, settings, model.to(device), head.to(device), descent)
    state = {"head": run.head, "optimizer": run.descent, "model": run.model.backbone}
    scenes, classes = [scene.name for scene in train.scenes], list(train.classes.names)
    identity = {**asdict(settings), "config": record(config), "scenes": scenes, "classes": classes}
    kept: dict[str, Any] = {"batch": run.clouds, "checkpoint": checkpoint, "every": every}
    trainer = Trainer(run.step, state, identity, steps=settings.steps, **kept)
    trainer.run(None if log is None else lambda step, outcome: log(step, outcome["loss"]))
    return run.model.eval().requires_grad_(False)


def supervised_model(
    checkpoint: str | os.PathLike[str], *, device: str | torch.device = "cpu", backend: str | None = None
) -> Model:
    """Return the network in a checkpoint of `train_supervised`, finished or not, as that would return it, or raise
    InputError for other files."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        config = shape_of(state["run"]["config"])
        model = Model(config, backend=backend, meta={"name": "supervised", "step": state["step"]})
        model.backbone.load_state_dict(state["model"])
    except Exception as error:
        raise InputError(f"{checkpoint} is not a checkpoint of train_supervised; give the file it wrote.") from error
    return model.to(device).eval().requires_grad_(False)


def drawn(
    config: Shape, classes: int, head: str, seed: int, backend: str | None, training: Regularisation | None = None
) -> tuple[Model, nn.Linear]:
    """Return a network of `config` and a linear head on its levels, see `SupervisedSettings`, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Model(config, backend=backend)
        if training is not None:
            model.backbone = build(config, training)
        return model, nn.Linear(sum(config.widths[: config.levels if head == "all" else 1]), classes)


def pace(settings: LabelSettings) -> dict[str, Any]:
    """Return what of the settings a `Descent` takes."""
    return {name: getattr(settings, name) for name in ("steps", "lr", "warmup", "weight_decay", "clip")}


class Supervision:
    """A network and a head in training, and the step that learns from labels; the head reads the finest levels, as
    many as it has columns for."""

    def __init__(
        self, train: Dataset, settings: LabelSettings, model: Model, head: nn.Linear, descent: Descent
    ) -> None:
        self.train, self.settings, self.model, self.head, self.descent = train, settings, model.train(), head, descent
        stops = list(accumulate(model.config.widths))
        self.levels = list(range(1 + stops.index(head.in_features)))

    def clouds(self, step: int) -> tuple[list[PointCloud], torch.Generator]:
        """Return the batch of a step, cropped and augmented, and the generator of what else is random in it."""
        clouds, settings = [], self.settings
        generator = torch.Generator().manual_seed((settings.seed << 32) + step)
        for _, scene in turns(step, settings.batch, self.train.scenes, settings.seed):
            cloud = scene.read()
            if cloud.segment is None:
                raise InputError(f"{scene.name} has no labels; give scenes with segment.")
            whole = completed(cloud, missing=self.model.config.inputs.missing)
            clouds.append(augmented(cropped(whole, settings.crop, generator), generator))
        return clouds, generator

    def step(self, step: int, batch: tuple[list[PointCloud], torch.Generator]) -> dict[str, Any]:
        """Learn from one batch and return its loss, the mean cross entropy of all labelled points, and what to log."""
        lr = self.descent.begin(step)
        (clouds, generator), model, device = batch, self.model, self.model.device
        voxels = voxelize(clouds, model.config.inputs, model.ops)
        hierarchy = Hierarchy.of(voxels.keys.to(device), model.config.levels, model.ops, len(clouds))
        features = model.backbone(voxels.features.to(device), hierarchy, model.ops, generator)
        logits = self.head(descriptors(features, hierarchy, self.levels, model.config.sampling, model.ops))
        labels = torch.cat([torch.from_numpy(cloud.segment) for cloud in clouds])
        known, classes = labels >= 0, logits.shape[1]  # the points of one voxel share its logits
        counts = torch.bincount(voxels.owner[known] * classes + labels[known], minlength=logits.numel())
        counts = counts.view_as(logits).to(logits)
        loss = -(counts * F.log_softmax(logits, 1)).sum() / counts.sum().clamp(min=1)
        loss.backward()
        norm = self.descent.end()
        return {"loss": float(loss.detach()), "lr": round(lr, 7), "gradient": round(float(norm), 4)}
