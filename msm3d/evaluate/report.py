"""What a probe found, with all that is needed to find it again, as JSON for programs and Markdown for people."""

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

from .._util.atomic import replacing
from .._util.output_path import output_path
from .._util.words import count
from ..errors import InputError
from .metrics import percent

FEW_SCENES = 5
"""With fewer scenes to test on, a report says that it is not a result."""
KEYS = ("model", "method", "levels", "share_of_scenes", "points_per_scene")
FORMAT, FORMAT_VERSION = "msm3d-probe", 1


@dataclass(frozen=True, eq=False)
class Report:
    """Results of `probe`."""

    data: dict[str, Any]
    """Plain values, as they are in the JSON file:

    `protocols`: version and settings of each; `dataset`: name, classes and their names; `train`: per seed and limit the
    scenes, their number, the points and a hash of their content; `test`: scenes, points per class and hash; `models`:
    hashes of the file and of the weights, backend and more of each; `share_of_scenes` and `points_per_scene`: the main
    limit, null for the whole sample; `results`: rows of model, method, levels, seed, share_of_scenes,
    points_per_scene, train_points, miou, macc, allacc, and per class iou, accuracy and points, shares from 0 to 1;
    `machine`: versions and processor; `seconds`.
    """

    @property
    def results(self) -> list[dict[str, Any]]:
        """A row for each model, method, choice of levels, limit and seed."""
        return self.data["results"]

    def miou(
        self, model: str, method: str = "linear", levels: str = "all", limit: tuple[float, int | None] | None = None
    ) -> float:
        """Return the mean over seeds of the mIoU of one model by one method.

        Args:
            model: its name in the report.
            method: such as "linear" or "knn k=20".
            levels: such as "level 0" or "all but level 0".
            limit: share of the scenes and points per scene that were learned from; the main ones by default.
        """
        return mean(_values(self._rows(model, method, levels, limit), "miou"))

    def to_json(self) -> str:
        """Return the data as JSON."""
        return json.dumps(self.data, indent=1, ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        """Return tables of the scores and of how they were measured."""
        data = self.data
        parts = [f"# Probes on {data['dataset']['name']}", *self._caution(), self._main_table()]
        if any(row["levels"] != "all" for row in self.results):
            parts += ["## Levels, mIoU", self._level_table()]
        if len(self._named("share_of_scenes", "points_per_scene")) > 1:
            parts += ["## Less to learn from, mIoU", self._limit_table()]
        parts += ["## Classes, IoU", *self._class_table(), "## How it was measured", self._how()]
        return "\n\n".join(parts) + "\n"

    def write(self, path: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Write `path`, ending in .json, and the Markdown beside it; whole files or nothing.

        Raises:
            InputError: see `check_path`.
        """
        target = check_path(path)
        markdown = target.with_suffix(".md")
        with replacing(target) as one, replacing(markdown) as two:
            one.write_text(self.to_json(), encoding="utf-8")
            two.write_text(self.to_markdown(), encoding="utf-8")
        return target, markdown

    def _rows(
        self, model: str, method: str, levels: str, limit: tuple[float, int | None] | None = None
    ) -> list[dict[str, Any]]:
        wanted = (model, method, levels, *(limit or self._main))
        rows = [r for r in self.results if tuple(r[name] for name in KEYS) == wanted]
        if not rows:
            known = ", ".join("/".join(map(str, names[:3])) for names in self._named(*KEYS) if names[3:] == wanted[3:])
            raise InputError(f"there is no result of {model}/{method}/{levels}; choose among {known or 'its limits'}.")
        return rows

    @property
    def _main(self) -> tuple[float, int | None]:
        """The limit that most tables are of."""
        return self.data["share_of_scenes"], self.data["points_per_scene"]

    def _named(self, *names: str) -> list[tuple[Any, ...]]:
        return list(dict.fromkeys(tuple(row[name] for name in names) for row in self.results))

    def _caution(self) -> list[str]:
        count = self.data["test"]["scenes"]
        if count >= FEW_SCENES:
            return []
        scenes = "1 test scene" if count == 1 else f"{count} test scenes"
        return [
            f"**{scenes}: not a result.** So few say that it runs; give at least {FEW_SCENES} that differ, better 50."
        ]

    def _main_table(self) -> str:
        lines = ["| model | method | mIoU | mAcc | allAcc |", "|---|---|---:|---:|---:|"]
        for model, method, levels in self._named("model", "method", "levels"):
            if levels == "all":
                rows = self._rows(model, method, levels)
                scores = " | ".join(_spread(_values(rows, name)) for name in ("miou", "macc", "allacc"))
                lines.append(f"| {model} | {method} | {scores} |")
        return "\n".join(lines)

    def _level_table(self) -> str:
        lines = ["| model | method | level | alone | all but this | all |", "|---|---|---:|---:|---:|---:|"]
        for model, method, levels in self._named("model", "method", "levels"):
            if levels == "all" or levels.startswith("all but "):
                continue
            sets = (levels, f"all but {levels}", "all")
            scores = " | ".join(_spread(_values(self._rows(model, method, name), "miou")) for name in sets)
            lines.append(f"| {model} | {method} | {levels} | {scores} |")
        return "\n".join(lines)

    def _limit_table(self) -> str:
        limits = self._named("share_of_scenes", "points_per_scene")
        heads = " | ".join(f"{100 * share:g} % of scenes, {points or 'all'} points" for share, points in limits)
        lines = [f"| model | method | {heads} |", "|---|---|" + "---:|" * len(limits)]
        for model, method in self._named("model", "method"):
            rows = [self._rows(model, method, "all", limit) for limit in limits]
            lines.append(f"| {model} | {method} | {' | '.join(_spread(_values(row, 'miou')) for row in rows)} |")
        return "\n".join(lines)

    def _class_table(self) -> list[str]:
        columns = self._named("model", "method")
        head = [f"{model}, {method}" for model, method in columns]
        lines = [f"| class | points | {' | '.join(head)} |", "|---|---:|" + "---:|" * len(columns)]
        absent = []
        for i, name in enumerate(self.data["dataset"]["class_names"]):
            if not self.data["test"]["class_points"][i]:
                absent.append(name)
                continue
            scores = []
            for model, method in columns:
                known = [row["iou"][i] for row in self._rows(model, method, "all") if row["iou"][i] is not None]
                scores.append(percent(mean(known) if known else None))
            lines.append(f"| {name} | {self.data['test']['class_points'][i]} | {' | '.join(scores)} |")
        left_out = [f"Without a point to test on: {', '.join(absent)}."] if absent else []
        return ["\n".join(lines), *left_out]

    def _how(self) -> str:
        data = self.data
        lines = [
            f"- {name}, version {entry['version']}: " + ", ".join(f"{k} {v}" for k, v in entry["settings"].items())
            for name, entry in data["protocols"].items()
        ]
        for entry in data["train"]:
            lines.append(
                f"- seed {entry['seed']}: learned from {entry['scenes']} of {entry['of']} scenes "
                f"({entry['split']}), {entry['points']} points, at most {entry['points_per_scene']} a scene, "
                f"sha256 of their points and labels {entry['sha256'][:12]}"
            )
        test = data["test"]
        lines.append(
            f"- tested on {count(test['scenes'], 'scene')} ({test['split']}), "
            f"{'all' if test['points_per_scene'] is None else 'a sample of'} {test['points']} labelled points, "
            f"sha256 of their points and labels {test['sha256'][:12]}; no test-time augmentation; "
            "means over the classes present"
        )
        for name, entry in data["models"].items():
            facts = ", ".join(f"{k} {v}" for k, v in entry.items() if v is not None and k != "name")
            lines.append(f"- {name}: {facts}")
        if any("weights_sha256" in entry for entry in data["models"].values()):
            lines.append(
                "- file_sha256 is of the file model.safetensors, as `msm3d info` shows it; weights_sha256 is of the "
                "network's shape and numbers, in whatever file they are"
            )
        lines.append("- " + ", ".join(f"{k} {v}" for k, v in data["machine"].items()))
        return "\n".join(lines)


def check_path(path: str | os.PathLike[str]) -> Path:
    """Return `path`, or fail before any work is done.

    >>> check_path("report.txt")
    Traceback (most recent call last):
    msm3d.errors.InputError: report.txt cannot hold a report; end it with .json, the Markdown goes beside it.
    """
    return output_path(path, [".json"], "a report", ".json, the Markdown goes beside it")


def machine() -> dict[str, Any]:
    """Return what computed: versions, processor and threads."""
    from .. import __version__

    return {
        "msm3d": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _values(rows: Iterable[dict[str, Any]], name: str) -> list[float]:
    return [row[name] for row in rows]


def _spread(values: list[float]) -> str:
    """Return mean and, of several, standard deviation in percent."""
    text = percent(mean(values))
    return text if len(values) == 1 else f"{text} ± {100 * stdev(values):.1f}"
