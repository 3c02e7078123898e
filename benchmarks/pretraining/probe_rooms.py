"""Features of any number of models, judged side by side on synthetic rooms.

    python benchmarks/pretraining/probe_rooms.py -o rooms.json msm=runs/student supervised=runs/supervised.pt

Each model is a folder that `msm3d.load` takes or a checkpoint of `train_supervised`, with a name before `=` if it
should have one. The bare input and an untrained network of the first model's shape come with them. One computation of
the features serves all: linear and nearest-neighbour probes; each level alone and all but each; few scenes; few points.

By default 60 rooms to learn from and 60 to test on are made on the fly, of seeds that no training takes. Rooms that
were written before are read much faster:

    msm3d rooms -n 60 -o probe --split train --first-seed 100000
    msm3d rooms -n 60 -o probe --split test --first-seed 300000
    python benchmarks/pretraining/probe_rooms.py --data probe -o rooms.json --cache features msm=runs/student

To judge on every labelled point instead of a sample of each room, `--test-points all`; to choose between models, rooms
of other seeds than those that will be reported.
"""

import argparse
import warnings
from dataclasses import replace
from pathlib import Path

import torch

import msm3d
from msm3d.evaluate import Dataset, Scene, open_dataset, probe, random_network, supervised_model
from msm3d.evaluate.report import check_path
from msm3d.pretrain.config import ROOMS


def models(names: list[str], random: list[int], backend: str | None) -> dict[str, msm3d.Model]:
    """Return the models by name, and untrained networks of the first one's shape."""
    found = {}
    for text in names:
        label, _, where = text.rpartition("=")
        path = Path(where)
        read = supervised_model if path.is_file() else msm3d.load
        found[label or path.stem] = read(where, backend=backend)
    like = next(iter(found.values()), None)
    shape = like.config if like else ROOMS.backbone
    for seed in random:
        found[f"random network {seed}"] = random_network(shape, seed, like=like)
    return found


def without(split: Dataset, part: str | None) -> Dataset:
    """Return the split as if its scans had no colour, or no normals: grey, or estimated."""
    if part is None:
        return split
    warnings.simplefilter("ignore", msm3d.Msm3dWarning)
    scenes = [Scene(scene.name, lambda scene=scene: replace(scene.read(), **{part: None})) for scene in split.scenes]
    return replace(split, scenes=tuple(scenes))


def counts(text: str) -> list[int | None]:
    return [None if part == "all" else int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="[NAME=]PATH")
    parser.add_argument("-o", "--output", required=True, help=".json; the Markdown goes beside it")
    parser.add_argument("--data", default="rooms:60", help="folder with train and val, or test (default rooms:60)")
    parser.add_argument("--cache", help="folder of features to go on with")
    parser.add_argument("--protocol", default="linear,knn")
    parser.add_argument("--seeds", type=counts, default=[0], help="of the probes, such as 0,1,2 (default 0)")
    parser.add_argument("--random", type=counts, default=[0], help="seeds of untrained networks (default 0)")
    parser.add_argument("--main", action="store_true", help="neither levels nor few scenes nor few points")
    parser.add_argument("--train-points", type=int, default=1000, help="of each scene (default 1000)")
    parser.add_argument("--test-points", type=counts, default=[1500], help="of each scene, or all (default 1500)")
    parser.add_argument("--without", choices=["color", "normal"], help="what the scans shall lack")
    parser.add_argument("--threads", type=int, help="one is best where other work runs beside it")
    parser.add_argument("--backend")
    options = parser.parse_args()
    check_path(options.output)
    if options.threads:
        torch.set_num_threads(options.threads)
    report = probe(
        *(without(split, options.without) for split in open_dataset(options.data)),
        models(options.models, options.random, options.backend),
        protocol=options.protocol,
        levels=not options.main,
        scenes=1 if options.main else (1, 0.2, 0.1, 0.05, 0.01),
        points=None if options.main else (None, 200, 100, 50, 20),
        seed=options.seeds,
        sample=options.train_points,
        test_sample=options.test_points[0],
        baselines=["raw"],
        cache=options.cache,
        progress=True,
    )
    report.write(options.output)
    print(report.to_markdown())


if __name__ == "__main__":
    main()
