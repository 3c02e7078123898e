#!/usr/bin/env bash
# pyvista 0.49.1 reads the doubles of a PLY file as floats, and its 16-bit colours modulo 256.
# Seen: x = 500000.005 and 500000.010 both become 500000.0; ushort (65535, 32768, 30000) becomes (255, 0, 48).
# A good guess: points in double precision, which pyvista's own objects can hold, so that map coordinates keep their centimetres.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check pyvista==0.49.1 numpy==2.4.6
v/bin/python - <<'PYTHON'
from pathlib import Path

import numpy as np
import pyvista

fields = [(axis, "<f8") for axis in "xyz"] + [(name, "<u2") for name in ("red", "green", "blue")]
rows = np.array([(500000.005, 0, 0, 65535, 32768, 30000), (500000.010, 0, 0, 65535, 32768, 30000)], fields)
names = "".join(f"property {'double' if kind == '<f8' else 'ushort'} {name}\n" for name, kind in fields)
head = f"ply\nformat binary_little_endian 1.0\nelement vertex 2\n{names}end_header\n"
Path("a.ply").write_bytes(head.encode() + rows.tobytes())
cloud = pyvista.read("a.ply")
print(cloud.points.dtype, cloud.points[:, 0].tolist(), cloud["RGB"].tolist())
assert cloud.points.dtype == np.float32
assert cloud.points[:, 0].tolist() == [500000.0, 500000.0]
assert cloud["RGB"].tolist() == [[255, 0, 48]] * 2
PYTHON
