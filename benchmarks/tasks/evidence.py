"""What the features are good for, in one table: `python benchmarks/tasks/evidence.py probe -o evidence.json`.

Rows: the bare input, an untrained network, the weights of `--models`, and the same network trained with the labels of
the rooms that the heads learn from. Columns: every task, each learned by its linear head on frozen features, for some
seeds of the heads; a task that this version does not have stays empty. Rooms that nobody trained on:

    msm3d rooms -n 60 -o probe --split train --first-seed 100000
    msm3d rooms -n 30 -o probe --split val --first-seed 200000

The table goes beside the JSON, and is written anew after each task; features and the trained network are kept in
`--work`, with the whole report of each task.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter

import torch

import msm3d
from msm3d.evaluate import PROTOCOLS, Dataset, Report, SupervisedSettings, open_dataset, probe, train_supervised
from msm3d.evaluate.report import check_path, machine
from msm3d.pretrain.config import ROOMS
from msm3d.tasks import TASKS
from msm3d.tasks.confusion import table

FEW = 20  # labelled points of a scene
NAMES = {"raw input": "bare input: colour, normal, height", "random network": "untrained network"}


@dataclass(frozen=True)
class Column:
    """A number of each row."""

    title: str
    task: str
    protocol: str | None = None  # the task's own by default
    metric: str | None = None  # the task's main one by default
    points: int | None = None  # of each scene to learn from


COLUMNS = (
    Column("classes, mIoU", "segmentation", "linear"),
    Column(f"{FEW} labels a room, mIoU", "segmentation", "linear", points=FEW),
    Column("masks, AP50", "instances", "pointgroup-linear", "ap50"),
    Column("boxes, AP50", "instances", "pointgroup-linear", "box_ap50"),
    Column("grounding", "grounding"),
)


def with_heads(steps: int, batch: int) -> None:
    """Let the protocols of this run have heads of so many steps, of so many rows; the reports say so."""
    for name, protocol in PROTOCOLS.items():
        if "steps" in protocol.settings:
            PROTOCOLS[name] = replace(protocol, settings={**protocol.settings, "steps": steps, "batch": batch})


def supervised(train: Dataset, steps: int, crop: int, work: Path) -> msm3d.Model:
    """Return the network of `rooms`, trained with the labels of these rooms, all or as far as it came before."""
    settings = SupervisedSettings(steps=steps, crop=crop, lr=2e-3, warmup=0.03)
    path = work / f"supervised-{len(train)}-{steps}.pt"
    return train_supervised(train, ROOMS.backbone, settings, checkpoint=path, every=50)


def values(report: Report, column: Column, model: str) -> list[float]:
    """Return what each seed has for a row and a column, in percent."""
    head = column.protocol or next(row["head"] for row in report.rows if row["model"] == model)
    limit = (1.0, column.points)
    return [100 * v for v in report.values(model, head, column.metric or report.main_metric, "all", limit)]


def markdown(rows: dict[str, dict[str, list[float]]]) -> str:
    """Return the table: means, and deviations of several seeds."""

    def cell(found: list[float] | None) -> str:
        if found is None:
            return ""
        return f"{mean(found):.1f}" + (f" ± {stdev(found):.1f}" if len(found) > 1 else "")

    titles = [column.title for column in COLUMNS]
    lines = [[NAMES.get(name, name), *(cell(found.get(title)) for title in titles)] for name, found in rows.items()]
    return table(["features", *titles], lines, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with train and val")
    parser.add_argument("-o", "--output", required=True, help=".json; the Markdown goes beside it")
    parser.add_argument("--work", type=Path, default=Path("evidence"), help="folder to go on with (default evidence)")
    parser.add_argument("--models", default="rooms,rooms-labelled", help="names or folders, with commas")
    parser.add_argument("--train", type=int, help="rooms to learn from, the first ones; all by default")
    parser.add_argument("--test", type=int, help="rooms to test on; all by default")
    parser.add_argument("--seeds", default="0,1,2", help="of the heads (default 0,1,2)")
    parser.add_argument("--sample", type=int, default=1000, help="points of a room that heads learn from")
    parser.add_argument("--steps", type=int, default=800, help="of the supervised network; 0 leaves it out")
    parser.add_argument("--crop", type=int, default=30_000, help="points of a room and step of it")
    parser.add_argument(
        "--head-steps", type=int, default=2000, help="of the heads (default 2000, as `msm3d probe` has)"
    )
    parser.add_argument("--head-batch", type=int, default=4096, help="rows of such a step (default 4096)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    output, seeds, start = check_path(options.output), [int(seed) for seed in options.seeds.split(",")], perf_counter()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    train, test = (
        replace(split, scenes=split.scenes[:number])
        for split, number in zip(open_dataset(options.data), (options.train, options.test), strict=True)
    )
    with_heads(options.head_steps, options.head_batch)
    models = {name: msm3d.load(name, device="cpu") for name in options.models.split(",")}
    if options.steps:
        models["supervised"] = supervised(train, options.steps, options.crop, options.work)
    settings = {name: getattr(options, name) for name in ("models", "sample", "steps", "crop")} | {"seeds": seeds}
    data = {"settings": settings, "machine": machine(), "tasks": {}, "rows": {}}
    for task in dict.fromkeys(column.task for column in COLUMNS):
        if task not in list(TASKS):
            continue
        mine = [column for column in COLUMNS if column.task == task]
        report = probe(
            *(train, test, models),
            task=task,
            protocol=mine[0].protocol,
            points=list(dict.fromkeys(column.points for column in mine)),
            seed=seeds,
            sample=options.sample,
            cache=options.work / "features",
        )
        report.write(options.work / f"{task}.json")
        about = {"train": report.data["train"][0], "test": report.data["test"], "seconds": report.data["seconds"]}
        data["tasks"][task] = about | {"models": report.data["models"], "protocols": report.data["protocols"]}
        for model in ("raw input", "random network", *models):
            found = {column.title: values(report, column, model) for column in mine}
            data["rows"].setdefault(model, {}).update(found)
        data["seconds"] = round(perf_counter() - start, 1)
        output.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        text = f"# What the features are good for\n\nIn percent, mean ± deviation of {len(seeds)} seeds of the heads: "
        text += f"{len(train)} rooms to learn from, {len(test)} to test on.\n\n{markdown(data['rows'])}\n"
        output.with_suffix(".md").write_text(text, encoding="utf-8")
        print(text, flush=True)


if __name__ == "__main__":
    main()
