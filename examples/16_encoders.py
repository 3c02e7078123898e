"""Which encoder for my scans? `python examples/16_encoders.py [LABELLED_SCAN ...]`, judged on the last scan.

Compares the bundled ones, all levels and the last alone, by nearest neighbours; nothing is downloaded. Without scans it
makes rooms. For data sets: `msm3d probe DATA --model rooms --model sonata --levels all,last -o report.json`.
"""

import sys

import numpy as np

import msm3d
from msm3d.evaluate import IGNORE, KNNProbe
from msm3d.rooms import OTHER, make

POINTS = 4000  # of each scan to learn from
NAMES = ["rooms", "rooms-labelled"]  # add "sonata", "concerto-tiny", ...: fetched once, not for products

scans = [msm3d.read(path) for path in sys.argv[1:]]
scans = scans or [make(seed, kind="bedroom", points=40_000) for seed in range(900_001, 900_005)]
labels = [np.where(scan.segment == OTHER, IGNORE, scan.segment) for scan in scans]
chosen = [np.random.default_rng(i).permutation(len(scan))[:POINTS] for i, scan in enumerate(scans)]

for name in NAMES:
    model = msm3d.load(name)
    info = msm3d.info(name)
    print(f"{name}: {info.parameters:,} parameters, {info.licence}")
    whole = [model.extract(scan) for scan in scans]
    for words, levels in (("all levels", model.feature_info), ("the last", [model.feature_info[model.config.last]])):
        columns = np.concatenate([np.arange(one.slice.start, one.slice.stop) for one in levels])
        samples = [(f[rows][:, columns], y[rows]) for f, y, rows in zip(whole[:-1], labels, chosen, strict=False)]
        starts = np.cumsum([0, *(one.channels for one in levels)])
        blocks = [slice(a, b) for a, b in zip(starts, starts[1:], strict=False)]  # each counts the same
        scores = KNNProbe(k=20, blocks=blocks).fit(samples).scores(whole[-1][:, columns], labels[-1])
        print(f"  {words}, {len(columns)} channels: mIoU {100 * scores.miou:.1f} %")
print(f"learned from {len(scans) - 1} scans, {POINTS:,} points of each; tested on another")
print('next: msm3d.load("sonata") fetches the encoder of Sonata (433 MB, CC-BY-NC-4.0); see docs/encoders.md')
