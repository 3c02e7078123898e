"""`pretrain`: the objective as a step of a `Trainer`, and what a run leaves in its folder."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import cos, pi
from pathlib import Path
from typing import Any

import torch

from .._util.atomic import refusals, replacing
from .._util.devices import device_of, moved
from ..datasets import Scan
from ..errors import InputError
from ..model import Model
from ..ops import Backend
from ..ops import backend as chosen_backend
from ..scan.normals import completed
from ..training import CHECKPOINT, Descent, Group, Record, Trainer, check_folder, turns, without_readout
from ..weights.store import load_state
from .config import PretrainConfig
from .monitor import Monitor
from .networks import Student, Teacher
from .objective import Outcome, Sample, loss, prepare
from .targets import Moments


def pretrain(
    scenes: Sequence[Scan],
    config: PretrainConfig,
    folder: str | os.PathLike[str],
    *,
    data: str = "not stated",
    start: Model | None = None,
    resume: bool = False,
    every: int = 500,
    look_every: int = 50,
    workers: int = 0,
    device: str | torch.device | None = None,
    backend: str | None = None,
    judge: Callable[[Model], dict[str, float]] | None = None,
    judge_every: int = 2000,
    progress: bool | None = False,
) -> Model:
    """Train a backbone on scenes without looking at labels, and return the student's, in evaluation mode and frozen.

    Everything random in a step is drawn from the seed, the step and the scene's place in the batch: a run that goes on
    from a checkpoint, and one on several processes, compute what one run on one process does. Start several with
    `torchrun --nproc-per-node 2 -m msm3d pretrain …`; each takes its share of the batch, one scene at a time.

    In `folder`: `config.json`, `checkpoint.pt`, `log.jsonl`, `tensorboard/` where that is installed, and `student/` and
    `teacher/`, models that `msm3d.load` takes, as of the last checkpoint. All are written whole or not at all.

    Args:
        scenes: to learn from, such as those of `msm3d.evaluate.open_dataset(...)[0].scenes`.
        config: every choice of the run; see `named`.
        folder: to write to; made if it is not there.
        data: what the scenes are, for the models' config.json.
        start: weights to begin with, of the same shape as `config.backbone`; drawn at random by default.
        resume: go on from the checkpoint in `folder`, if there is one.
        every: steps between checkpoints: at most as many are lost.
        look_every: steps between lines of the log and looks for collapse; the first is after at most ten.
        workers: processes that make scans ready; by default a thread does, which is enough for a CPU. The result is
            the same, whatever their number.
        device: where to train; by default a GPU if there is one, and of several processes each takes its own.
        backend: one of `msm3d.ops.BACKENDS`; the best for the device by default.
        judge: called with a copy of the student every `judge_every` steps and at the end; its result is logged.
        judge_every: steps between these.
        progress: show a bar; None shows it in a terminal only.

    Raises:
        InputError: there are no scenes, `folder` has a run that `resume` was not asked to go on with, or one of
            another configuration; or the batch cannot be shared evenly among the processes.
        CollapseError: the features have become one.
        DivergedError: the loss is not finite any more.
    """
    if not scenes:
        raise InputError("there are no scenes to learn from; give a folder with some, or rooms:100.")
    run = Pretraining(scenes, config, data, device_of(device), backend, start)
    trainer = run.trainer(Path(folder), resume, every, workers)
    if run.group.first:
        with Record(Path(folder), trainer.resume(), config.steps, look_every, progress) as record:
            watch = Watch(run, Path(folder), record, judge, judge_every)
            trainer.run(watch.seen, watch.after)
    else:
        trainer.run()
    return run.model("student")


@dataclass(frozen=True)
class Samples:
    """A step's number to the samples of this process's share of it, on the CPU, each with its turn and its source."""

    scenes: Sequence[Scan]
    config: PretrainConfig
    ops: Backend
    group: Group

    def __call__(self, step: int) -> list[tuple[int, str, Sample]]:
        """Make a step's scenes ready."""
        config, share, samples = self.config, self.config.hidden_share(step), []
        for turn, scene in turns(step, config.batch, self.scenes, config.seed, self.group):
            cloud = completed(scene.read())
            sample = prepare(cloud, config, share, self.ops, generator(config.seed, turn))
            samples.append((turn, getattr(scene, "source", ""), sample))
        return samples


def generator(seed: int, turn: int, use: int = 0) -> torch.Generator:
    """Return what draws all that is random about a turn: its data, or with `use` 1 the networks' noise."""
    return torch.Generator().manual_seed((seed << 40) + (turn << 1) + use)


