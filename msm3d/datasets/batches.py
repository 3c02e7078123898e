"""Scans for training loops of PyTorch: a data set of files, and batches as Pointcept lays them out."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..batch import found, read
from ..errors import InputError
from ..io import as_cloud
from ..scan.cloud import PointCloud
from ..scan.options import ReadOptions

_FLOATS = ("color", "normal")
_LABELS = ("segment", "instance")


class Scans(Dataset):
    """Scans as dictionaries of tensors, for `torch.utils.data.DataLoader`, with `collate` as its `collate_fn`.

    An item has `coord` (n, 3) float64 in metres with z up, and what the scan has of `color` (n, 3) float32, 0 to 255,
    `normal` (n, 3) float32, and `segment` and `instance` (n,) int64; and `name`.

    >>> from msm3d.rooms import make
    >>> scans = Scans([make(1, points=300), make(2, points=200)])
    >>> batch = collate([scans[0], scans[1]])
    >>> len(scans), batch["coord"].shape, batch["offset"].tolist()
    (2, torch.Size([500, 3]), [300, 500])
    """

    def __init__(self, scans: Any, options: ReadOptions | None = None) -> None:
        """Take a folder, a file, or a list of these and of what else `Model.extract` takes as one scan.

        Files are read when they are asked for, in the worker that asks.

        Raises:
            InputError: there is no scan.
        """
        given = list(scans) if isinstance(scans, (list, tuple)) else [scans]
        self.scans: list[Any] = []
        for scan in given:
            self.scans += found(scan) if isinstance(scan, (str, os.PathLike)) else [scan]
        if not self.scans:
            raise InputError("there are no scans; give at least one.")
        self.options = options or ReadOptions()

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> dict[str, Any]:
        scan = self.scans[index]
        is_path = isinstance(scan, Path)
        cloud = read(scan, self.options) if is_path else as_cloud(scan, options=self.options)
        return {**tensors(cloud), "name": scan.name if is_path else str(range(len(self))[index])}


def tensors(cloud: PointCloud) -> dict[str, Tensor]:
    """Return what a cloud has, as tensors by name; see `Scans`."""
    item = {"coord": torch.from_numpy(cloud.coord.astype(np.float64))}
    for names, kind in ((_FLOATS, np.float32), (_LABELS, np.int64)):
        known = {name: getattr(cloud, name) for name in names}
        item |= {name: torch.from_numpy(value.astype(kind)) for name, value in known.items() if value is not None}
    return item


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return several scans as one dictionary, as Pointcept and PyTorch Geometric have them.

    Tensors are joined one scan after another; those of fields that some scans lack are left out. `offset` (scans,) says
    where each scan ends, without a leading zero, and `batch` (n,) which scan each point is of; other values, such as
    names, become lists. `Model.extract` takes such a dictionary and computes each scan as if alone.

    Raises:
        InputError: there are no items, or an item has fields of different lengths.
    """
    if not items:
        raise InputError("there are no scans to put together; give at least one.")
    names = [name for name in items[0] if all(name in item for item in items)]
    sizes = []
    for number, item in enumerate(items):
        lengths = {name: len(item[name]) for name in names if isinstance(item[name], Tensor)}
        if "coord" not in lengths or len(set(lengths.values())) != 1:
            raise InputError(
                f"item {number} has fields of lengths {lengths}; give coord, and one row per point in all."
            )
        sizes.append(lengths["coord"])
    values: dict[str, Any] = {name: [item[name] for item in items] for name in names}
    joined = {name: torch.cat(each) if isinstance(each[0], Tensor) else each for name, each in values.items()}
    counts = torch.tensor(sizes)
    return {**joined, "offset": counts.cumsum(0), "batch": torch.arange(len(items)).repeat_interleave(counts)}
