"""What `Model.extract` returns: where the rows of its scenes go, and how they are put together scan by scan."""

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._util import memory
from .._util.mapped import Mapped
from .._util.words import either
from ..errors import InputError
from ..scan.places import Part, spread, whole
from .regions import Regions
from .request import Reading, Scans, tensor_in
from .scenes import Batch
from .sinks import Fetched, Filled, Kept, Sink, Written


class Answer:
    """The results of a call, which grow scene by scene, or are written to an array `out`."""

    def __init__(self, scans: Scans, reading: Reading, out: Any = None) -> None:
        self.scans, self.reading, self.out = scans, reading, out
        self.parts: list[list[Part]] = [[] for _ in scans.given]

    def sink(self, batch: Batch, regions: Regions, width: int) -> Sink:
        """Return what takes the rows of a batch's regions, `width` columns wide; fail if they do not fit."""
        shape, dtype, device = (regions.rows, width), self.reading.dtype, regions.device
        if self.out is not None:
            first = batch.scenes[0]  # where some of its points get NaN, the computed rows come first, see `spread`
            total = first.total if self.reading.per_point and first.places is not None else None
            _require_fit(self.out, (total or shape[0], width), dtype)
            file = self.out.file() if isinstance(self.out, Mapped) and device.type == "cpu" else None
            if file is not None and hasattr(os, "pwrite"):
                return Written(self.out, file, shape[0])
            target = torch.from_numpy(self.out[: shape[0]])
        else:
            wanted = {None if scene.like is None else scene.like.device for scene in batch.scenes}
            there = wanted.pop() if len(wanted) == 1 else None
            _require_memory(shape, dtype, there)
            if regions.uncut and (device.type == "cpu" or device == there):
                return Kept()
            target = torch.empty(shape, dtype=dtype)
        return Filled(target) if device.type == "cpu" else Fetched(target)

    def add(self, batch: Batch, rows: Tensor) -> None:
        """Take the rows of a batch."""
        per_point = self.reading.per_point
        sizes = [len(scene.voxels.owner if per_point else scene.voxels.keys) for scene in batch.scenes]
        for scene, own in zip(batch.scenes, rows.split(sizes), strict=True):
            owner = None if per_point else scene.voxels.owner.to(scene.device)
            places, total = scene.places, scene.total
            if self.out is None:
                own = own.to(scene.device)
            elif per_point:
                if places is not None and total:
                    spread(self.out, places.numpy())
                places = total = None  # they are where they belong
            self.parts[scene.scan].append(Part(own, owner, places, total))

    def value(self) -> Any:
        """Return what the call returns, once all scenes have been added."""
        results = []
        for scan, parts in zip(self.scans.given, self.parts, strict=True):
            rows, owner = whole(parts)
            if tensor_in(scan) is None:
                rows, owner = rows.numpy(), None if owner is None else owner.numpy()
            rows = rows if self.out is None else self.out
            results.append(rows if owner is None else (rows, owner))
        return results if self.scans.several else results[0]


def _require_memory(shape: tuple[int, int], dtype: torch.dtype, device: torch.device | None) -> None:
    """Fail unless rows of `shape` and `dtype` fit into memory."""
    size = shape[0] * shape[1] * dtype.itemsize
    if size > memory.available(device):
        raise InputError(
            f"{shape[0]:,} rows of {shape[1]} channels take {size / 1e9:.1f} GB, more than is free; "
            + either(
                "pass out= a memory map, or fewer levels=, or dtype='float16', or at='voxels'.",
                "give --levels with fewer, or --dtype float16.",
            )
        )


def _require_fit(out: Any, shape: tuple[int, int], dtype: torch.dtype) -> None:
    """Fail unless rows of `shape` and `dtype` can be written to `out`."""
    needed = str(dtype).removeprefix("torch.")
    given, good = type(out).__name__, False
    if isinstance(out, np.ndarray):
        flaw = "" if out.dtype.isnative else " of foreign byte order"
        flaw = " of negative strides" if min(out.strides, default=0) < 0 else flaw
        given = f"{out.shape} {out.dtype.name}{flaw}"
        good = out.shape == shape and out.dtype.name == needed and out.flags.writeable and not flaw
    if not good:
        raise InputError(f"out is {given}; it must be a writable numpy array {shape} {needed}.")
