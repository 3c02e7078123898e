"""What a probe found, with all that is needed to find it again, as JSON for programs and Markdown for people."""

import json
import os
import platform
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from .._util.atomic import replacing
from .._util.output_path import output_path
from ..errors import FileError, InputError, cut, quoted
from ..tasks.segmentation import Segmentation
from .protocols import Limit

FORMAT, FORMAT_VERSION = "msm3d-probe", 2
COLUMNS = ("model", "head", "task", "levels", "limit", "seed", "metric", "value")  # of a row


@dataclass(frozen=True, eq=False)
class Report:
    """Results of `probe`: a row for each number.

    A row holds `model`, `head` (such as "linear" or "knn k=20"), `task`, `levels` (such as "all" or "level 0"), `limit`
    (`scenes`, the share learned from, and `points` of each, null for the whole sample), `seed`, `metric` (such as
    "miou", or "iou/chair" of one class) and `value`; metrics that are not defined have no row.
    """

    data: dict[str, Any]
    """Plain values, as in the JSON file; older files are brought to this form:

    `protocols`: version and settings of each; `task`: its name and metrics, the main one first; `dataset`: name,
    classes and their names; `train`: per seed and limit the scenes, their number, the points and a hash of their
    content; `test`: scenes, points per class and hash; `models`: hashes of the file and of the weights, backend and
    more of each; `share_of_scenes` and `points_per_scene`: the main limit, null for the whole sample; `rows`;
    `machine`: versions and processor; `seconds`.
    """

    def __post_init__(self) -> None:
        if self.data.get("format_version") == 1:
            object.__setattr__(self, "data", _upgraded(self.data))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Report":
        """Return the report in a JSON file, of this version or an older one, or raise FileError."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            why = cut(error)
            raise FileError(f"{path}: cannot be read as a report ({why}); give a file that `probe` wrote.") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise FileError(f"{path}: is not a report; give a file that `msm3d probe` wrote.")
        version = data.get("format_version")
        if version not in (1, FORMAT_VERSION):
            raise FileError(f"{path}: was made by a newer msm3d (format {quoted(version)}); run pip install -U msm3d.")
        return cls(data)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each number, of `COLUMNS`."""
        return self.data["rows"]

    @property
    def results(self) -> list[dict[str, Any]]:
        """The numbers of each model, method, choice of levels, limit and seed side by side.

        Of a segmentation these are miou, macc and allacc, and per class iou, accuracy and points, shares from 0 to 1;
        `method` is the row's `head`, and `train_points` were learned from.
        """
        names, points = self.data["dataset"]["class_names"], self.data["test"]["class_points"]
        learned = {(e["seed"], e["share"], e["points_per_scene"]): e["points"] for e in self.data["train"]}
        titles = ("model", "method", "levels", "seed", "share_of_scenes", "points_per_scene", "train_points")
        wide: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in self.rows:
            share, few = limit_of(row)
            count = learned[row["seed"], share, few or self.data["sample"]]
            key = (row["model"], row["head"], row["levels"], row["seed"], share, few, count)
            values = wide.setdefault(key, dict(zip(titles, key, strict=True)))
            metric, of_class, name = row["metric"].partition("/")
            if of_class and name in names:
                values.setdefault(metric, [None] * len(names))[names.index(name)] = row["value"]
            else:
                values[row["metric"]] = row["value"]
        return [values | ({"points": points} if points else {}) for values in wide.values()]

    def score(
        self,
        model: str,
        head: str = "linear",
        metric: str | None = None,
        *,
        levels: str = "all",
        limit: Limit | None = None,
    ) -> float:
        """Return the mean over seeds of one model's metric by one head.

        The metric is such as "miou" or "iou/chair", the task's main one by default, the head "linear" or "knn k=20",
        the levels "level 0" or "all but level 0", the limit the share of the scenes and the points per scene.
        """
        return mean(self.values(model, head, metric or self.main_metric, levels, limit))

    def miou(self, model: str, method: str = "linear", levels: str = "all", limit: Limit | None = None) -> float:
        """Return the mean over seeds of the mIoU of one model by one method; arguments as for `score`."""
        return self.score(model, method, "miou", levels=levels, limit=limit)

    def values(
        self, model: str, head: str, metric: str, levels: str = "all", limit: Limit | None = None
    ) -> list[float]:
        """Return one metric of each seed, as for `score`, or raise InputError where there is none."""
        where = (model, head, levels, limit or self.main_limit)
        there = self._found.get(where)
        if there is None:
            known = ", ".join("/".join(names) for *names, other in self._found if other == where[3]) or "its limits"
            raise InputError(f"there is no result of {model}/{head}/{levels}; choose among {known}.")
        if metric not in there:
            some = ", ".join([name for name in there if "/" not in name] + [name for name in there if "/" in name][:3])
            raise InputError(f"there is no {metric!r} of {model}/{head}/{levels}; choose among {some}, ….")
        return there[metric]

    def defined(self, model: str, head: str, metric: str) -> bool:
        """Whether all levels by one head have a metric at the main limit."""
        return metric in self._found[model, head, "all", self.main_limit]

    @cached_property
    def _found(self) -> dict[tuple[str, str, str, Limit], dict[str, list[float]]]:
        """The values of all seeds by model, head, levels and limit, then by metric."""
        found = defaultdict(lambda: defaultdict(list))
        for row in self.rows:
            found[row["model"], row["head"], row["levels"], limit_of(row)][row["metric"]].append(row["value"])
        return {where: dict(values) for where, values in found.items()}

    @property
    def main_metric(self) -> str:
        """The metric that most tables are of."""
        return self.data["task"]["metrics"][0]["name"]

    @property
    def main_limit(self) -> Limit:
        """The limit that most tables are of."""
        return self.data["share_of_scenes"], self.data["points_per_scene"]

    def to_json(self) -> str:
        """Return the data as JSON, a row in a line."""
        lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in self.rows)
        text = json.dumps(self.data | {"rows": []}, indent=1, ensure_ascii=False)
        return text.replace('\n "rows": []', f'\n "rows": [\n  {lines}\n ]', 1) + "\n"

    def to_markdown(self) -> str:
        """Return tables of the scores and of how they were measured."""
        from .tables import markdown

        return markdown(self)

    def write(self, path: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Write `path`, ending in .json, and the Markdown beside it, whole files or nothing; see `check_path`."""
        target = check_path(path)
        markdown = target.with_suffix(".md")
        with replacing(target) as one, replacing(markdown) as two:
            one.write_text(self.to_json(), encoding="utf-8")
            two.write_text(self.to_markdown(), encoding="utf-8")
        return target, markdown


def limit_of(row: Mapping[str, Any]) -> Limit:
    """Return the limit of a row as `probe` is given it."""
    return row["limit"]["scenes"], row["limit"]["points"]


def rows_of(named: Mapping[str, Any], metrics: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """Yield a row for each metric; `named` holds the other columns."""
    for metric, value in metrics.items():
        yield {name: named[name] for name in COLUMNS[:-2]} | {"metric": metric, "value": value}


def described(task: Any) -> dict[str, Any]:
    """Return what a report says of a task."""
    kinds = {"metrics": task.metrics, "per_class": task.per_class}
    return {"name": task.name} | {kind: [vars(one).copy() for one in metrics] for kind, metrics in kinds.items()}


def _upgraded(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a report of version 1, whose results had the metrics of a segmentation as columns."""
    rows, kept = [], {**data, "format_version": FORMAT_VERSION, "task": described(Segmentation)}
    for old in kept.pop("results"):
        limit = {"scenes": old["share_of_scenes"], "points": old["points_per_scene"]}
        metrics = {metric.name: old[metric.name] for metric in Segmentation.metrics}
        for metric in Segmentation.per_class:
            each = zip(data["dataset"]["class_names"], old[metric.name], strict=True)
            metrics |= {f"{metric.name}/{name}": value for name, value in each if value is not None}
        rows += rows_of({**old, "head": old["method"], "task": Segmentation.name, "limit": limit}, metrics)
    return kept | {"rows": rows}


def check_path(path: str | os.PathLike[str]) -> Path:
    """Return `path`, or fail before any work is done."""
    return output_path(path, [".json"], "a report", ".json, the Markdown goes beside it")


def machine() -> dict[str, Any]:
    """Return what computed: versions, processor and threads."""
    from .. import __version__

    versions = {"msm3d": __version__, "torch": torch.__version__, "numpy": np.__version__}
    versions |= {"python": platform.python_version(), "platform": platform.platform()}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    processor = {"processor": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads(), "gpu": gpu}
    return versions | processor
