"""Do features that were learned on synthetic rooms say something about a real scan?

    python benchmarks/pretraining/transfer.py workshop.ply msm=runs/student sup=runs/supervised.pt -o transfer.json

The scan is e-verse's laser scan of a furnished workshop (EverseDevelopment/Snack.Viewer.IFC.Potree, MIT), thinned to
2 cm: a PLY file with `label`, 0 to 8 as in `NAMES`, for the nearest element of the building's model. Nobody labelled it
by hand. Three questions, each beside the bare input and an untrained network:

- split: learn the workshop's own classes on two of four strips across the room, judge them on the other two, and the
  other way round. Half a metre on either side of a border is not learned from. A class that one side of a fold lacks is
  not judged in it.
- rooms: learn wall, floor, window, door and furniture on synthetic rooms alone, judge them on the workshop.
- places: no labels. Two copies hold different halves of the points, and one is turned, painted and shaken as training
  does it. Does the nearest feature of a point lie at the same place in the other copy?
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from plyfile import PlyData
from probe_rooms import counts, models

from msm3d import PointCloud
from msm3d.evaluate import (
    IGNORE,
    ClassList,
    Dataset,
    Features,
    KNNProbe,
    ModelFeatures,
    RawFeatures,
    Scene,
    open_dataset,
    probe,
)
from msm3d.evaluate.report import check_path, machine
from msm3d.scan.augment import augmented
from msm3d.scan.normals import completed

NAMES = ("wall", "floor", "beam or ceiling", "glazing", "door", "pipe", "light", "electrical", "furniture")
WORKSHOP = ClassList("workshop", NAMES)
SHARED = ClassList("shared", ("wall", "floor", "window", "door", "furniture"))
TO_SHARED = {0: 0, 1: 1, 3: 2, 4: 3, 8: 4}
"""Of the workshop's labels; the others are in no synthetic room, or nothing there."""
ROOMS_TO_SHARED = {"wall": 0, "floor": 1, "window": 2, "door": 3, "picture": IGNORE, "curtain": IGNORE}
ROOMS_TO_SHARED |= {"shower curtain": IGNORE}
"""Of the rooms' classes; all others are furniture."""
STRIPS, GAP = 4, 0.5
LEAST = 500
"""Points of a class that each side of a fold needs."""
QUERIES, NEAR = 2000, (0.1, 0.5)


def scan(path: str) -> PointCloud:
    vertex = PlyData.read(path)["vertex"].data
    label = vertex["label"].astype(np.int64)
    return completed(
        PointCloud.of(
            {
                "coord": np.stack([vertex[axis] for axis in "xyz"], 1).astype(np.float64),
                "color": np.stack([vertex[name] for name in ("red", "green", "blue")], 1),
                "segment": np.where(label < len(WORKSHOP), label, IGNORE),
            }
        )
    )


def folds(cloud: PointCloud) -> list[tuple[Dataset, Dataset]]:
    """Return both ways of learning from every other strip along the longer side."""
    axis = int(np.ptp(cloud.coord[:, :2], axis=0).argmax())
    low, size = cloud.coord[:, axis].min(), np.ptp(cloud.coord[:, axis]) / STRIPS
    place = (cloud.coord[:, axis] - low) / size
    strip = np.minimum(place.astype(int), STRIPS - 1)
    inner = np.abs(place - np.clip(np.rint(place), 1, STRIPS - 1)) * size > GAP
    pairs = []
    for side in (0, 1):
        parts = [
            np.where((strip % 2 == side) & inner, cloud.segment, IGNORE),
            np.where(strip % 2 != side, cloud.segment, IGNORE),
        ]
        known = [np.bincount(part[part >= 0], minlength=len(WORKSHOP)) >= LEAST for part in parts]
        judged = np.append(known[0] & known[1], False)
        splits = [
            Dataset("workshop", name, WORKSHOP, (scene(f"{name}-{side}", cloud, np.where(judged[part], part, IGNORE)),))
            for name, part in zip(("train", "test"), parts, strict=True)
        ]
        pairs.append((splits[0], splits[1]))
    return pairs


def scene(name: str, cloud: PointCloud, segment: np.ndarray) -> Scene:
    return Scene(name, lambda: replace(cloud, segment=segment))


def shared_rooms(rooms: Dataset) -> Dataset:
    """Return rooms with the classes that the workshop has as well."""
    table = np.array([ROOMS_TO_SHARED.get(name, 4) for name in rooms.classes.names] + [IGNORE])

    def read(one: Scene) -> PointCloud:
        cloud = one.read()
        return replace(cloud, segment=table[cloud.segment])

    return Dataset("rooms", "train", SHARED, tuple(Scene(one.name, partial(read, one)) for one in rooms.scenes))


