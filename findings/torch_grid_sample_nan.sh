#!/usr/bin/env bash
# torch 2.13.0 samples a place of NaN at the far end of a volume and at the near end of an image.
# Seen: values 10 to 14 along x, x = NaN, padding_mode="border": grid_sample gives 14 for a grid of three dimensions, 10 for two.
# A good guess: 10 for both: the help of grid_sample says that NaN is taken as -1, the near end. On a CPU.
# With padding_mode="zeros" it is 0 in three dimensions and NaN in two: one gap in a scan is three different answers.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
v/bin/python - <<'PYTHON'
import torch
from torch.nn.functional import grid_sample

assert "interpreted as ``-1``" in grid_sample.__doc__
line = torch.arange(10.0, 15.0)
place = torch.tensor([float("nan"), 0, 0])
for padding, wanted in (("border", [14, 10]), ("zeros", [0, float("nan")])):
    options = {"padding_mode": padding, "align_corners": True}
    volume = grid_sample(line.view(1, 1, 1, 1, 5), place.view(1, 1, 1, 1, 3), **options)
    image = grid_sample(line.view(1, 1, 1, 5), place[:2].view(1, 1, 1, 2), **options)
    found = torch.stack([volume.flatten()[0], image.flatten()[0]])
    print(padding, found.tolist())
    assert torch.equal(found.nan_to_num(-1), torch.tensor(wanted, dtype=torch.float32).nan_to_num(-1)), found
PYTHON
