#!/usr/bin/env bash
# pye57 0.4.19 writes coordinates in single precision, and colours modulo 256.
# Seen: x = 500000.02 given as a double comes back as 500000.03125, steps of 1/32 m; a red of 300 comes back as 44.
# A good guess: the double: E57 holds doubles, the argument is one, and map coordinates are what scanners' files are for.
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

scan = {
    "cartesianX": np.array([500000.001, 500000.02]),
    "cartesianY": np.zeros(2),
    "cartesianZ": np.zeros(2),
    "colorRed": np.array([300, 2]),
    "colorGreen": np.array([1, 2]),
    "colorBlue": np.array([1, 2]),
}
file = pye57.E57("a.e57", mode="w")
file.write_scan_raw(scan)
file.close()
found = pye57.E57("a.e57").read_scan_raw(0)
print(found["cartesianX"].tolist(), found["colorRed"].tolist())
assert found["cartesianX"].tolist() == [500000.0, 500000.03125]
assert found["colorRed"].tolist() == [44, 2]
PYTHON
