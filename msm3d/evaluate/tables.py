"""A report as Markdown: tables of its scores, and how they were measured."""

from collections.abc import Iterator
from statistics import mean, stdev
from typing import Any

from .._util.words import count
from ..tasks.confusion import percent
from ..tasks.segmentation import Segmentation
from .report import Report, limit_of

FEW_SCENES = 5
"""With fewer scenes to test on, a report says that it is not a result."""


def markdown(report: Report) -> str:
    """Return the whole text."""
    data, main = report.data, report.data["task"]["metrics"][0]
    task = "" if data["task"]["name"] == Segmentation.name else f": {data['task']['name']}"
    parts = [f"# Probes on {data['dataset']['name']}{task}", *_caution(data["test"]["scenes"]), _main_table(report)]
    if any(row["levels"] != "all" for row in report.rows):
        parts += [f"## Levels, {main['title']}", _level_table(report)]
    limits = _different(report, limit_of)
    if len(limits) > 1:
        parts += [f"## Less to learn from, {main['title']}", _limit_table(report, limits)]
    if data["task"]["per_class"]:
        parts += [f"## Classes, {data['task']['per_class'][0]['title']}", *_class_table(report)]
    parts += ["## How it was measured", "\n".join(_how(data))]
    return "\n\n".join(parts) + "\n"


def _different(report: Report, key: Any) -> list[Any]:
    """Return what `key` returns of the rows, each once, in their order."""
    return list(dict.fromkeys(map(key, report.rows)))


def _named(report: Report, *names: str) -> list[tuple[str, ...]]:
    return _different(report, lambda row: tuple(row[name] for name in names))


def _caution(scenes: int) -> list[str]:
    if scenes >= FEW_SCENES:
        return []
    few = "1 test scene" if scenes == 1 else f"{scenes} test scenes"
    return [f"**{few}: not a result.** So few say that it runs; give at least {FEW_SCENES} that differ, better 50."]


def _main_table(report: Report) -> str:
    metrics = report.data["task"]["metrics"]
    lines = [f"| model | method | {' | '.join(m['title'] for m in metrics)} |", "|---|---|" + "---:|" * len(metrics)]
    for model, head in _named(report, "model", "head"):
        scores = " | ".join(_spread(report, metric, model, head) for metric in metrics)
        lines.append(f"| {model} | {head} | {scores} |")
    return "\n".join(lines)


def _level_table(report: Report) -> str:
    main = report.data["task"]["metrics"][0]
    lines = ["| model | method | level | alone | all but this | all |", "|---|---|---:|---:|---:|---:|"]
    for model, head, levels in _named(report, "model", "head", "levels"):
        if levels == "all" or levels.startswith("all but "):
            continue
        sets = (levels, f"all but {levels}", "all")
        scores = " | ".join(_spread(report, main, model, head, name) for name in sets)
        lines.append(f"| {model} | {head} | {levels} | {scores} |")
    return "\n".join(lines)


def _limit_table(report: Report, limits: list[Any]) -> str:
    main = report.data["task"]["metrics"][0]
    heads = " | ".join(f"{100 * share:g} % of scenes, {points or 'all'} points" for share, points in limits)
    lines = [f"| model | method | {heads} |", "|---|---|" + "---:|" * len(limits)]
    for model, head in _named(report, "model", "head"):
        scores = " | ".join(_spread(report, main, model, head, "all", limit) for limit in limits)
        lines.append(f"| {model} | {head} | {scores} |")
    return "\n".join(lines)


def _class_table(report: Report) -> Iterator[str]:
    data, metric = report.data, report.data["task"]["per_class"][0]
    columns = _named(report, "model", "head")
    titles = " | ".join(f"{model}, {head}" for model, head in columns)
    lines = [f"| class | points | {titles} |", "|---|---:|" + "---:|" * len(columns)]
    absent = []
    for name, points in zip(data["dataset"]["class_names"], data["test"]["class_points"], strict=True):
        if not points:
            absent.append(name)
            continue
        scores = [_known(report, f"{metric['name']}/{name}", model, head) for model, head in columns]
        lines.append(f"| {name} | {points} | {' | '.join(scores)} |")
    yield "\n".join(lines)
    if absent:
        yield f"Without a point to test on: {', '.join(absent)}."


def _how(data: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each protocol, sample to learn from, test, model and machine."""
    for name, entry in data["protocols"].items():
        settings = ", ".join(f"{k} {v}" for k, v in entry["settings"].items())
        yield f"- {name}, version {entry['version']}: {settings or 'its own settings'}"
    for entry in data["train"]:
        yield (
            f"- seed {entry['seed']}: learned from {entry['scenes']} of {entry['of']} scenes "
            f"({entry['split']}), {entry['points']} points, at most {entry['points_per_scene']} a scene, "
            f"sha256 of their points and labels {entry['sha256'][:12]}"
        )
    test = data["test"]
    yield (
        f"- tested on {count(test['scenes'], 'scene')} ({test['split']}), "
        f"{'all' if test['points_per_scene'] is None else 'a sample of'} {test['points']} labelled points, "
        f"sha256 of their points and labels {test['sha256'][:12]}; no test-time augmentation"
        + ("; means over the classes present" if data["task"]["per_class"] else "")
    )
    for name, entry in data["models"].items():
        facts = ", ".join(f"{k} {v}" for k, v in entry.items() if v is not None and k != "name")
        yield f"- {name}: {facts}"
    if any("weights_sha256" in entry for entry in data["models"].values()):
        yield (
            "- file_sha256 is of the file model.safetensors, as `msm3d info` shows it; weights_sha256 is of the "
            "network's shape and numbers, in whatever file they are"
        )
    yield "- " + ", ".join(f"{k} {v}" for k, v in data["machine"].items())


def _spread(report: Report, metric: dict[str, Any], *of: Any) -> str:
    """Return mean and, of several seeds, standard deviation: in percent if the metric is a share."""
    values = report.values(of[0], of[1], metric["name"], *of[2:])
    if not metric["share"]:
        text = f"{mean(values):.3g}"
        return text if len(values) == 1 else f"{text} ± {stdev(values):.2g}"
    text = percent(mean(values))
    return text if len(values) == 1 else f"{text} ± {100 * stdev(values):.1f}"


def _known(report: Report, metric: str, model: str, head: str) -> str:
    """Return the mean over the seeds that have a metric, in percent."""
    return percent(mean(report.values(model, head, metric)) if report.defined(model, head, metric) else None)
