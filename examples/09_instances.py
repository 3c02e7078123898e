"""Proposals of single things, without labels: `python examples/09_instances.py [SCAN]`.

Neighbouring voxels are merged, the most alike in features and place first; the tree of merges is cut at several sizes.
Needs `pip install scikit-learn`.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.cluster import AgglomerativeClustering
from sklearn.decomposition import PCA
from sklearn.neighbors import kneighbors_graph

import msm3d
from msm3d.io import read
from msm3d.rooms import make
from msm3d.visualize import colored_ply, label_colors

CUTS = 30, 60, 120  # parts that the scan falls into
PLACE = 2.0  # how much a metre counts, beside features of length 1 on average

folder = Path("demo")
folder.mkdir(exist_ok=True)
model = msm3d.load()
scan = read(sys.argv[1]) if len(sys.argv) > 1 else make(900_004, kind="meeting room", points=40_000)

rows, owner = model.extract(scan, at="voxels")
place = np.stack([np.bincount(owner, axis) for axis in scan.coord.T], 1) / np.bincount(owner)[:, None]
for info in model.feature_info:  # every level counts the same, whatever its scale
    part = rows[:, info.slice] - rows[:, info.slice].mean(0)
    rows[:, info.slice] = part / np.sqrt((part**2).sum(1).mean())
main = PCA(24, random_state=0).fit_transform(rows)
main /= np.sqrt((main**2).sum(1).mean())

warnings.filterwarnings("ignore", "the number of connected components")  # stray points
tree = AgglomerativeClustering(2, connectivity=kneighbors_graph(place, 10), compute_full_tree=True)
merges = tree.fit(np.column_stack([main, PLACE * place])).children_
masks = []
for count in CUTS:
    top = np.arange(len(rows) + len(merges))
    for merged, pair in enumerate(merges[: len(rows) - count], len(rows)):
        top[pair] = merged
    while (top != top[top]).any():
        top = top[top]
    label = np.unique(top[: len(rows)], return_inverse=True)[1]
    masks += [label == k for k in range(count)]
masks = np.stack(masks)[:, owner]
print(f"{len(masks)} proposals in {len(rows):,} voxels, {len(scan):,} points")

if scan.instance is not None:  # of a synthetic room: how many of its things, less walls and floor, are among them?
    things = [scan.instance == k for k in np.unique(scan.instance[scan.segment > 1])]
    best = [max((masks & thing).sum(1) / (masks | thing).sum(1)) for thing in things if thing.sum() >= 150]
    for least in (0.25, 0.5):
        print(f"of {len(best)} things {100 * np.mean(np.array(best) > least):.0f} % have an IoU above {least}")
print("written:", colored_ply(folder / "instances.ply", scan.coord, label_colors(label[owner])), f"(cut into {count})")
