"""What is similar to one point? `python examples/05_similarity.py [SCAN [X Y Z]]`, the point in metres.

Writes a picture, and a page in which a click on any point asks the same question; it needs no server and no network.
"""

import sys
from pathlib import Path

import numpy as np

import msm3d
from msm3d.io import read
from msm3d.rooms import CLASSES, make
from msm3d.visualize import render, save_picture, similarity, similarity_colors, write_page

folder = Path("demo")
folder.mkdir(exist_ok=True)
model = msm3d.load()
scan = read(sys.argv[1]) if len(sys.argv) > 1 else make(900_004, kind="meeting room", points=100_000)

if len(sys.argv) > 4:
    point = [float(value) for value in sys.argv[2:5]]
else:  # the middle point of a chair, or of the scan
    chairs = np.flatnonzero(scan.segment == CLASSES.index("chair")) if scan.segment is not None else []
    point = int(chairs[len(chairs) // 2]) if len(chairs) else len(scan) // 2

features = model.extract(scan)
similar = similarity(features, point, scan.coord)
best = np.argsort(-similar)[: len(scan) // 50]
print(f"of {len(scan):,} points the most similar 2 % have a cosine of at least {similar[best].min():.2f}")
if scan.segment is not None:
    names = dict(enumerate((*CLASSES, "other")))
    found, count = np.unique(scan.segment[best], return_counts=True)
    shares = sorted(zip(count / len(best), found, strict=True), reverse=True)[:4]
    print("they are " + ", ".join(f"{100 * share:.0f} % {names.get(label, label)}" for share, label in shares))

picture = render(scan.coord, similarity_colors(similar), size=(1000, 750), normals=scan.normal)
print("written:", save_picture(folder / "similarity.png", picture))
page = write_page(folder / "similarity.html", scan, features, levels=model.feature_info, mode="similarity")
print(f"written: {page.path}, {page.bytes / 1e6:.1f} MB; open it in a browser and click")
