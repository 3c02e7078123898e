"""A PLY of positions alone, in millimetres: `python examples/03_bare_ply.py [SCAN [UNITS [UP]]]`.

What is missing is filled in, and said once: neutral grey for colours, estimated normals.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement

import msm3d
from msm3d.rooms import make


def write_bare(path: Path, coord: np.ndarray) -> None:
    """Write a PLY with nothing but x, y, z."""
    table = np.array([tuple(row) for row in coord], dtype=[(axis, "f4") for axis in "xyz"])
    PlyData([PlyElement.describe(table, "vertex")]).write(path)


model = msm3d.load()
room = None
if len(sys.argv) > 1:
    path, units, up = sys.argv[1:] + ["m", "z"][len(sys.argv) - 2 :]
else:
    room = make(900_001, kind="office", points=40_000)
    path, units, up = Path("demo/bare.ply"), "mm", "z"
    path.parent.mkdir(exist_ok=True)
    write_bare(path, 1000 * room.coord)

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    features = model.extract(path, units=units, up=up)
for warning in said:
    print("warning:", warning.message)
print(f"{path}: {features.shape[0]:,} points x {features.shape[1]} channels")

if room is not None:  # how much do colours and the camera's own normals change?
    complete = model.extract(room)
    for info in model.feature_info:
        a, b = features[:, info.slice], complete[:, info.slice]
        cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)).clip(1e-9)
        print(f"  level {info.level}: cosine {np.median(cosine):.2f} to the features of the complete scan (median)")
