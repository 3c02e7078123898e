"""A classifier on frozen features: `python examples/06_linear_probe.py [LABELLED_SCAN ...]`, judged on the last scan.

Without scans it makes rooms. `msm3d probe` does this for whole data sets, beside baselines and with a report.
"""

import sys

import numpy as np

import msm3d
from msm3d.evaluate import IGNORE, KNNProbe, LinearProbe
from msm3d.rooms import CLASSES, OTHER, make

POINTS = 4000  # of each scan to learn from

model = msm3d.load()
scans = [msm3d.read(path) for path in sys.argv[1:]]
scans = scans or [make(seed, kind="bedroom", points=40_000) for seed in range(900_001, 900_007)]
draw = np.random.default_rng(0)


def labels(scan: msm3d.PointCloud) -> np.ndarray:
    return np.where(scan.segment == OTHER, IGNORE, scan.segment)


def sample(scan: msm3d.PointCloud) -> tuple[np.ndarray, np.ndarray]:
    rows = draw.permutation(len(scan))[:POINTS]
    return model.extract(scan)[rows], labels(scan)[rows]


*learn, test = scans
samples = [sample(scan) for scan in learn]
features, truth = model.extract(test), labels(test)
levels = [info.slice for info in model.feature_info]  # each counts the same for nearest neighbours

for probe in (KNNProbe(k=20, blocks=levels), LinearProbe(steps=500)):
    scores = probe.fit(samples).scores(features, truth)
    name = type(probe).__name__
    print(f"{name}: mIoU {100 * scores.miou:.1f} %, {100 * scores.allacc:.1f} % of the points right")
print(f"learned from {len(learn)} scans, {POINTS:,} points of each; tested on every labelled point of another")
for name, iou, points in zip(CLASSES, scores.iou, scores.points, strict=False):
    if points:
        print(f"  {name}: IoU {100 * iou:.0f} %, {points:,} points")
