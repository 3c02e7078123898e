#!/usr/bin/env bash
# gsplat 1.5.3 exports the same splats in one order as PLY and in another as .splat, and none at all for one opacity of NaN.
# Seen: x = 3, 0, 2, 1, 0.5 stays so in the PLY and is 3, 0, 0.5, 1, 2 in the .splat file: rows are sorted along a curve.
# A good guess: the order given, in both: .splat has no column for a label or feature, so its row number is all that links them.
# Rows that hold NaN are left out of both without a word; a NaN among the opacities leaves out every row.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check gsplat==1.5.3 torch==2.13.0 numpy==2.4.6
v/bin/python - <<'PYTHON'
import numpy as np
import torch
from gsplat.exporter import export_splats


def places(form, opacities):
    means = torch.tensor([3, 0, 2, 1, 0.5])[:, None] * torch.tensor([1.0, 0, 0])
    quats = torch.tensor([[1.0, 0, 0, 0]]).repeat(5, 1)
    zeros = torch.zeros(5, 3)
    data = export_splats(means, zeros, quats, opacities, zeros[:, None], torch.zeros(5, 0, 3), format=form)
    size = 56 if form == "ply" else 32
    rows = data.split(b"end_header\n")[-1]
    return np.frombuffer(rows, "<f4").reshape(-1, size // 4)[:, 0].tolist()


for form, wanted in (("ply", [3, 0, 2, 1, 0.5]), ("splat", [3, 0, 0.5, 1, 2])):
    found = places(form, torch.zeros(5))
    print(form, found)
    assert found == wanted, found
one = torch.tensor([0, 0, float("nan"), 0, 0])
print("NaN:", places("ply", one))
assert places("ply", one) == []
PYTHON
