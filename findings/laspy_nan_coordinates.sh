#!/usr/bin/env bash
# laspy 2.7.0 stores a coordinate of NaN as a place 21,474 km away.
# Seen: las.x = [1, nan] with the default scale of 0.01 is read back as [1, -21474836.48]; only numpy warns, of an invalid cast.
# A good guess: an error, as for a coordinate out of range, which laspy refuses. Colours of 70000 become 4464 likewise.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check laspy==2.7.0 numpy==2.4.6
v/bin/python - <<'PYTHON'
import warnings

import laspy
import numpy as np

cloud = laspy.LasData(laspy.LasHeader(point_format=2))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    cloud.x = np.array([1.0, np.nan])
cloud.y = cloud.z = np.zeros(2)
cloud.red = np.array([70000, 255])
cloud.write("a.las")
read = laspy.read("a.las")
print(np.array(read.x), np.array(read.red))
assert np.allclose(read.x, [1, -21474836.48], rtol=0, atol=1e-6), read.x
assert np.array(read.red).tolist() == [4464, 255], read.red
PYTHON
