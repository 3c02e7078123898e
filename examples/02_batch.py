"""Several scans in one call: `python examples/02_batch.py [SCAN ...]`. Without scans it makes three rooms."""

import sys

import numpy as np

import msm3d
from msm3d.rooms import make

ROOMS = {"bedroom": 900_001, "another bedroom": 900_002, "kitchen": 900_003}

model = msm3d.load()
if len(sys.argv) > 1:
    scans = dict(zip(sys.argv[1:], sys.argv[1:], strict=True))  # files by name
else:
    scans = {name: make(seed, kind=name.split()[-1], points=40_000) for name, seed in ROOMS.items()}

features = model.extract(list(scans.values()))  # a list comes back; scans may be files, arrays or dictionaries
for name, rows in zip(scans, features, strict=True):
    print(f"{name}: {rows.shape[0]:,} points x {rows.shape[1]} channels")

first = model.extract(next(iter(scans.values())))
print("the first scan on its own has the same bits:", np.array_equal(first, features[0]))

# One vector per scan: the mean over its points, compared by direction once what all scans share is taken away.
whole = np.stack([rows.mean(0) for rows in features])
whole -= whole.mean(0)
whole /= np.linalg.norm(whole, axis=1, keepdims=True).clip(1e-9)
for name, cosines in zip(scans, whole @ whole.T, strict=True):
    print(f"{name}: " + ", ".join(f"{cosine:+.2f} to {other}" for other, cosine in zip(scans, cosines, strict=True)))
