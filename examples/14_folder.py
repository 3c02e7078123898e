"""A folder of scans, to be interrupted at any moment and started again: `python examples/14_folder.py [SCANS [OUT]]`.

Without a folder it makes three rooms. A file that cannot be read is named at the end and stops nothing.
"""

import sys
from pathlib import Path
from time import perf_counter

import msm3d
from msm3d import results
from msm3d.io import KINDS, read
from msm3d.rooms import write

DTYPE = "float16"  # half the disk

source = Path(sys.argv[1] if len(sys.argv) > 1 else "demo/rooms")
target = Path(sys.argv[2] if len(sys.argv) > 2 else "demo/features")
if len(sys.argv) < 2:
    write(source, 3, first_seed=900_001, layout="ply", points=40_000, workers=1)

model = msm3d.load()
scans = sorted(path for path in source.rglob("*") if path.suffix.lower() in KINDS)
failed, start, points = [], perf_counter(), 0
for number, scan in enumerate(scans, 1):
    path = target / scan.relative_to(source).with_name(f"{scan.name}.npy")
    meta = results.provenance(model, source=scan, dtype=DTYPE)
    if results.is_done(path, meta):  # whole, and of the same model
        print(f"{number}/{len(scans)} {path}: is there")
        continue
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        cloud = read(scan)
        with results.writing(path, cloud, model.channels(), DTYPE, meta) as feat:  # mapped from disk, row by row
            model.extract(cloud, out=feat, dtype=DTYPE)
    except msm3d.Msm3dError as error:
        failed.append(error)
        continue
    points += len(cloud)
    print(f"{number}/{len(scans)} {path}: {len(cloud):,} points x {model.channels()}")

seconds = perf_counter() - start
print(f"{points:,} points in {seconds:.1f} s, {points / seconds:,.0f} per second; {len(failed)} failed")
for error in failed:
    print("failed:", error)
