"""Twenty clicks of each class teach a head, and it labels others: `python examples/15_teach.py [SCAN LABELS OTHER]`.

LABELS is a JSON file of rows by name, or any file with a label for each point. Without files two rooms are made, and
the first one's own labels play the person who clicks. On the command line the same is
`msm3d teach SCAN LABELS -o head` and `msm3d segment OTHER -o labels.ply --head head`.
"""

import sys
from pathlib import Path

import numpy as np

import msm3d
from msm3d.rooms import CLASSES, make

folder = Path("demo")
folder.mkdir(exist_ok=True)
if len(sys.argv) > 1:
    scan, labels, other = sys.argv[1], sys.argv[2], sys.argv[3]
else:
    scan, other = (make(seed, kind="bedroom", points=60_000) for seed in (900_005, 900_006))
    draw = np.random.default_rng(0)
    there = [label for label in range(len(CLASSES)) if (scan.segment == label).sum() >= 20]
    labels = {CLASSES[i]: draw.permutation(np.flatnonzero(scan.segment == i))[:20] for i in there}

model = msm3d.load()
head = msm3d.tasks.teach(model, [(scan, labels)])
head.save(folder / "head")  # for later: msm3d.tasks.heads.load("demo/head")
print(f"{head.name} head of {', '.join(head.about_.names)}; {head.about_.judged}")
for kind, miou in head.about_.scores.items():
    print(f"  {kind}: mIoU {100 * miou:.1f} % on places that it had not learned from")

found = msm3d.tasks.segment(model, head, other, threshold=0.3)
print(found.table())
print("written:", found.save(folder / "segmented.ply", paint=True))
