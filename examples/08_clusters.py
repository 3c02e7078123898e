"""Segments without any label, by clustering features: `python examples/08_clusters.py [SCAN [CLUSTERS]]`.

Needs `pip install scikit-learn`.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_mutual_info_score

import msm3d
from msm3d.io import read
from msm3d.rooms import CLASSES, make
from msm3d.visualize import colored_ply, label_colors, render, save_picture

folder = Path("demo")
folder.mkdir(exist_ok=True)
model = msm3d.load()
scan = read(sys.argv[1]) if len(sys.argv) > 1 else make(900_005, kind="bedroom", points=100_000)
count = int(sys.argv[2]) if len(sys.argv) > 2 else 12

rows, owner = model.extract(scan, at="voxels")  # one row per voxel: dense corners of the scan do not count more
for info in model.feature_info:  # every level counts the same, whatever its scale
    rows[:, info.slice] /= rows[:, info.slice].std()
main = PCA(32, whiten=True, random_state=0).fit_transform(rows)
main /= np.linalg.norm(main, axis=1, keepdims=True)
clusters = MiniBatchKMeans(count, n_init=3, random_state=0).fit_predict(main)[owner]  # and back to the points

print(f"{len(scan):,} points, {len(rows):,} voxels, {count} clusters")
if scan.segment is not None:
    names = dict(enumerate((*CLASSES, "other")))
    for cluster in range(count):
        label, share = np.unique(scan.segment[clusters == cluster], return_counts=True)
        most = np.argsort(-share)[:2]
        parts = ", ".join(f"{100 * share[i] / share.sum():.0f} % {names.get(label[i], label[i])}" for i in most)
        print(f"  cluster {cluster}: {share.sum():,} points, {parts}")
    known = scan.segment < len(CLASSES)
    score = adjusted_mutual_info_score(scan.segment[known], clusters[known])
    print(f"adjusted mutual information with the classes: {score:.2f} (0: chance, 1: the same)")

colors = label_colors(clusters)
save_picture(folder / "clusters.png", render(scan.coord, colors, size=(1000, 750), normals=scan.normal))
print("written:", folder / "clusters.png", "and", colored_ply(folder / "clusters.ply", scan.coord, colors))
