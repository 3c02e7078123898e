#!/usr/bin/env bash
# trimesh 5.2.0 takes vertex colours of 16 bits modulo 256.
# Seen: a glTF COLOR_0 of normalised unsigned shorts (65535, 32768, 30000, 65535) comes in as (255, 0, 48, 255); PLY ushort likewise.
# A good guess: (255, 128, 117, 255), as glTF says that normalised shorts are divided by 65535. Bytes and floats come in right.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check trimesh==5.2.0 numpy==2.4.6
v/bin/python - <<'PYTHON'
import json
import struct
from pathlib import Path

import numpy as np
import trimesh

place = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
color = np.array([[65535, 32768, 30000, 65535]] * 3, "<u2").tobytes()
shape = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "mode": 4}
gltf = {
    "asset": {"version": "2.0"},
    "scene": 0,
    "scenes": [{"nodes": [0]}],
    "nodes": [{"mesh": 0}],
    "meshes": [{"primitives": [shape]}],
    "buffers": [{"byteLength": 60}],
    "bufferViews": [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 24}],
    "accessors": [
        {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]},
        {"bufferView": 1, "componentType": 5123, "normalized": True, "count": 3, "type": "VEC4"},
    ],
}
text = json.dumps(gltf).encode()
text += b" " * (-len(text) % 4)
chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", 60, b"BIN\0") + place + color
Path("a.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
(mesh,) = trimesh.load("a.glb").geometry.values()

names = ("float x", "float y", "float z", "ushort red", "ushort green", "ushort blue")
head = ["ply", "format ascii 1.0", "element vertex 3", *(f"property {name}" for name in names)]
head += ["element face 1", "property list uchar int vertex_indices", "end_header"]
rows = [f"{x} {y} 0 65535 32768 30000" for x, y in ((0, 0), (1, 0), (0, 1))]
Path("a.ply").write_text("\n".join([*head, *rows, "3 0 1 2", ""]))

for found in (mesh, trimesh.load("a.ply")):
    first = np.asarray(found.visual.vertex_colors)[0].tolist()
    print(first)
    assert first == [255, 0, 48, 255], first
PYTHON
