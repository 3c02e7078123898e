"""The same backbone trained with labels, with all of them and with few: what self-supervision is held against.

    python benchmarks/pretraining/supervised.py DATA -o runs/supervised [--steps 800] [--few-steps 300]

DATA has a split to learn from and one to test on, as for `msm3d probe`. For each share of the scenes and each number
of labelled points per scene [paper, Tables 4 and 5] a network is trained on those labels alone, and judged by a linear
probe that learns from the same labels. Prints a line for each and writes `limited.json`.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from msm3d.evaluate import Dataset, Scene, SupervisedSettings, open_dataset, probe, train_supervised
from msm3d.evaluate.cache import shuffled
from msm3d.evaluate.protocols import few_scenes
from msm3d.pretrain.config import ROOMS
from msm3d.scan.cloud import PointCloud
from msm3d.tasks.fingerprint import input_hash, scene_hash

ALL = (1.0, None)
LIMITS = {
    f"{share:g}-{points or 'all'}": (share, points)
    for share, points in (ALL, *((s, None) for s in (0.01, 0.05, 0.1, 0.2)), *((1.0, k) for k in (20, 50, 100, 200)))
}


def labelled(cloud: PointCloud, sample: int, points: int, seed: int) -> PointCloud:
    """Return the cloud with the labels that a probe with so few points per scene learns from, and no other."""
    chosen = shuffled(np.flatnonzero(cloud.segment >= 0), 0, input_hash(cloud))[:sample]
    chosen = chosen[shuffled(np.arange(len(chosen)), seed, scene_hash(cloud))[:points]]
    segment = np.full_like(cloud.segment, -1)
    segment[chosen] = cloud.segment[chosen]
    return replace(cloud, segment=segment)


def limited(train: Dataset, share: float, points: int | None, sample: int, seed: int) -> Dataset:
    train = few_scenes(train, share, seed)
    if points is None:
        return train
    scenes = [
        Scene(scene.name, lambda scene=scene: labelled(scene.read(), sample, points, seed)) for scene in train.scenes
    ]
    return replace(train, scenes=tuple(scenes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of checkpoints")
    parser.add_argument("--steps", type=int, default=800, help="with all labels")
    parser.add_argument("--few-steps", type=int, default=300, help="with few")
    parser.add_argument("--crop", type=int, default=40_000, help="points of a scene and step")
    parser.add_argument("--limits", nargs="+", default=list(LIMITS), choices=list(LIMITS), metavar="SCENES-POINTS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sample", type=int, default=1000, help="points per scene that the probe learns from")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    train, test = open_dataset(options.data)
    rows = []
    for name in options.limits:
        share, points = LIMITS[name]
        steps = options.steps if LIMITS[name] == ALL else options.few_steps
        settings = SupervisedSettings(steps=steps, crop=options.crop, seed=options.seed, lr=2e-3, warmup=0.03)
        start = perf_counter()
        data = limited(train, share, points, options.sample, options.seed)
        path = options.output / f"{name}.pt"
        model = train_supervised(data, ROOMS.backbone, settings, checkpoint=path, every=100)
        seconds = perf_counter() - start
        judged = {"scenes": share, "points": points, "seed": options.seed, "sample": options.sample}
        report = probe(train, test, {name: model}, protocol="linear", test_sample=3000, baselines=[], **judged)
        rows.append({**judged, "steps": steps, "miou": report.results[0]["miou"], "seconds": round(seconds)})
        print(json.dumps(rows[-1]), flush=True)
        (options.output / "limited.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
