#!/usr/bin/env bash
# trimesh 5.2.0 gives every material of an OBJ its own copy of all vertices.
# Seen: 7 lines `v`, two materials with one triangle each, process=False and maintain_order=True: two meshes of 7 vertices, 14 in all.
# A good guess: 7 rows, one per `v` line; or the three that each material uses. A file of 911 vertices and 1,640 `usemtl` becomes 631,992.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check trimesh==5.2.0 numpy==2.4.6
v/bin/python - <<'PYTHON'
from pathlib import Path

import trimesh

vertices = "".join(f"v {i} {i * i} 0\n" for i in range(7))
Path("two.obj").write_text(vertices + "usemtl a\nf 1 2 3\nusemtl b\nf 4 5 6\n")
scene = trimesh.load("two.obj", process=False, maintain_order=True)
counts = [len(mesh.vertices) for mesh in scene.geometry.values()]
print(counts)
assert counts == [7, 7], counts
PYTHON