def places(cloud: PointCloud, sources: Mapping[str, Features], seed: int) -> dict[str, dict[str, float]]:
    """Return for each source how often the nearest feature is near, and how far it is in the middle."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    half = rng.permutation(len(cloud)) % 2 == 0
    rows = (np.flatnonzero(half), np.flatnonzero(~half))
    one, other = (
        completed(PointCloud.of({"coord": cloud.coord[part], "color": cloud.color[part]})) for part in rows
    )  # normals of each from its own points
    other = augmented(other, generator)
    queries = rng.choice(len(rows[1]), QUERIES, replace=False)
    found = {}
    for name, source in sources.items():
        (bank, owner), (asked, voxel) = source(one), source(other)
        inside = np.zeros((len(bank), 3))
        np.add.at(inside, owner, one.coord)
        inside /= np.bincount(owner, minlength=len(bank))[:, None]
        nearest = KNNProbe(k=1, bank=None, blocks=list(source.blocks.values())).fit(bank, np.arange(len(bank)))
        hit = nearest.neighbours(asked[voxel[queries]])[1][:, 0].numpy()
        gap = np.linalg.norm(inside[hit] - cloud.coord[rows[1][queries]], axis=1)
        found[name] = {f"within {near:g} m": float((gap < near).mean()) for near in NEAR}
        found[name]["median, m"] = float(np.median(gap))
    return found


def table(rows: Mapping[str, Mapping[str, list[float]]], scale: float = 100.0) -> str:
    """Return a Markdown table of means and, of several values, standard deviations."""
    heads = list(next(iter(rows.values())))
    lines = [f"| model | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for name, cells in rows.items():
        texts = []
        for head in heads:
            values = [value * (1 if head.endswith(", m") else scale) for value in cells[head]]
            digits = 2 if head.endswith(", m") else 1
            spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
            texts.append(f"{mean(values):.{digits}f}{spread}")
        lines.append(f"| {name} | {' | '.join(texts)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", help="workshop.ply")
    parser.add_argument("models", nargs="*", metavar="[NAME=]PATH")
    parser.add_argument("-o", "--output", required=True, help=".json; the Markdown goes beside it")
    parser.add_argument("--rooms", default="rooms:60/1", help="rooms to learn from (default rooms:60/1); or none")
    parser.add_argument("--cache", help="folder of features to go on with")
    parser.add_argument("--seeds", type=counts, default=[0, 1, 2], help="of probes and copies (default 0,1,2)")
    parser.add_argument("--random", type=counts, default=[0], help="seeds of untrained networks (default 0)")
    parser.add_argument("--threads", type=int, help="one is best where other work runs beside it")
    parser.add_argument("--backend")
    options = parser.parse_args()
    output = check_path(options.output)
    if options.threads:
        torch.set_num_threads(options.threads)
    cloud = scan(options.scan)
    nets = models(options.models, options.random, options.backend)
    sources = {name: ModelFeatures(model, name) for name, model in nets.items()} | {"raw input": RawFeatures()}
    common = {"seed": options.seeds, "baselines": (), "cache": options.cache, "progress": True}
    parts, data = [], {"machine": machine(), "models": {name: one.describe() for name, one in sources.items()}}

    reports = [probe(*pair, sources, **common, sample=20_000, test_sample=60_000) for pair in folds(cloud)]
    data["split"] = [report.data for report in reports]
    parts.append("## Its own classes, learned on other strips: mIoU, mean of both folds\n\n" + table(_by_seed(reports)))

    if options.rooms != "none":
        rooms = shared_rooms(open_dataset(options.rooms)[0])
        lookup = np.array([TO_SHARED.get(label, IGNORE) for label in range(len(WORKSHOP))] + [IGNORE])
        test = Dataset("workshop", "all", SHARED, (scene("workshop", cloud, lookup[cloud.segment]),))
        report = probe(rooms, test, sources, **common, sample=1000, test_sample=60_000)
        data["rooms"] = report.data
        parts.append(
            "## Wall, floor, window, door, furniture, learned on synthetic rooms: mIoU\n\n" + table(_by_seed([report]))
        )

    copies = [places(cloud, sources, seed) for seed in options.seeds]
    data["places"] = copies
    merged = {name: {head: [copy[name][head] for copy in copies] for head in copies[0][name]} for name in sources}
    parts.append("## The same place in a turned, painted, thinned copy: share of points\n\n" + table(merged))

    text = "# The workshop\n\n" + "\n\n".join(parts) + "\n"
    output.write_text(json.dumps(data, indent=1) + "\n")
    Path(output).with_suffix(".md").write_text(text)
    print(text)


def _by_seed(reports: list) -> dict[str, dict[str, list[float]]]:
    """Return mIoU and accuracy by model and method, for each seed the mean of the reports."""
    cells: dict[str, dict[str, dict[int, list[float]]]] = {}
    for row in (row for report in reports for row in report.results):
        for score, name in (("miou", row["method"]), ("allacc", f"{row['method']}, accuracy")):
            seeds = cells.setdefault(row["model"], {}).setdefault(name, {})
            seeds.setdefault(row["seed"], []).append(row[score])
    return {
        model: {name: [mean(values) for values in seeds.values()] for name, seeds in columns.items()}
        for model, columns in cells.items()
    }


if __name__ == "__main__":
    main()
