"""Fine-tuning: the whole network learns with labels, from a pretrained start and the weights of a linear probe."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from .._util.atomic import refusals, replacing
from ..backbones import Shape, record
from ..datasets import Dataset
from ..errors import InputError, require
from ..model import Model
from ..tasks.confusion import percent
from ..tasks.fingerprint import model_hash, scene_hash
from ..tasks.heads.about import About
from ..tasks.heads.linear import LinearProbe
from ..tasks.segmentation import Segmentation
from ..training import CHECKPOINT, Descent, Record, Trainer, check_folder
from ..weights.store import CONFIG, MODEL
from .few import with_drawn
from .fitting import fit
from .protocols import require_disjoint, require_unseen
from .supervised import LabelSettings, Supervision, drawn, pace

HEAD, LAST, ABOUT = "head", "last", "finetune.json"  # in the folder of a run
NEVER = 10.0  # how far below all others a class begins that the probe has not met


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(LabelSettings):
    """How to fine-tune; optimiser, rates and schedule are the paper's [Table 19], the rest it does not say."""

    steps: int = 1000
    """Number of batches; the paper has 200 epochs of batches of 48."""
    warmup: float = 0.03
    """Share of the steps in which the learning rate rises."""
    layer_decay: float = 0.8
    """Factor of the learning rate from a stage of the network to the one before it: the head has all of it, the stages
    near the input little. 1 for one rate, which is also what training from scratch has."""
    drop_path: float | None = 0.1
    """Largest rate of stochastic depth; None for what the network's shape recommends."""
    sample: int = 2000
    """Labelled points of each scene for the probe whose weights the head begins with; 0 for random weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require("layer_decay", self.layer_decay, 0 < self.layer_decay <= 1, "above 0 and at most 1")
        require(
            "drop_path", self.drop_path, self.drop_path is None or 0 <= self.drop_path < 1, "within 0 to 1, or None"
        )
        require("sample", self.sample, self.sample >= 0, "at least 0")


class Finetuned(NamedTuple):
    """What came of a fine-tuning, in evaluation mode and frozen."""

    model: Model
    """The network, as it was best on the validation split, or else as it was last."""
    head: LinearProbe
    """The head that belongs to it."""
    curve: list[tuple[int, float]]
    """Steps taken, and the mIoU on the validation split, 0 to 1; after 0 steps it is that of the probe."""


def finetune(
    train: Dataset,
    start: Model | Shape,
    folder: str | os.PathLike[str] | None = None,
    settings: FinetuneSettings | None = None,
    *,
    validation: Dataset | None = None,
    resume: bool = False,
    every: int = 100,
    progress: bool | None = False,
) -> Finetuned:
    """Train a whole network, and a linear head that begins with the weights of a probe, for the classes of some scenes.

    Everything random of a step is drawn from the seed and the step's number: a run that goes on from a checkpoint
    computes what it would have computed without the break. In `folder`, beside `checkpoint.pt`, `log.jsonl` and
    `finetune.json`: the best model, which `msm3d.load` takes, with its `head`, and the `last` one with its own.

    >>> from msm3d.backbones.hunet import BackboneConfig
    >>> from msm3d.evaluate import S3DIS, Scene
    >>> from msm3d.rooms import make
    >>> small = BackboneConfig(channels=(8, 8), decoder_channels=(8, 8), conv_blocks=(1, 1), attention_blocks=(0, 0),
    ...                        heads=(0, 0), voxel_size=0.1)
    >>> room = make(900_001, points=2000)
    >>> room = replace(room, segment=room.segment % 13)
    >>> train = Dataset("mine", "train", S3DIS, (Scene("room", lambda: room),))
    >>> model, head, _ = finetune(train, Model(small).eval(), settings=FinetuneSettings(steps=2, sample=50))
    >>> head.predict(model.extract(room), of=model).shape
    (2000,)

    Args:
        train: labelled scenes to learn from; two batches of them are in memory at a time.
        start: a model in evaluation mode, which stays as it is; or a shape, to train from scratch: random weights, a
            random head, and one rate for all.
        folder: to write to; nothing is written by default.
        settings: how to train.
        validation: labelled scenes to look at, before the first step and after every `every`; none by default.
        resume: go on from the checkpoint in `folder`, if there is one.
        every: steps between checkpoints, and looks at the validation split.
        progress: show a bar; None shows it in a terminal only.

    Raises:
        InputError: there are no scenes or labels, the folder has something else, or the checkpoint is of another run.
        LeakageError: a scene to look at is also learned from, by its name or by its content.
        DivergedError: the loss is not finite any more.
    """
    if not len(train):
        raise InputError(f"{train.name} {train.split} has no scenes; give at least one to learn from.")
    if every < 1:
        raise InputError(f"every is {every}; give at least 1 step between checkpoints.")
    place = None if folder is None else Path(folder)
    if place is not None:
        check_place(place, resume)
    if validation is not None:
        require_disjoint([scene.name for scene in train.scenes], [scene.name for scene in validation.scenes])
    run = Finetuning(train, start, settings or FinetuneSettings(), validation)
    run.go(place, every, progress)
    return run.best()


def check_place(folder: Path, resume: bool) -> None:
    """Raise InputError where `folder` has a run that is not to be gone on with, or a model that no run left."""
    check_folder(folder, resume)
    there = [name for name in (CONFIG, MODEL) if (folder / name).exists()]
    if there and not (folder / CHECKPOINT).exists():
        raise InputError(f"{folder} has a model already, {there[0]}; give another folder.")


class Curve:
    """What the validation split says of the network after some steps, and all weights where that was best."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float]] = []
        self.best: dict[str, Any] = {}

    def add(self, step: int, score: float, parts: Mapping[str, nn.Module]) -> None:
        """Note a score, and keep the weights if none was as good before."""
        if not self.points or score > max(best for _, best in self.points):
            self.best = {
                name: {key: value.detach().clone() for key, value in part.state_dict().items()}
                for name, part in parts.items()
            }
        self.points.append((step, score))

    def state_dict(self) -> dict[str, Any]:
        """Return all of it, for a checkpoint."""
        return {"points": self.points, "best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint holds."""
        self.points, self.best = [(int(step), float(score)) for step, score in state["points"]], state["best"]


class Finetuning:
    """A run: the network in training, what it began with, and what it leaves."""

    def __init__(
        self, train: Dataset, start: Model | Shape, settings: FinetuneSettings, validation: Dataset | None
    ) -> None:
        self.train, self.start, self.settings, self.validation = train, start, settings, validation
        config, pretrained = (start.config, True) if isinstance(start, Model) else (start, False)
        training, backend = config.regularisation, start.backend if isinstance(start, Model) else None
        if settings.drop_path is not None:
            training = replace(training, drop_path=settings.drop_path)
        model, head = drawn(config, len(train.classes), "all", settings.seed, backend, training)
        if isinstance(start, Model):
            model.backbone.load_state_dict(start.backbone.state_dict())  # in single precision, whatever it is in
            model, head = model.to(start.device), head.to(start.device)
        parts = [*model.backbone.by_depth(), list(head.parameters())]
        decay = settings.layer_decay if pretrained else 1.0
        shares = [decay ** (len(parts) - 1 - i) for i, part in enumerate(parts) for _ in part]
        descent = Descent([one for part in parts for one in part], **pace(settings), shares=shares)
        self.run = Supervision(train, settings, model, head, descent)
        self.curve, self.parts = Curve(), {"model": model.backbone, "head": head}

    def go(self, folder: Path | None, every: int, progress: bool | None) -> None:
        """Take all steps that are left, and write what they lead to."""
        state = self.parts | {"optimizer": self.run.descent, "curve": self.curve}
        kept: dict[str, Any] = {"batch": self.run.clouds, "every": every}
        steps, checkpoint = self.settings.steps, None if folder is None else folder / CHECKPOINT
        trainer = Trainer(self.run.step, state, self.identity(), steps=steps, checkpoint=checkpoint, **kept)
        begun = trainer.resume()
        if not begun:
            self.begin()
        if folder is None:
            trainer.run(lambda step, _: self.look(step + 1) if self.due(step + 1, every) else None)
            return
        with refusals(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with Record(folder, begun, steps, min(every, 50), progress) as record:
            if not begun and self.curve.points:
                record.line(0, trained=0, miou=self.curve.points[0][1])

            def seen(step: int, outcome: dict[str, Any]) -> None:
                if record.step(step, outcome["loss"]):
                    record.line(step, **outcome, steps_per_second=record.rate(step))
                if self.due(step + 1, every) and self.look(step + 1):
                    record.line(step, trained=step + 1, miou=self.curve.points[-1][1])

            trainer.run(seen, lambda step, due: self.write(folder) if due else None)
        self.write(folder)  # also where the break came between the last checkpoint and this

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for a checkpoint to be gone on with."""
        pretrained = model_hash(self.start) if isinstance(self.start, Model) else None
        seen = [] if self.validation is None else [scene.name for scene in self.validation.scenes]
        about = {"config": record(self.run.model.config), "start": pretrained, "validation": seen}
        scenes, classes = [scene.name for scene in self.train.scenes], list(self.train.classes.names)
        return asdict(self.settings) | about | {"split": self.train.split, "scenes": scenes, "classes": classes}

    def begin(self) -> None:
        """Give the head the weights of a probe, and look at the validation split before any step."""
        if isinstance(self.start, Model) and self.settings.sample:
            sample, seed = self.settings.sample, self.settings.seed
            probe: Any = fit(self.train, self.start, protocol="linear", sample=sample, seed=seed)
            put(probe, self.run.head)
        if self.validation is not None:
            learned = {scene_hash(cloud): name for name, cloud in self.train}
            for name, cloud in self.validation:
                require_unseen(name, scene_hash(cloud), learned)
        self.look(0)

    def due(self, steps: int, every: int) -> bool:
        """Return whether a look is due after so many steps."""
        return steps % every == 0 or steps == self.settings.steps

    def look(self, steps: int) -> bool:
        """Note how good the network is on the validation split after so many steps; return whether there is one."""
        if self.validation is not None:
            score = judged(self.run.model.eval(), layer(self.run.head), self.validation)["miou"]
            self.run.model.train()
            self.curve.add(steps, score, self.parts)
        return self.validation is not None

    def last(self) -> Finetuned:
        """Return network and head as they are now."""
        return self._made({name: part.state_dict() for name, part in self.parts.items()})

    def best(self) -> Finetuned:
        """Return network and head as they were best, or as they are where nobody looked."""
        return self._made(self.curve.best) if self.curve.best else self.last()

    def _made(self, state: Mapping[str, Mapping[str, torch.Tensor]]) -> Finetuned:
        trained, classes = self.run.model, self.train.classes
        with torch.random.fork_rng(devices=[]):
            model = Model(trained.config, backend=trained.backend, meta=self.about())
        model.backbone.load_state_dict(dict(state["model"]))
        model = model.to(trained.device).eval().requires_grad_(False)
        head = LinearProbe.of_layer(state["head"]["weight"].cpu(), state["head"]["bias"].cpu(), of=model)
        source = f"msm3d finetune: {len(self.train)} scenes of {self.train.name}"
        head.about_ = About(names=tuple(classes.names), colors=tuple(classes.colors), source=source)
        return Finetuned(model, head, self.curve.points)

    def about(self) -> dict[str, Any]:
        """Return what the model says of itself."""
        known = self.start.meta if isinstance(self.start, Model) else {}
        name, labels = known.get("name") or "untrained", f"labels of {len(self.train)} scenes of {self.train.name}"
        begun = f"{name} fine-tuned" if isinstance(self.start, Model) else "trained from scratch"
        return {
            "name": f"{begun} on {self.train.name}",
            "licence": known.get("licence") or "as the run's owner says",
            "data": f"{known['data']}; then {labels}" if known.get("data") else labels,
            "source": f"msm3d finetune, {self.settings.steps} steps, from {name}",
        }

    def write(self, folder: Path) -> None:
        """Write the best and the last model with their heads, and the curve; each whole or not at all."""
        for place, found in ((folder / LAST, self.last()), (folder, self.best())):
            found.head.save(place / HEAD)
            found.model.save_pretrained(place)
        values = {"settings": asdict(self.settings), "from": self.about()["source"], "validation": self.curve.points}
        with replacing(folder / ABOUT) as partial:
            partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def put(probe: LinearProbe, head: nn.Linear) -> None:
    """Give a layer over all classes the weights of a probe over those that it has met."""
    met = torch.from_numpy(probe.classes_)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(float(probe.intercept_.min()) - NEVER)
        head.weight[met] = torch.from_numpy(probe.coef_).to(head.weight)
        head.bias[met] = torch.from_numpy(probe.intercept_).to(head.bias)


def layer(head: nn.Linear) -> LinearProbe:
    """Return a layer as a head that predicts."""
    return LinearProbe.of_layer(head.weight.detach().cpu().clone(), head.bias.detach().cpu().clone())


def judged(model: Model, head: LinearProbe, test: Dataset, sample: int | None = None) -> dict[str, float]:
    """Return every metric of a network and its head, over all labelled points of some scenes or a sample of each."""
    task = Segmentation()
    tally = task.tally(test.classes)
    for name, cloud in test:
        task.require(name, cloud)
        truth = cloud if sample is None else with_drawn(name, cloud, None, sample, 0)
        rows, owner = model.extract(cloud, at="voxels", dtype="float16")
        tally.update(task.truth(truth), task.prediction(head.predict(rows), owner, cloud))
    return tally.metrics()


def curve_said(curve: list[tuple[int, float]]) -> str:
    """Return a curve in words.

    >>> curve_said([(0, 0.412), (100, 0.473), (200, 0.469)])
    'mIoU 41.2 before, best 47.3 after 100 steps, last 46.9'
    """
    (_, first), (steps, best), (_, last) = curve[0], max(curve, key=lambda point: point[1]), curve[-1]
    return f"mIoU {percent(first)} before, best {percent(best)} after {steps} steps, last {percent(last)}"
