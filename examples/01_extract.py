"""One vector per point of a scan: `python examples/01_extract.py [SCAN]`. Without a scan it makes a room."""

import sys
from pathlib import Path
from time import perf_counter

import msm3d
from msm3d.io import read, results
from msm3d.rooms import make

folder = Path("demo")
folder.mkdir(exist_ok=True)

model = msm3d.load()  # the bundled weights
print(model)

if len(sys.argv) > 1:
    scan = read(sys.argv[1])
else:
    print("making a room of half a million points ...")
    scan = make(900_001, kind="living room", points=527_020)

start = perf_counter()
features = model.extract(scan)
print(f"{features.shape[0]:,} points x {features.shape[1]} channels in {perf_counter() - start:.1f} s")
for info in model.feature_info:
    print(f"  level {info.level}: {info.channels:3} channels from {100 * info.voxel_size:g} cm voxels")

path = folder / "features.npz"
meta = results.provenance(model)
with results.writing(path, scan, features.shape[1], meta=meta) as feat:  # a whole file or none
    feat[:] = features
print(f"written: {path}, {path.stat().st_size / 1e6:,.0f} MB: coord (n, 3) and feat (n, {features.shape[1]})")
