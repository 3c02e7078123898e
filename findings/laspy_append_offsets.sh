#!/usr/bin/env bash
# laspy 2.7.0 moves points by 100 km when they are appended to a file with another offset.
# Seen: tile b holds x = 600001 with an offset of 600000; append_points to a file with an offset of 500000 stores 500001.
# A good guess: 600001, or an error: the record knows its offsets and scales, and write_points of a new file does convert them.
# A scale that differs likewise: 5 m at a scale of 1 m come back as 0.005 m from a file in millimetres.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check laspy==2.7.0 numpy==2.4.6
v/bin/python - <<'PYTHON'
import laspy
import numpy as np


def tile(name, offset, scale):
    header = laspy.LasHeader(point_format=2)
    header.offsets, header.scales = [offset, 0, 0], [scale] * 3
    las = laspy.LasData(header)
    las.x = np.array([offset + 1.0, offset + 5.0])
    las.y = las.z = np.zeros(2)
    las.write(name)


tile("a.las", 500000, 0.001)
tile("b.las", 600000, 0.001)
tile("c.las", 500000, 1)
points = laspy.read("b.las").points
with laspy.open("new.las", mode="w", header=laspy.read("a.las").header) as file:
    file.write_points(points)
with laspy.open("a.las", mode="a") as file:
    file.append_points(points)
    file.append_points(laspy.read("c.las").points)
written, appended = (np.array(laspy.read(name).x) for name in ("new.las", "a.las"))
print(written, appended)
assert np.allclose(written, [600001, 600005]), written
assert np.allclose(appended, [500001, 500005, 500001, 500005, 500000.001, 500000.005], rtol=0, atol=1e-6), appended
PYTHON
