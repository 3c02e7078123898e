"""Features of pictures on a scan: `python examples/17_lift.py [SCAN FRAMES]`. Needs `pip install "msm3d[images]"`.

Without arguments it makes a room with 12 pictures of its camera. `msm3d lift SCAN FRAMES -o features.npy` does it in a
line, and `msm3d probe DATA --features FOLDER` judges such features beside those of a model.
"""

import sys
from pathlib import Path

import numpy as np

import msm3d
from msm3d import rooms
from msm3d.lifting import network, views
from msm3d.visualize import ColorBasis, automatic_view, render, save_picture

SIZE = 800, 600

folder = Path("demo")
folder.mkdir(exist_ok=True)
if len(sys.argv) > 2:
    scan, frames = msm3d.read(sys.argv[1]), Path(sys.argv[2])
else:
    made = {"kind": "bedroom", "split": "train", "frames": 12, "workers": 1}
    (room,) = rooms.write(folder / "pictured", 1, first_seed=900_001, **made)
    scan, frames = msm3d.io.read_folder(room), room / "frames"

lite = network("efficientnet-lite0")  # any function from an image (h, w, 3) to a map (h', w', c) will do
features, seen, counts = msm3d.lift(scan, views(frames), lite)
print(f"{len(scan):,} points x {features.shape[1]} channels of {lite.name} from {len(views(frames))} frames")
print(f"{100 * seen.mean():.0f} % of the points seen, by {counts[seen].mean():.1f} frames on average")

both = np.concatenate([features, msm3d.load().extract(scan)], axis=1)  # what a picture says beside what the shape says
print(f"beside our own: {both.shape[1]} channels")

look = {"size": SIZE, "view": automatic_view(scan.coord, SIZE), "normals": scan.normal}
unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-6)
pictures = [render(scan.coord, colors, **look) for colors in (scan.color, ColorBasis.fit([unit])(unit))]
print("written:", save_picture(folder / "lifted.png", np.concatenate(pictures, axis=1)))
