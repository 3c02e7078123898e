"""A folder of scans, to be interrupted at any moment and started again: `python examples/14_folder.py [SCANS [OUT]]`.

Without a folder it makes three rooms. On the command line the same is `msm3d extract SCANS -o OUT --format npy`.
What is done already is left as it is, and a file that cannot be read is named at the end and stops nothing.
"""

import sys

import msm3d
from msm3d import batch
from msm3d.rooms import write

source = sys.argv[1] if len(sys.argv) > 1 else "demo/rooms"
target = sys.argv[2] if len(sys.argv) > 2 else "demo/features"
if len(sys.argv) < 2:
    write(source, 3, first_seed=900_001, layout="ply", points=40_000, workers=1)

plan = batch.plan([source], target, "npy")  # the folders in `source` become folders in `target`
failed = []
for outcome in batch.extract(msm3d.load(), plan.jobs, dtype="float16"):  # half the disk
    print(outcome)
    if outcome.error is not None:
        failed.append(outcome.error)

print(f"{len(plan.jobs)} scans, {len(failed)} failed")
for error in failed:
    print("failed:", error)
