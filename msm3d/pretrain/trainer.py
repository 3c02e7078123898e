"""`pretrain`: the loop around the objective, which any break may interrupt, on one process or on several."""

import atexit
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from math import cos, pi
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .._util import training
from .._util.atomic import refusals, replacing
from .._util.devices import device_of
from .._util.words import either
from ..errors import InputError
from ..model import Model
from ..ops import backend as chosen_backend
from ..scan.cloud import PointCloud
from ..scan.normals import completed
from ..weights.store import load_state
from .config import PretrainConfig
from .monitor import Monitor
from .networks import Student, Teacher
from .objective import Outcome, Sample, loss, prepare
from .record import Record
from .targets import Moments

_FIRST = 10
"""The step of the first line of the log at the latest: whoever starts a run wants to see one."""


class Scene(Protocol):
    """A scan that is somewhere else until it is read; labels count only if the run asks for them."""

    @property
    def name(self) -> str:
        """Of the scene, the same on every machine."""
        ...

    @property
    def read(self) -> Callable[[], PointCloud]:
        """Return the cloud."""
        ...


def pretrain(
    scenes: Sequence[Scene],
    config: PretrainConfig,
    folder: str | os.PathLike[str],
    *,
    data: str = "not stated",
    start: Model | None = None,
    resume: bool = False,
    every: int = 500,
    look_every: int = 50,
    device: str | torch.device | None = None,
    backend: str | None = None,
    judge: Callable[[Model], dict[str, float]] | None = None,
    judge_every: int = 2000,
    progress: bool | None = False,
) -> Model:
    """Train a backbone on scenes without looking at labels, and return the student's.

    Everything random in a step is drawn from the seed, the step and the scene's place in the batch: a run that goes on
    from a checkpoint, and one on several processes, compute what one run on one process does. Start several with
    `torchrun --nproc-per-node 2 -m msm3d pretrain …`; each takes its share of the batch, one scene at a time.

    In `folder`: `config.json`, `checkpoint.pt`, `log.jsonl`, `tensorboard/` where that is installed, and `student/` and
    `teacher/`, models that `msm3d.load` takes, as of the last checkpoint. All are written whole or not at all.

    Args:
        scenes: to learn from, such as those of `msm3d.evaluate.open_dataset(...)[0].scenes`.
        config: of the run; see `named`.
        folder: to write to; made if it is not there.
        data: what the scenes are, for the models' config.json.
        start: weights to begin with, of the same shape as `config.backbone`; drawn at random by default.
        resume: go on from the checkpoint in `folder`, if there is one.
        every: steps between checkpoints: at most as many are lost.
        look_every: steps between lines of the log and looks for collapse; the first is after at most ten.
        device: where to train; a GPU if there is one, by default. Of several processes on GPUs, each takes the one of
            its LOCAL_RANK.
        backend: one of `msm3d.ops.BACKENDS`; the best for the device by default.
        judge: called with the student in evaluation mode every `judge_every` steps and at the end; what it returns is
            logged. It sees a copy and changes nothing.
        judge_every: steps between these.
        progress: show a bar; None shows it in a terminal only.

    Returns:
        The student's backbone, in evaluation mode and frozen.

    Raises:
        InputError: there are no scenes, `folder` has a run that `resume` was not asked to go on with, or one of
            another configuration; or the batch cannot be shared evenly among the processes.
        CollapseError: the features have become one.
    """
    if not scenes:
        raise InputError("there are no scenes to learn from; give a folder with some, or rooms:100.")
    device = device_of(device)
    weights = None if start is None else start.backbone.state_dict()
    run = _Run(scenes, config, Path(folder), device, backend, data, weights)
    first = run.begin(resume)
    monitor = Monitor()
    with Record(run.folder, first, config.steps, progress) if run.first else _Silent() as record:
        clock, seen = perf_counter(), first
        for step, samples in _ahead(run.samples, first, config.steps):
            outcome = run.step(step, samples)
            done = step + 1 == config.steps
            record.step(outcome["loss"])
            if run.first and ((step + 1) % look_every == 0 or step + 1 == min(_FIRST, look_every) or done):
                rate = (step + 1 - seen) / (perf_counter() - clock)
                clock, seen = perf_counter(), step + 1
                health = monitor.look(step, outcome.pop("teacher"))
                record.line(step, **outcome, **health, steps_per_second=round(rate, 3))
            if (step + 1) % every == 0 or done:
                run.save(step + 1)
            if judge is not None and run.first and ((step + 1) % judge_every == 0 or done):
                record.line(step, judged=judge(run.student_model()))
    return run.student_model()


