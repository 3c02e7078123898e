"""A report as Markdown: tables of its scores, and how they were measured."""

from collections.abc import Iterator
from statistics import mean, stdev
from typing import Any

from .._util.words import count
from ..tasks.confusion import percent, table
from ..tasks.segmentation import Segmentation
from .report import Report, limit_of

FEW_SCENES = 5  # with fewer scenes to test on, a report says that it is not a result


def markdown(report: Report) -> str:
    """Return the whole text."""
    data, (main, *_), of_class = report.data, report.data["task"]["metrics"], report.data["task"]["per_class"]
    task = "" if data["task"]["name"] == Segmentation.name else f": {data['task']['name']}"
    heads = _different(report, lambda row: (row["model"], row["head"]))
    parts = [f"# Probes on {data['dataset']['name']}{task}"]
    if (scenes := data["test"]["scenes"]) < FEW_SCENES:
        caution = f"So few say that it runs; give at least {FEW_SCENES} that differ, better 50."
        parts += [f"**{count(scenes, 'test scene')}: not a result.** {caution}"]
    metrics = data["task"]["metrics"]
    rows = [[*head, *(_spread(report, metric, *head) for metric in metrics)] for head in heads]
    parts += [table(["model", "method", *(metric["title"] for metric in metrics)], rows, 2)]
    levels = _different(report, lambda row: (row["model"], row["head"], row["levels"]))
    each = [one for one in levels if (*one[:2], f"all but {one[2]}") in levels]
    if len(levels) > len(heads) + 2 * len(each):
        parts += [f"## Encoders and their levels, {main['title']}", _choices(report, main, levels)]
    if each:
        rows = [
            [model, head, name, *(_spread(report, main, model, head, of) for of in (name, f"all but {name}", "all"))]
            for model, head, name in each
        ]
        titles = ["model", "method", "level", "alone", "all but this", "all"]
        parts += [f"## Levels, {main['title']}", table(titles, rows, 3)]
    limits = _different(report, limit_of)
    if len(limits) > 1:
        rows = [[*head, *(_spread(report, main, *head, "all", limit) for limit in limits)] for head in heads]
        titles = [f"{100 * share:g} % of scenes, {points or 'all'} points" for share, points in limits]
        parts += [f"## Less to learn from, {main['title']}", table(["model", "method", *titles], rows, 2)]
    if of_class:
        parts += [f"## Classes, {of_class[0]['title']}", *_class_table(report, of_class[0]["name"], heads)]
    if of_kinds := _kinds(report, main["name"], heads):
        parts += [f"## Kinds, {main['title']}", of_kinds]
    parts += ["## How it was measured", "\n".join(_how(data))]
    return "\n\n".join(parts) + "\n"


def _different(report: Report, key: Any) -> list[Any]:
    """Return what `key` returns of the rows, each once, in their order."""
    return list(dict.fromkeys(map(key, report.rows)))


def _choices(report: Report, metric: dict[str, Any], levels: list[tuple[str, str, str]]) -> str:
    """Return a table with a row for each model and choice of levels, and a column for each head."""
    heads = list(dict.fromkeys(head for _, head, _ in levels))
    rows = []
    for model, chosen in dict.fromkeys((model, chosen) for model, _, chosen in levels if "but" not in chosen):
        last = report.data["models"][model].get("last", "")
        name = f"{chosen} ({last})" if chosen == "last" and last else chosen
        scores = [
            _spread(report, metric, model, head, chosen) if (model, head, chosen) in levels else "" for head in heads
        ]
        rows.append([model, name, *scores])
    return table(["model", "levels", *heads], rows, 2)


def _class_table(report: Report, metric: str, heads: list[tuple[str, str]]) -> Iterator[str]:
    """Yield the means over the seeds that have the metric of a class, and the names of the classes without points."""
    data, rows, absent = report.data, [], []
    for name, points in zip(data["dataset"]["class_names"], data["test"]["class_points"], strict=True):
        if not points:
            absent.append(name)
            continue
        found = [(*head, f"{metric}/{name}") for head in heads]
        scores = (mean(report.values(*one)) if report.defined(*one) else None for one in found)
        rows.append([name, points, *map(percent, scores)])
    yield table(["class", "points", *(f"{model}, {head}" for model, head in heads)], rows, 1)
    if absent:
        yield f"Without a point to test on: {', '.join(absent)}."


def _kinds(report: Report, metric: str, heads: list[tuple[str, str]]) -> str:
    """Return the means over seeds of the main metric of each kind, named NAME/KIND, of a task without classes."""
    found = sorted({row["metric"] for row in report.rows if row["metric"].startswith(f"{metric}/")})
    if report.data["task"]["per_class"] or not found:
        return ""
    there = (
        [mean(report.values(*head, one)) if report.defined(*head, one) else None for head in heads] for one in found
    )
    rows = [[name.partition("/")[2], *map(percent, values)] for name, values in zip(found, there, strict=True)]
    return table(["kind", *(f"{model}, {head}" for model, head in heads)], rows, 1)


def _how(data: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each protocol, sample to learn from, test, model and machine."""
    for name, entry in data["protocols"].items():
        yield f"- {name}, version {entry['version']}: {_listed(entry['settings']) or 'its own settings'}"
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
        yield f"- {name}: {_listed({k: v for k, v in entry.items() if v is not None and k != 'name'})}"
    if any("weights_sha256" in entry for entry in data["models"].values()):
        yield (
            "- file_sha256 is of the file model.safetensors, as `msm3d info` shows it; weights_sha256 is of the "
            "network's shape and numbers, in whatever file they are"
        )
    yield f"- {_listed(data['machine'])}"


def _listed(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _spread(report: Report, metric: dict[str, Any], model: str, head: str, *of: Any) -> str:
    """Return mean and, of several seeds, standard deviation: in percent if the metric is a share."""
    if not of and not report.defined(model, head, metric["name"]):
        return percent(None)
    values = report.values(model, head, metric["name"], *of)
    text = percent(mean(values)) if metric["share"] else f"{mean(values):.3g}"
    if len(values) == 1:
        return text
    return f"{text} ± {100 * stdev(values):.1f}" if metric["share"] else f"{text} ± {stdev(values):.2g}"
