#!/usr/bin/env bash
# laspy 2.7.0 finds no point of a COPC file in a box that is much larger than the file.
# Seen: of 300 points, CopcReader.query with corners at ±1,000 m gives 300; at ±1e9 m, as one writes "no limit" for an axis, 0,
# with nothing but numpy's RuntimeWarning about a cast. The box is compared in int32 steps of the file (here 1 cm), which wrap.
# A good guess: 300, or an error.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check laspy==2.7.0 lazrs==0.8.2 numpy==2.4.6 copclib==2.6.3
v/bin/python - <<'PYTHON'
import warnings

import copclib
import laspy
import numpy as np

low, high = copclib.Vector3(0, 0, 0), copclib.Vector3(300, 300, 300)
config = copclib.CopcConfigWriter(7, copclib.Vector3(0.01, 0.01, 0.01), copclib.Vector3(0, 0, 0))
config.las_header.min, config.las_header.max = low, high
writer = copclib.FileWriter("points.copc.laz", config)
points = copclib.Points(writer.copc_config.las_header)
for row in range(300):
    point = points.CreatePoint()
    point.x = point.y = point.z = float(row)
    points.AddPoint(point)
writer.AddNode(copclib.VoxelKey(0, 0, 0, 0), points)
writer.Close()


def found(reach):
    with warnings.catch_warnings(record=True) as said, laspy.CopcReader.open("points.copc.laz") as reader:
        warnings.simplefilter("always")
        box = laspy.copc.Bounds(np.full(3, -float(reach)), np.full(3, float(reach)))
        return len(reader.query(box)), {one.category.__name__ for one in said}


near, far = found(1_000), found(1_000_000_000)
print(near, far)
assert near == (300, set()), near
assert far == (0, {"RuntimeWarning"}), far
PYTHON
