#!/usr/bin/env bash
# meshio 5.3.5 reads a coloured OBJ as points in six dimensions.
# Seen: lines `v x y z r g b`, as MeshLab and Open3D write them, give mesh.points of shape (3, 6), and no colour in point_data.
# A good guess: points of shape (3, 3), and the colours beside them or dropped.
# Distances between such points take the colour in: (0, 0, 0) red and (1, 0, 0) green lie 1.73 apart, not 1.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check meshio==5.3.5 numpy==2.4.6
v/bin/python - <<'PYTHON'
from pathlib import Path

import meshio
import numpy as np

Path("a.obj").write_text("v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 1\nf 1 2 3\n")
mesh = meshio.read("a.obj")
print(mesh.points.tolist(), mesh.point_data)
assert mesh.points.shape == (3, 6), mesh.points.shape
assert not mesh.point_data
apart = np.linalg.norm(mesh.points[0] - mesh.points[1])
assert np.isclose(apart, 3**0.5), apart
PYTHON
