#!/usr/bin/env bash
# point-cloud-utils 0.34.0 gives the colours of a PLY without alpha a fourth column, whose values nobody set.
# Seen: 1,000 points of (200, 100, 50) come back as uint8 of shape (1000, 4); column four differs from point to point and run to run.
# A good guess: shape (1000, 3); or 255, opaque. Read as alpha, the column makes points see-through at random.
# Also: it reads doubles as doubles, and save_mesh_v writes them as floats: x = 500000.005 and 500000.010 both become 500000.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check point-cloud-utils==0.34.0 numpy==2.4.6
v/bin/python - <<'PYTHON'
from pathlib import Path

import numpy as np
import point_cloud_utils

fields = [(axis, "<f8") for axis in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
rows = np.zeros(1000, fields)
rows["x"] = 500000.005 * (1 + np.arange(1000) % 2 * 1e-8)
rows["red"], rows["green"], rows["blue"] = 200, 100, 50
names = "".join(f"property {'double' if kind == '<f8' else 'uchar'} {name}\n" for name, kind in fields)
head = f"ply\nformat binary_little_endian 1.0\nelement vertex 1000\n{names}end_header\n"
Path("a.ply").write_bytes(head.encode() + rows.tobytes())

mesh = point_cloud_utils.load_triangle_mesh("a.ply")
colors = mesh.vertex_data.colors
print(colors.shape, colors.dtype, np.unique(colors[:, 3]))
assert colors.shape == (1000, 4), colors.shape
assert (colors[:, :3] == [200, 100, 50]).all()
assert (colors[:, 3] != 255).any()

places = point_cloud_utils.load_mesh_v("a.ply")
assert places.dtype == np.float64 and (places[:, 0] == rows["x"]).all()
point_cloud_utils.save_mesh_v("b.ply", places)
again = point_cloud_utils.load_mesh_v("b.ply")[:, 0]
print(np.unique(places[:, 0]), "->", np.unique(again))
assert np.unique(again).tolist() == [500000.0], again
PYTHON
