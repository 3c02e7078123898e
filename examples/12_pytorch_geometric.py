"""Inside PyTorch Geometric: `python examples/12_pytorch_geometric.py [SCAN ...]`. Needs
`pip install torch_geometric scikit-learn`.

Each scan becomes a graph whose nodes are voxels with frozen features; a small graph network learns from all but the
last, labelled scan and is judged on that. Without scans it makes rooms.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.neighbors import kneighbors_graph
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GraphNorm, SAGEConv, Sequential

import msm3d
from msm3d.evaluate import IGNORE, Confusion
from msm3d.io import read
from msm3d.rooms import CLASSES, OTHER, make

model = msm3d.load()
scans = [read(path) for path in sys.argv[1:]]
scans = scans or [make(seed, kind="bedroom", points=20_000) for seed in range(900_001, 900_006)]


def graph(scan: msm3d.PointCloud) -> Data:
    rows, owner = model.extract(scan, at="voxels")
    pos = np.stack([np.bincount(owner, axis) for axis in scan.coord.T], 1) / np.bincount(owner)[:, None]
    y = np.empty(len(rows), np.int64)
    y[owner] = np.where(scan.segment == OTHER, IGNORE, scan.segment)  # of one of the voxel's points
    near = kneighbors_graph(pos, min(8, len(pos) - 1)).tocoo()
    edges = torch.from_numpy(np.stack([near.col, near.row]).astype(np.int64))
    return Data(x=torch.from_numpy(rows), pos=torch.from_numpy(pos).float(), y=torch.from_numpy(y), edge_index=edges)


*learn, test = [graph(scan) for scan in scans]
print("a scan:", learn[0])
torch.manual_seed(0)
net = Sequential("x, edge_index, batch", [
    (GraphNorm(model.channels()), "x, batch -> x"),
    torch.nn.Linear(model.channels(), 64),
    torch.nn.ReLU(),
    (SAGEConv(64, 64), "x, edge_index -> x"),
    torch.nn.ReLU(),
    (SAGEConv(64, len(CLASSES)), "x, edge_index -> x"),
])  # fmt: skip
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
for _ in range(20):
    for batch in DataLoader(learn, batch_size=2, shuffle=True):
        optimizer.zero_grad()
        F.cross_entropy(net(batch.x, batch.edge_index, batch.batch), batch.y, ignore_index=IGNORE).backward()
        optimizer.step()
with torch.no_grad():
    found = net.eval()(test.x, test.edge_index, torch.zeros(len(test.x), dtype=torch.int64)).argmax(1)
scores = Confusion(len(CLASSES)).update(test.y.numpy(), found.numpy()).scores()
print(f"mIoU {100 * scores.miou:.1f} % on the {test.num_nodes:,} voxels of another scan")
