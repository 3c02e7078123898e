#!/usr/bin/env bash
# meshio 5.3.5 reads the uchar properties of a binary PLY as signed bytes.
# Seen: a red of 200 comes back as -56 (int8) from the binary file, and as 200 (uint8) from the same data in ascii.
# A good guess: 200 from both: PLY's uchar is unsigned.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check meshio==5.3.5 numpy==2.4.6
v/bin/python - <<'PYTHON'
import struct
from pathlib import Path

import meshio
import numpy as np

rows = np.array([(0, 0, 0, 200), (1, 0, 0, 100), (0, 1, 0, 50)], "<f4,<f4,<f4,u1")
names = "".join(f"property float {axis}\n" for axis in "xyz") + "property uchar red\n"
faces = "element face 1\nproperty list uchar int vertex_indices\nend_header\n"


def head(encoding):
    return f"ply\nformat {encoding} 1.0\nelement vertex 3\n{names}{faces}"


binary = rows.tobytes() + struct.pack("<B3i", 3, 0, 1, 2)
Path("binary.ply").write_bytes(head("binary_little_endian").encode() + binary)
text = "".join(" ".join(map(str, row.tolist())) + "\n" for row in rows)
Path("ascii.ply").write_text(head("ascii") + text + "3 0 1 2\n")
for name, wanted in (("binary.ply", [-56, 100, 50]), ("ascii.ply", [200, 100, 50])):
    red = meshio.read(name).point_data["red"]
    print(name, red, red.dtype)
    assert red.tolist() == wanted, red
PYTHON
