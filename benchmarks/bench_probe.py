"""A probe at full size in bounded memory: `python benchmarks/bench_probe.py [--scenes N] [--test-scenes N]`.

300 scenes of 100,000 points with 928 channels, made up so that no network and no data are needed; the linear and the
nearest-neighbour protocol as they are. Asserts that both find the planted classes, in less than 4 GB, and prints where
the time goes.
"""

import argparse
import resource
from functools import partial
from time import perf_counter

import numpy as np
from machine import json_option, keep, machine

from msm3d import PointCloud
from msm3d.evaluate import SCANNET20, Dataset, Scene, probe

CHANNELS, POINTS, LIMIT = (64, 96, 128, 256, 384), 100_000, 4.0
ROWS = 1_000  # different ones of each class to learn from, and as many to test on


def scene(seed: int, floor: float) -> PointCloud:
    rng = np.random.default_rng(seed)
    return PointCloud(coord=rng.uniform(0, 8, (POINTS, 3)) + [0, 0, floor], segment=rng.integers(-1, 20, POINTS))


class Planted:
    """The mean of each point's class in noise six times as large."""

    name, hash, levels = "planted", "planted1", False

    def __init__(self) -> None:
        stops = np.cumsum(CHANNELS).tolist()
        widths = zip(CHANNELS, stops, strict=True)
        self.blocks = {f"level {i}": slice(stop - width, stop) for i, (width, stop) in enumerate(widths)}
        rng = np.random.default_rng(0)
        means = rng.normal(size=(21, 1, stops[-1])).astype(np.float32)
        noise = 6 * rng.standard_normal((21, 2 * ROWS, stops[-1]), np.float32)
        self.table = (means + noise).astype(np.float16).reshape(42 * ROWS, -1)

    def __call__(self, cloud: PointCloud) -> tuple[np.ndarray, np.ndarray]:
        rows = (cloud.coord[:, 0] * 1e6).astype(np.int64) % ROWS + ROWS * (cloud.coord[:, 2] > 50)
        return self.table[(cloud.segment + 1) * 2 * ROWS + rows], np.arange(len(cloud))

    def describe(self) -> dict:
        return {"name": self.name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--test-scenes", type=int, default=3)
    json_option(parser)
    options = parser.parse_args()
    print(machine())

    def split(name: str, floor: float, count: int) -> Dataset:
        seeds = range(int(floor), int(floor) + count)
        return Dataset("planted", name, SCANNET20, tuple(Scene(f"{name}{s}", partial(scene, s, floor)) for s in seeds))

    train, test = split("train", 0.0, options.scenes), split("test", 1000.0, options.test_scenes)
    clock = perf_counter()
    report = probe(train, test, Planted(), baselines=(), progress=True)
    seconds = perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    rows = report.data["train"][0]["points"]
    print(f"{rows:,} points x {sum(CHANNELS)} channels to learn from, {report.data['test']['points']:,} to test on")
    for method in ("linear", "knn k=1", "knn k=20"):
        print(f"  {method:9} mIoU {100 * report.miou('planted', method):.1f}")
    print(f"{seconds:.0f} s, process peak {peak:.1f} GB")
    keep(options.json, [{"scenes": options.scenes, "points": rows, "seconds": seconds, "peak_gb": peak}])
    assert report.miou("planted", "linear") > 0.6
    assert report.miou("planted", "knn k=20") > 0.1
    assert peak < LIMIT


if __name__ == "__main__":
    main()
