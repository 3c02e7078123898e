"""One descriptor per point of a room-sized scan: `python examples/01_extract.py [FOLDER]`.

Uses the published weights if you have converted them (`msm3d convert model.pth`), else the same network untrained:
the shapes, the time and the file are the same, the meaning is not.
"""

import sys
from pathlib import Path
from time import perf_counter

import torch

import msm3d
from msm3d import results

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from room import room

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
folder.mkdir(parents=True, exist_ok=True)

if msm3d.info("scannet").path:
    model = msm3d.load("scannet")
else:
    print("No trained weights on this machine: the published network runs untrained, its features mean nothing yet.")
    torch.manual_seed(0)
    model = msm3d.Model(msm3d.BackboneConfig()).eval()
print(model)

scan = room(points=int(sys.argv[2]) if len(sys.argv) > 2 else 527_020)
start = perf_counter()
features = model.extract(scan)
print(f"{features.shape[0]:,} points x {features.shape[1]} channels in {perf_counter() - start:.1f} s")

for info in model.feature_info:
    print(f"  level {info.level}: {info.channels:3} channels from {100 * info.voxel_size:g} cm voxels")
with results.writing(folder / "room.npz", scan["coord"], features.shape[1]) as feat:
    feat[:] = features
print("written:", folder / "room.npz")