def check_folder(folder: Path, resume: bool) -> None:
    """Raise InputError where `folder` has a run that is not to be gone on with; before any scan is read or made."""
    if (folder / "checkpoint.pt").exists() and not resume:
        cure = either("resume=True", "--resume")
        raise InputError(f"{folder} has a run already; go on with {cure}, or give another folder.")


class _Silent:
    """The log of a process that is not the first."""

    def __enter__(self) -> "_Silent":
        return self

    def __exit__(self, *_: object) -> None: ...

    def step(self, loss: float) -> None: ...

    def line(self, step: int, **values: Any) -> None: ...


class _Run:
    """Networks, optimiser and moments of one training."""

    def __init__(
        self,
        scenes: Sequence[Scene],
        config: PretrainConfig,
        folder: Path,
        device: torch.device,
        backend: str | None,
        data: str,
        start: Mapping[str, Tensor] | None,
    ) -> None:
        self.scenes, self.config, self.folder, self.data = scenes, config, folder, data
        self.rank, self.processes = _join(device)
        self.first = self.rank == 0
        if config.batch % self.processes:
            raise InputError(
                f"a batch of {config.batch} scenes cannot be shared by {self.processes} processes; "
                f"give batch a multiple of {self.processes}."
            )
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if device.type == "cuda" else device
        self.ops = chosen_backend(self.device, backend)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            classes = config.classes if config.labels else 0
            self.student = Student(config.backbone, config.predictor, config.prototypes, classes)
            if start is not None:
                load_state(self.student.backbone.unet, start, "the weights to start from")
            self.teacher = Teacher(self.student, config.backbone, config.prototypes)
        self.student.to(self.device).train()
        self.teacher.to(self.device)
        self.moments = Moments(config.backbone.widths).to(self.device)
        self.optimizer = training.optimizer(self.student.parameters(), config.lr, config.weight_decay)

    # --- one step ---

    def samples(self, step: int) -> list[Sample]:
        """Return this process's share of a step's scenes, made ready."""
        share, samples = self.config.hidden_share(step), []
        for place in range(self.rank, self.config.batch, self.processes):
            turn = step * self.config.batch + place
            scene = self.scenes[training.scene_at(turn, len(self.scenes), self.config.seed)]
            generator = self._generator(turn)
            samples.append(prepare(completed(scene.read()), self.config, share, self.ops, self.device, generator))
        return samples

    def step(self, step: int, samples: list[Sample]) -> dict[str, Any]:
        """Learn from a step's scenes, one at a time, and return what to log."""
        config, outcomes = self.config, list[Outcome]()
        lr = config.lr * training.schedule(step, config.steps, config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        for place, sample in enumerate(samples):
            turn = step * config.batch + self.rank + place * self.processes
            noise = self._generator(turn, 1)
            outcome = loss(sample, self.student, self.teacher, self.moments, config, self.ops, noise)
            (outcome.loss / config.batch).backward()
            outcomes.append(outcome)
        per_level = torch.tensor([outcome.per_level for outcome in outcomes]).sum(0) / config.batch
        moments = [torch.stack(part).sum(0) / config.batch for part in zip(*(o.moments for o in outcomes), strict=True)]
        self._sum([*self._gradients(), *moments, per_level])
        norm = nn.utils.clip_grad_norm_(self.student.parameters(), config.clip)
        self.optimizer.step()
        self.moments.update(moments)
        last, first = config.momentum[1], config.momentum[0]
        self.teacher.follow(self.student, last - (last - first) * (1 + cos(pi * step / config.steps)) / 2)
        return {
            "loss": round(float(per_level.mean()), 5),
            "per_level": [round(value, 5) for value in per_level.tolist()],
            **(
                {"labelled": round(sum(outcome.labelled for outcome in outcomes) / len(outcomes), 5)}
                if config.labels
                else {}
            ),
            "hidden": round(config.hidden_share(step), 3),
            "lr": round(lr, 7),
            "gradient": round(float(norm), 4),
            "teacher": outcomes[0].teacher,
        }

    def _gradients(self) -> list[Tensor]:
        """Return the gradient of every parameter, zero where a scene had no use for it: the same list everywhere."""
        for parameter in self.student.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in self.student.parameters() if parameter.grad is not None]

    def _generator(self, turn: int, use: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed((self.config.seed << 40) + (turn << 1) + use)

    def _sum(self, tensors: list[Tensor]) -> None:
        """Add up tensors over all processes, in one message."""
        if self.processes > 1:
            flat = torch.cat([tensor.flatten().to(self.device) for tensor in tensors])
            dist.all_reduce(flat)
            for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
                tensor.copy_(part.view_as(tensor))

    # --- on disk ---

    def begin(self, resume: bool) -> int:
        """Return the step to start with; write config.json of a new run."""
        path = self.folder / "checkpoint.pt"
        check_folder(self.folder, resume)
        if path.exists():
            state = training.resume(path, self._identity(), self.device)
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            return int(state["step"])
        if self.first:
            with refusals(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / "config.json") as partial:
                partial.write_text(json.dumps(self._identity(), indent=2) + "\n", encoding="utf-8")
        return 0

    def save(self, step: int) -> None:
        """Write the checkpoint and both models."""
        if self.first:
            training.save(self.folder / "checkpoint.pt", self._identity(), step, self._states())
            for name, unet in (("student", self.student.backbone.unet), ("teacher", self.teacher.unet)):
                self._model(name, unet, step).save_pretrained(self.folder / name)

    def student_model(self) -> Model:
        """Return a copy of the student's backbone, in evaluation mode and frozen."""
        return self._model("student", self.student.backbone.unet, None)

    def _model(self, name: str, unet: nn.Module, step: int | None) -> Model:
        meta = {
            "name": f"msm3d pre-training, {name}",
            "licence": "as the run's owner says",
            "data": self.data,
            "source": "Masked Scene Modeling [arXiv 2504.06719], trained with msm3d.pretrain",
        }
        with torch.random.fork_rng(devices=[]):
            model = Model(self.config.backbone, meta=meta if step is None else meta | {"steps": step})
        model.backbone.load_state_dict(unet.state_dict())
        return model.to(self.device).eval().requires_grad_(False)

    def _parts(self) -> dict[str, Any]:
        return {
            "student": self.student,
            "teacher": self.teacher,
            "moments": self.moments,
            "optimizer": self.optimizer,
        }

    def _states(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()}

    def _identity(self) -> dict[str, Any]:
        """Return what must be the same for a run to go on."""
        return {"pretrain": self.config.to_dict(), "scenes": [scene.name for scene in self.scenes]}


def _join(device: torch.device) -> tuple[int, int]:
    """Return this process's number and how many there are, as torchrun has set them up."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return dist.get_rank(), dist.get_world_size()


def _ahead(make: Callable[[int], list[Sample]], start: int, stop: int) -> Iterator[tuple[int, list[Sample]]]:
    """Yield steps with their samples, the next ones being made ready meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        # in a copy of this thread's context, so that warnings speak of options on the command line there, too
        coming = pool.submit(copy_context().run, make, start) if start < stop else None
        for step in range(start, stop):
            assert coming is not None
            ready = coming.result()
            coming = pool.submit(copy_context().run, make, step + 1) if step + 1 < stop else None
            yield step, ready
