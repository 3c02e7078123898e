#!/usr/bin/env bash
# laspy 2.7.0 seeks to other points than it was told in a COPC file, without a word.
# Seen: of 300 points with x = 0, 1, 2, … in two nodes of 100 and 200 points, seek(150) and read_points(3) give x = 250, 251, 252;
# read() gives all 300 in their order, and so do the chunks of chunk_iterator.
# A good guess: 150, 151, 152, or an error. The chunks of COPC differ in size, as LAZ allows; seek counts as if they were alike.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check laspy==2.7.0 lazrs==0.8.2 numpy==2.4.6 copclib==2.6.3
v/bin/python - <<'PYTHON'
import copclib
import laspy
import numpy as np

config = copclib.CopcConfigWriter(7, copclib.Vector3(0.01, 0.01, 0.01), copclib.Vector3(0, 0, 0))
writer = copclib.FileWriter("nodes.copc.laz", config)
for level, rows in enumerate((range(100), range(100, 300))):
    points = copclib.Points(writer.copc_config.las_header)
    for row in rows:
        point = points.CreatePoint()
        point.x = float(row)
        points.AddPoint(point)
    writer.AddNode(copclib.VoxelKey(level, 0, 0, 0), points)
writer.Close()

whole = np.array(laspy.read("nodes.copc.laz").x)
with laspy.open("nodes.copc.laz") as file:
    chunks = np.concatenate([np.array(chunk.x) for chunk in file.chunk_iterator(70)])
with laspy.open("nodes.copc.laz") as file:
    file.seek(150)
    sought = np.array(file.read_points(3).x)
print(whole[[0, 150, 299]], sought)
assert np.array_equal(whole, np.arange(300)), whole
assert np.array_equal(chunks, whole), chunks
assert np.array_equal(sought, [250, 251, 252]), sought
PYTHON
