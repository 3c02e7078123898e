"""Features as colours, on one basis for all scans: `python examples/04_pca_picture.py [SCAN ...]`.

Writes a picture of each scan beside its features, without a display. `msm3d pca SCAN -o scan.png` does one in a line.
"""

import sys
from pathlib import Path

import numpy as np

import msm3d
from msm3d.io import read
from msm3d.rooms import make
from msm3d.visualize import ColorBasis, automatic_view, render, save_picture

SIZE = 800, 600

folder = Path("demo")
folder.mkdir(exist_ok=True)
model = msm3d.load()
if len(sys.argv) > 1:
    scans = {Path(path).stem: read(path) for path in sys.argv[1:]}
else:
    scans = {f"room {seed}": make(seed, kind="bedroom", points=100_000) for seed in (900_001, 900_002)}

features = [model.extract(scan, levels=(1, 2, 3)) for scan in scans.values()]  # the finest level mostly says "edge"
basis = ColorBasis.fit(features)  # once, so that one colour means the same in every scan
basis.save(folder / "basis.npz")

for (name, scan), rows in zip(scans.items(), features, strict=True):
    look = {"size": SIZE, "view": automatic_view(scan.coord, SIZE), "normals": scan.normal}
    color = np.full((len(scan), 3), 160, np.uint8) if scan.color is None else scan.color
    pictures = [render(scan.coord, colors, **look) for colors in (color, basis(rows))]
    print("written:", save_picture(folder / f"{name}.png", np.concatenate(pictures, axis=1)))
