"""Frozen, fine-tuned and from scratch, side by side: each learns from the same few scenes or points."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .._util.stages import hidden
from .._util.words import choices, either
from ..backbones import Shape
from ..datasets import Dataset
from ..errors import InputError
from ..model import Model
from ..tasks import task as by_name
from ..tasks.fingerprint import model_hash
from ..tasks.segmentation import Segmentation
from .few import limited
from .finetuning import FinetuneSettings, finetune, judged
from .probing import ProbeSettings, probe
from .protocols import Limit
from .report import Report, rows_of

WAYS = ("finetuned", "scratch")
"""How a whole network learns: from the model's weights and those of a probe, or from random ones."""


@dataclass(frozen=True)
class Run:
    """A network that learns from what a limit leaves."""

    label: str  # in the report
    start: Model | Shape
    limit: Limit
    seed: int

    @property
    def folder(self) -> str:
        """A name for its files."""
        share, points = self.limit
        return re.sub(r"[^\w.-]+", "-", f"{self.label}-{100 * share:g}-{points or 'all'}-{self.seed}")


def compare(
    train: Dataset,
    test: Dataset,
    models: Mapping[str, Model],
    settings: ProbeSettings | None = None,
    learning: FinetuneSettings | None = None,
    *,
    ways: Sequence[str] = WAYS,
    folder: str | os.PathLike[str] | None = None,
    progress: bool | None = False,
) -> Report:
    """Judge frozen features, as `probe` does, and beside them networks that learned from the same scenes and points.

    Networks are scored with their own heads after the last step, so that nothing is chosen on the scenes to test on.
    Where points are not limited, a network learns from every label, and a head on frozen features from its sample.

    Args:
        train: to learn from.
        test: to judge on; shares no scene with `train`.
        models: in evaluation mode, by their names in the report; from scratch learns what has the first one's shape.
        settings: limits, seeds and samples; the task must be segmentation.
        learning: how networks learn; the seeds are those of `settings`.
        ways: some of `WAYS`.
        folder: for features and runs, where an interrupted comparison goes on; nothing is kept by default.
        progress: show bars on standard error; None shows them in a terminal only.

    Raises:
        InputError: a way is unknown, the task is another, or as for `probe`.
        LeakageError: a scene is in both splits, by its name or by its content.
    """
    from tqdm import tqdm

    settings, learning = settings or ProbeSettings(), learning or FinetuneSettings()
    if (name := by_name(settings.task).name) != Segmentation.name:
        cure = either("call probe for it", "leave --learn out")
        raise InputError(f"whole networks learn segmentation alone, and the task is {name!r}; {cure}.")
    for way in ways:
        if way not in WAYS:
            raise InputError(f"unknown way to learn {way!r}; {choices(way, WAYS)}")
    place = None if folder is None else Path(folder)
    report = probe(train, test, models, settings, cache=place and place / "features", progress=progress)
    starts: dict[str, Model | Shape] = {}
    if "finetuned" in ways:
        starts |= {f"{name}, fine-tuned": model for name, model in models.items()}
    if "scratch" in ways:
        starts["from scratch"] = next(iter(models.values())).config
    runs = [Run(*one, limit, seed) for one in starts.items() for seed in settings.seeds for limit in settings.limits]
    rows, facts = list(report.rows), dict(report.data["models"])
    for run in tqdm(runs, desc="networks that learn", delay=1, leave=False, disable=hidden(progress)):
        few = limited(train, run.limit, run.seed, sample=settings.sample, lists=settings.listed)
        how = replace(learning, seed=run.seed)
        found = finetune(few, run.start, place and place / run.folder, how, resume=True, progress=progress)
        share, points = run.limit
        named = {"model": run.label, "head": "linear", "task": Segmentation.name, "levels": "all", "seed": run.seed}
        metrics = judged(found.model, found.head, test, settings.test_sample)
        rows += rows_of(named | {"limit": {"scenes": share, "points": points}}, metrics)
        facts[run.label] = described(run.label, run.start, learning)
    return Report(report.data | {"rows": rows, "models": facts})


def described(label: str, start: Model | Shape, learning: FinetuneSettings) -> dict[str, Any]:
    """Return what a report says of a network that learned, whose seed and head are the row's."""
    begun = {"start_sha256": model_hash(start)} if isinstance(start, Model) else {}
    rates = {"layer_decay": learning.layer_decay if begun else 1.0}
    return {"name": label} | begun | {key: value for key, value in (asdict(learning) | rates).items() if key != "seed"}
