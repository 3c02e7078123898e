"""What one stray point and a move do to features: `python benchmarks/bench_stray.py [SCAN[:UP] …] [--points N]`.

Each scan is thinned to N points by a fixed seed; without scans, synthetic rooms are taken. For a stray below, above and
beside, at distances from 5 cm to 2 m, at places drawn from several seeds: the cosine of every other point's descriptor
to its descriptor without the stray. Normals are estimated anew with the stray, unless `--normals`. Then the same
points in whole millimetres, moved by whole metres and by whole millimetres: how many rows are the same to the last bit.
"""

import argparse
import sys
import warnings

import numpy as np
from machine import json_option, keep, machine

import msm3d
from msm3d.errors import Msm3dWarning
from msm3d.io import read
from msm3d.rooms import make
from msm3d.scan.normals import completed

DISTANCES = (0.05, 0.0731, 0.1, 0.1234, 0.2, 0.3, 0.4, 0.5677, 0.8, 1.0, 1.3, 1.6, 2.0)
WAYS = {"below": (2, -1), "above": (2, 1), "-x": (0, -1), "+x": (0, 1), "-y": (1, -1), "+y": (1, 1)}
MOVES = ((500_000.0, 4_600_000.0, 100.0), (7.0, -3.0, 1.0), (682_244.0, 3_444_317.0, 85.0), (0.123, -4.567, 0.008))


def thinned(cloud: msm3d.PointCloud, points: int) -> dict[str, np.ndarray]:
    """Return at most `points` of a cloud's points, in their order."""
    rows = np.sort(np.random.default_rng(0).permutation(len(cloud))[:points])
    parts = {name: getattr(cloud, name) for name in ("coord", "color", "normal")}
    return {name: values[rows] for name, values in parts.items() if values is not None}


def with_stray(scan: dict[str, np.ndarray], way: str, distance: float, seed: int) -> dict[str, np.ndarray]:
    """Return the scan and, as its last row, a point outside its box with the colour and normal of one of its points."""
    rng = np.random.default_rng([seed, *way.encode(), round(distance * 1e4)])
    axis, side = WAYS[way]
    low, high = scan["coord"].min(0), scan["coord"].max(0)
    place = rng.uniform(low, high)
    place[axis] = (low if side < 0 else high)[axis] + side * distance
    like = rng.integers(len(scan["coord"]))
    return {name: np.concatenate([v, [place if name == "coord" else v[like]]]) for name, v in scan.items()}


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine between the rows of `a` and `b`."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def strays(model: msm3d.Model, scan: dict[str, np.ndarray], seeds: int) -> dict[str, list[tuple[float, float]]]:
    """Return for each way the mean and the 5 % quantile of the cosines, one pair for each distance and seed."""
    whole = model.extract(scan)
    found = {}
    for way in WAYS:
        found[way] = []
        for i, distance in enumerate(DISTANCES):
            for seed in range(seeds if i % 3 == 0 else 1):
                cosine = cosines(model.extract(with_stray(scan, way, distance, seed))[:-1], whole)
                found[way].append((float(cosine.mean()), float(np.quantile(cosine, 0.05))))
    return found


def moves(model: msm3d.Model, scan: dict[str, np.ndarray]) -> list[tuple[float, float]]:
    """Return for each move the share of rows with the same bits, and the least cosine."""
    whole = np.rint(scan["coord"] * 1000)
    still = model.extract({**scan, "coord": whole / 1000})
    found = []
    for move in MOVES:
        moved = model.extract({**scan, "coord": (whole + np.rint(np.array(move) * 1000)) / 1000})
        found.append((float((moved == still).all(1).mean()), float(cosines(moved, still).min())))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", nargs="*", metavar="SCAN[:UP]", help="synthetic rooms by default")
    parser.add_argument("--model", help="the bundled weights by default")
    parser.add_argument("--points", type=int, default=30_000)
    parser.add_argument("--seeds", type=int, default=2, help="places of a stray at every third distance")
    parser.add_argument("--normals", action="store_true", help="estimate normals once, without the stray")
    json_option(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore", Msm3dWarning)

    print(machine())
    model = msm3d.load(options.model, device="cpu")
    clouds = {}
    for scan in options.scans:
        path, _, up = scan.partition(":")
        clouds[path.rsplit("/", 1)[-1]] = read(path, up=up or None)
    if not clouds:
        clouds = {kind: make(7_100_000 + i, kind=kind) for i, kind in enumerate(("office", "bedroom", "kitchen"))}
    print(f"{model}\n\n| scan | stray | mean cosine, least | 5 % quantile, least | share that holds 0.999 and 0.99 |")
    print("|---|---|---|---|---|")
    moved, figures = [], []
    for name, cloud in clouds.items():
        scan = thinned(completed(cloud) if options.normals else cloud, options.points)
        for way, pairs in strays(model, scan, options.seeds).items():
            mean, low = np.array(pairs).T
            holds = ((mean >= 0.999) & (low >= 0.99)).mean()
            figures.append({"scan": name, "stray": way, "mean": float(mean.min()), "low": float(low.min())})
            figures[-1]["holds"] = float(holds)
            print(f"| {name} | {way} | {mean.min():.5f} | {low.min():.4f} | {holds:.0%} |", flush=True)
        moved.append((name, moves(model, scan)))
    print("\n| scan | moved by, m | rows with the same bits | least cosine |\n|---|---|---|---|")
    for name, pairs in moved:
        for move, (same, least) in zip(MOVES, pairs, strict=True):
            print(f"| {name} | {', '.join(f'{m:g}' for m in move)} | {same:.2%} | {least:.4f} |")
            figures.append({"scan": name, "moved": list(move), "same_bits": float(same), "least": float(least)})
    keep(options.json, figures)


if __name__ == "__main__":
    sys.exit(main())
