"""Proposals of single things, without labels: `python examples/09_instances.py [SCAN]`.

Voxels are clustered by their features, coarsely and finely, and each cluster falls into what hangs together in space.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.cluster import DBSCAN, MiniBatchKMeans
from sklearn.decomposition import PCA

import msm3d
from msm3d.io import read
from msm3d.rooms import make
from msm3d.visualize import colored_ply, label_colors

CLUSTERS = 8, 16, 32
GAP, LEAST = 0.12, 30  # metres between neighbours in one thing, and voxels of the smallest

folder = Path("demo")
folder.mkdir(exist_ok=True)
model = msm3d.load()
scan = read(sys.argv[1]) if len(sys.argv) > 1 else make(900_004, kind="meeting room", points=60_000)

rows, owner = model.extract(scan, at="voxels")
place = np.stack([np.bincount(owner, axis) for axis in scan.coord.T], 1) / np.bincount(owner)[:, None]
for info in model.feature_info:  # every level counts the same, whatever its scale
    rows[:, info.slice] /= rows[:, info.slice].std()
main = PCA(24, random_state=0).fit_transform(rows)

proposals = []
for count in CLUSTERS:
    cluster = MiniBatchKMeans(count, n_init=3, random_state=0).fit_predict(main)
    apart = np.column_stack([place, 10 * GAP * cluster])  # a fourth axis that keeps clusters from touching
    thing = DBSCAN(GAP, min_samples=3).fit_predict(apart)  # -1 is in none
    sizes = np.bincount(thing + 1)[1:]
    proposals += [thing == k for k in np.flatnonzero(sizes >= LEAST)]
masks = np.stack(proposals)
print(f"{len(masks)} proposals in {len(rows):,} voxels, {len(scan):,} points")

if scan.instance is not None:  # of a made room: how many of its things are among the proposals?
    things = [scan.instance == k for k in np.unique(scan.instance) if scan.segment[scan.instance == k][0] > 1]
    things = [thing for thing in things if thing.sum() >= 150]  # without walls, floor and what was hardly scanned
    best = [max((p & t).sum() / (p | t).sum() for p in masks[:, owner]) for t in things]
    shares = ", ".join(
        f"{100 * np.mean(np.array(best) > least):.0f} % with an IoU above {least}" for least in (0.25, 0.5)
    )
    print(f"of {len(things)} things {shares}")

np.savez_compressed(folder / "proposals.npz", masks=masks, owner=owner)  # masks[:, owner] are the points'
path = colored_ply(folder / "instances.ply", scan.coord, label_colors(thing[owner]))
print("written:", folder / "proposals.npz", "and", path, "(the last clustering)")