class Pretraining:
    """The networks, moments and optimiser of a run, and its step."""

    def __init__(
        self,
        scenes: Sequence[Scan],
        config: PretrainConfig,
        data: str,
        device: torch.device,
        backend: str | None,
        start: Model | None,
    ) -> None:
        self.scenes, self.config, self.data = scenes, config, data
        self.group, self.device = Group.join(device, config.batch)
        self.ops = chosen_backend(self.device, backend)
        readers = self.ops if self.device.type == "cpu" else chosen_backend("cpu")
        self.samples = Samples(scenes, config, readers, self.group)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            classes = config.classes if config.labels else 0
            self.student = Student(config.backbone, config.predictor, config.prototypes, classes, config.instances > 0)
            if start is not None:
                given = start if config.backbone.readout else without_readout(start)
                load_state(self.student.backbone.unet, given.backbone.state_dict(), "the weights to start from")
            self.teacher = Teacher(self.student, config.backbone, config.prototypes)
        self.student.to(self.device).train()
        self.teacher.to(self.device)
        self.moments = Moments(config.backbone.widths).to(self.device)
        kept = {name: getattr(config, name) for name in ("steps", "lr", "warmup", "weight_decay", "clip")}
        self.descent = Descent(self.student.parameters(), **kept, group=self.group)

    def trainer(self, folder: Path, resume: bool, every: int, workers: int = 0) -> Trainer:
        """Return what trains, and goes on, in `folder`; config.json of a new run is written."""
        check_folder(folder, resume)
        identity = {"pretrain": self.config.to_dict(), "scenes": [scene.name for scene in self.scenes]}
        if self.group.first and not (folder / CHECKPOINT).exists():
            with refusals(folder):
                folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / "config.json") as partial:
                partial.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
        state = {name: getattr(self, name) for name in ("student", "teacher", "moments")} | {"optimizer": self.descent}
        kept: dict[str, Any] = {"checkpoint": folder / CHECKPOINT, "every": every, "group": self.group}
        kept |= {"batch": self.samples, "workers": workers}
        return Trainer(self.step, state, identity, steps=self.config.steps, **kept)

    def step(self, step: int, samples: list[tuple[int, str, Sample]]) -> dict[str, Any]:
        """Learn from a step's scenes, one at a time, and return what to log."""
        config, outcomes = self.config, list[Outcome]()
        lr = self.descent.begin(step)
        for turn, _, sample in samples:
            noise, sample = generator(config.seed, turn, 1), moved(sample, self.device)
            outcome = loss(sample, self.student, self.teacher, self.moments, config, self.ops, noise)
            (outcome.loss / config.batch).backward()
            outcomes.append(outcome)
        per_level = torch.tensor([outcome.per_level for outcome in outcomes]).sum(0) / config.batch
        moments = [torch.stack(part).sum(0) / config.batch for part in zip(*(o.moments for o in outcomes), strict=True)]
        norm = self.descent.end(*moments, per_level)
        self.moments.update(moments)
        first, last = config.momentum
        self.teacher.follow(self.student, last - (last - first) * (1 + cos(pi * step / config.steps)) / 2)
        told: dict[str, Any] = {"loss": round(float(per_level.mean()), 5)}
        told["per_level"] = [round(value, 5) for value in per_level.tolist()]
        for name, weight in (("labelled", config.labels), ("objects", config.instances)):
            if weight:
                told[name] = round(sum(getattr(outcome, name) for outcome in outcomes) / len(outcomes), 5)
        told |= {"hidden": round(config.hidden_share(step), 3), "lr": round(lr, 7), "gradient": round(float(norm), 4)}
        by_source = [(name, float(o.loss.detach())) for (_, name, _), o in zip(samples, outcomes, strict=True)]
        return told | {"teacher": outcomes[0].teacher, "by_source": by_source}

    def model(self, name: str, **meta: Any) -> Model:
        """Return a copy of the backbone of the "student" or the "teacher", in evaluation mode and frozen."""
        unet = self.student.backbone.unet if name == "student" else self.teacher.unet
        about = {
            "name": f"msm3d pre-training, {name}",
            "licence": "as the run's owner says",
            "data": self.data,
            "source": "Masked Scene Modeling [arXiv 2504.06719], trained with msm3d.pretrain",
        }
        with torch.random.fork_rng(devices=[]):
            model = Model(self.config.backbone, meta=about | meta)
        model.backbone.load_state_dict(unet.state_dict())
        return model.to(self.device).eval().requires_grad_(False)


@dataclass
class Watch:
    """What the first process does beside the steps: the log, a look for collapse, the models, and the judge's view."""

    run: Pretraining
    folder: Path
    record: Record
    judge: Callable[[Model], dict[str, float]] | None
    judge_every: int
    monitor: Monitor = field(default_factory=Monitor)
    gave: dict[str, list[float]] = field(default_factory=dict)  # the losses of each source since the last line

    def seen(self, step: int, outcome: dict[str, Any]) -> None:
        """Write a line of the log where one is due."""
        for source, value in outcome.pop("by_source"):
            if source:
                self.gave.setdefault(source, []).append(value)
        if self.record.step(step, outcome["loss"]):
            rate = self.record.rate(step)
            health: dict[str, Any] = self.monitor.look(step, outcome.pop("teacher"))
            if self.gave:
                health["sources"] = {name: round(sum(v) / len(v), 5) for name, v in self.gave.items()}
                self.gave.clear()
            self.record.line(step, **outcome, **health, steps_per_second=rate)

    def after(self, step: int, due: bool) -> None:
        """Write the models of a checkpoint, and call the judge where it is due."""
        if due:
            for name in ("student", "teacher"):
                self.run.model(name, steps=step + 1).save_pretrained(self.folder / name)
        if self.judge is not None and ((step + 1) % self.judge_every == 0 or step + 1 == self.run.config.steps):
            self.record.line(step, judged=self.judge(self.run.model("student")))
