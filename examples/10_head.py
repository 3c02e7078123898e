"""A head in plain PyTorch, on frozen features and with the network learning: `python examples/10_head.py [SCAN ...]`.

Scans are labelled, and the last one is for the test. Without scans it makes rooms.
"""

import sys

import torch
import torch.nn.functional as F
from torch import nn

import msm3d
from msm3d.evaluate import IGNORE, Confusion
from msm3d.rooms import CLASSES, OTHER, make

EPOCHS = 8

scans = [msm3d.read(path) for path in sys.argv[1:]]
scans = scans or [make(seed, kind="bedroom", points=20_000) for seed in range(900_001, 900_005)]
labels = [torch.from_numpy(scan.segment).masked_fill(torch.from_numpy(scan.segment == OTHER), IGNORE) for scan in scans]


def learned(frozen: bool) -> float:
    """Train a head, with or without the network, and return the mIoU on the last scan."""
    torch.manual_seed(0)
    model = msm3d.load()  # in evaluation mode, frozen
    head = nn.Sequential(nn.LayerNorm(model.channels()), nn.Linear(model.channels(), len(CLASSES)))
    groups = [{"params": head.parameters(), "lr": 1e-2}]
    noise = torch.Generator().manual_seed(0)  # of dropout and stochastic depth, where a network has them
    if frozen:
        kept = [torch.from_numpy(model.extract(scan)) for scan in scans[:-1]]  # once, not once per epoch
    else:
        model.requires_grad_(True).train()
        groups.append({"params": model.parameters(), "lr": 3e-4})
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for i, scan in enumerate(scans[:-1]):
            features = kept[i] if frozen else model(scan, generator=noise)  # gradients reach the network
            loss = F.cross_entropy(head(features), labels[i], ignore_index=IGNORE)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rates.step()
    with torch.no_grad():
        found = head(torch.from_numpy(model.eval().extract(scans[-1]))).argmax(1)
    return Confusion(len(CLASSES)).update(labels[-1].numpy(), found.numpy()).scores().miou


print(f"learning from {len(scans) - 1} scans, {EPOCHS} epochs")
for frozen in (True, False):
    print(f"network {'frozen' if frozen else 'learning too'}: mIoU {100 * learned(frozen):.1f} % on another scan")
