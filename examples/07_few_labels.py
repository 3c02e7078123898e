"""Twenty labelled points per class, and the whole scan is segmented: `python examples/07_few_labels.py [SCAN]`.

The scan holds an integer label per point, -1 where it has none yet. Without one a room is made, and all but twenty of
its labels per class are kept back, to judge the result by.
"""

import sys
from pathlib import Path

import numpy as np

import msm3d
from msm3d.evaluate import IGNORE, Confusion, LinearProbe
from msm3d.rooms import CLASSES, OTHER, make
from msm3d.visualize import colored_ply, label_colors

PER_CLASS = 20

folder = Path("demo")
folder.mkdir(exist_ok=True)
model = msm3d.load()
scan = msm3d.read(sys.argv[1]) if len(sys.argv) > 1 else make(900_005, kind="bedroom", points=100_000)
truth = np.where(scan.segment == OTHER, IGNORE, scan.segment)

draw = np.random.default_rng(0)
classes = np.unique(truth[truth != IGNORE])
known = np.concatenate([draw.permutation(np.flatnonzero(truth == label))[:PER_CLASS] for label in classes])

features = model.extract(scan)
head = LinearProbe(steps=300).fit(features[known], truth[known], of=model)
head.save(folder / "head")  # for other scans: msm3d.tasks.heads.load("demo/head").predict(features, of=model)
found = head.predict(features)
print(f"{len(known)} labelled points of {len(classes)} classes -> {len(found):,} points")

rest = np.setdiff1d(np.flatnonzero(truth != IGNORE), known)
if len(rest):
    scores = Confusion(int(classes.max()) + 1).update(truth[rest], found[rest]).scores()
    print(f"mIoU {100 * scores.miou:.1f} % on the {len(rest):,} points whose labels were kept back")
    for label in classes:
        print(f"  {CLASSES[label] if label < len(CLASSES) else label}: IoU {100 * scores.iou[label]:.0f} %")

np.save(folder / "labels.npy", found)
print("written:", folder / "labels.npy", "and", colored_ply(folder / "labels.ply", scan.coord, label_colors(found)))
