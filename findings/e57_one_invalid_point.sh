#!/usr/bin/env bash
# e57 0.2.3 drops the colours and intensities of a whole file where one point lacks them or is marked as invalid.
# Seen: three points with colours, one with cartesianInvalidState 1: two points, color of shape (0, 3); without the mark all come.
# A good guess: two points and their two colours. And two scans, of which one has no colours, give six points and no colour.
# A length of 0 is the only sign: a file without colours looks the same.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check e57==0.2.3 pye57==0.4.19 numpy==2.4.6
v/bin/python - <<'PYTHON'
import e57
import numpy as np
import pye57

places = {f"cartesian{axis}": np.arange(3.0) for axis in "XYZ"}
colors = {f"color{name}": np.array([10, 20, 30]) for name in ("Red", "Green", "Blue")}
marked = {"cartesianInvalidState": np.array([0, 1, 0])}
cases = {
    "plain": ([places | colors], (3, 3), (3, 3)),
    "marked": ([places | colors | marked], (2, 3), (0, 3)),
    "two scans": ([places | colors, places], (6, 3), (0, 3)),
}
for name, (scans, points, color) in cases.items():
    file = pye57.E57(f"{name}.e57", mode="w")
    for scan in scans:
        file.write_scan_raw(scan)
    file.close()
    found = e57.read_points(f"{name}.e57")
    print(name, found.points.shape, found.color.shape)
    assert found.points.shape == points, found.points.shape
    assert found.color.shape == color, found.color.shape
PYTHON
