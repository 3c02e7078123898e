#!/usr/bin/env bash
# torchmetrics 1.9.0's segmentation.MeanIoU gives another value for the same scans when the batch size changes.
# Seen: two scans of four points, given one by one: 0.722; given together: 0.679, which is what counts over all points give.
# A good guess: one value however the points are dealt out, as the package's MulticlassJaccardIndex gives for the same labels.
# Each update's ratio has the same weight, and a class that no scan has is -1 in the list per class.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6
v/bin/python - <<'PYTHON'
import torch
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

found = torch.tensor([[0, 0, 0, 0], [1, 1, 0, 0]])
truth = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0]])
for kind, wanted in ((MeanIoU, [13 / 18, 19 / 28]), (MulticlassJaccardIndex, [19 / 28, 19 / 28])):
    values = []
    for size in (1, 2):
        options = {"input_format": "index"} if kind is MeanIoU else {}
        metric = kind(num_classes=2, **options)
        for start in range(0, 2, size):
            metric.update(found[start : start + size], truth[start : start + size])
        values.append(metric.compute())
    print(kind.__name__, values)
    assert torch.allclose(torch.stack(values), torch.tensor(wanted)), values

classes = MeanIoU(num_classes=3, per_class=True, input_format="index")
classes.update(found, truth)
assert classes.compute()[2] == -1
PYTHON
