#!/usr/bin/env bash
# pypcd4 1.5.1 turns packed colours to black when it saves ascii.
# Seen: the float that holds the bits of (200, 100, 50) is printed with ten decimals, so as 0.0000000000, and is (0, 0, 0) when read.
# A good guess: the colour that went in, as the binary encodings of the same library give; PCL prints enough digits.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check pypcd4==1.5.1 numpy==2.4.6
v/bin/python - <<'PYTHON'
import numpy as np
from pypcd4 import Encoding, PointCloud

color = np.array([[200, 100, 50]], np.uint8)
points = np.c_[np.ones((1, 3), np.float32), PointCloud.encode_rgb(color)]
cloud = PointCloud.from_xyzrgb_points(points)
for name, encoding, wanted in (("a.pcd", Encoding.ASCII, [[0, 0, 0]]), ("b.pcd", Encoding.BINARY, color.tolist())):
    cloud.save(name, encoding=encoding)
    found = PointCloud.decode_rgb(PointCloud.from_path(name).pc_data["rgb"]).tolist()
    print(encoding, found)
    assert found == wanted, found
PYTHON
