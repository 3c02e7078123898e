#!/usr/bin/env bash
# pye57 0.4.19 can't read the scan it just wrote with the reader its own readme shows first.
# Seen: write_scan_raw of x, y, z, then read_scan(0): ValueError, cartesianInvalidState is absent; the error names ignore_missing_fields.
# A good guess: the points: E57 leaves that field out where all points are valid, and read_scan_raw(0) gives them.
# And a rowIndex of 70,000 was written as 4,464: the writer keeps 16 bits, and says nothing.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check pye57==0.4.19 numpy==2.4.6
v/bin/python - <<'PYTHON'
import numpy as np
import pye57

scan = {f"cartesian{axis}": np.arange(3.0) for axis in "XYZ"}
scan["rowIndex"] = np.array([0, 70000, 2])
scan["columnIndex"] = np.array([0, 1, 2])
file = pye57.E57("a.e57", mode="w")
file.write_scan_raw(scan)
file.close()

file = pye57.E57("a.e57")
try:
    file.read_scan(0)
except ValueError as error:
    print(error)
    assert "cartesianInvalidState" in str(error)
else:
    raise SystemExit("read_scan(0) reads the file now")
assert file.read_scan(0, ignore_missing_fields=True)["cartesianX"].tolist() == [0, 1, 2]
rows = file.read_scan_raw(0)["rowIndex"].tolist()
print(rows)
assert rows == [0, 4464, 2], rows
PYTHON
