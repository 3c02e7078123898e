"""Scans to scenes to voxels, and as many scenes together as fit."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from ..ops import curves
from ..scan.cloud import PointCloud
from ..scan.objects import scenes_of
from ..sparse.voxels import Voxels
from .request import Scans, cloud_of, tensor_in


@dataclass(frozen=True, eq=False)
class Scene:
    """One scene on its way through the network."""

    scan: int  # which of the scans it is of
    like: Tensor | None  # a tensor of the input, if there is one
    voxels: Voxels  # what is computed
    places: Tensor | None  # (n,) the row of the scan that each point is; None where all are there in their order
    total: int | None  # how many points the scan has, where those without a position get a row; None leaves them out

    @property
    def device(self) -> torch.device:
        """Where its rows are wanted."""
        return torch.device("cpu") if self.like is None else self.like.device


@dataclass(frozen=True, eq=False)
class Batch:
    """Scenes that are computed together."""

    scenes: Sequence[Scene]
    voxels: Voxels  # of all of them, one scene after another

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> "Batch":
        """Return scenes with their voxels joined; those of a single scene are its own."""
        parts = [scene.voxels for scene in scenes]
        if len(parts) == 1:
            return cls(scenes, parts[0])
        firsts = accumulate((len(voxels.keys) for voxels in parts), initial=0)
        joined = Voxels(
            torch.cat([voxels.keys + (i << 3 * curves.BITS) for i, voxels in enumerate(parts)]),
            torch.cat([voxels.owner + first for voxels, first in zip(parts, firsts, strict=False)]),
            torch.cat([voxels.features for voxels in parts]),
            parts[0].size,
        )
        return cls(scenes, joined)


def scenes(scans: Scans, voxels_of: Callable[[PointCloud], Voxels]) -> Iterator[Scene]:
    """Yield each scene of each scan with its voxels."""
    for i, scan in enumerate(scans.given):
        like, attributes = tensor_in(scan), scans.attributes
        if isinstance(scan, Mapping):  # which are then split as the rest of it
            scan, attributes = {**scan, **attributes}, {}
        pieces = scenes_of(scan)
        total = sum(len(rows) for _, rows in pieces if rows is not None) if scans.options.invalid == "nan" else 0
        for piece, rows in pieces:
            cloud = cloud_of(piece, scans.options, **attributes)
            if rows is None:
                rows = cloud.rows
            elif cloud.rows is not None:
                rows = rows[cloud.rows]
            places = None if rows is None else torch.from_numpy(rows)
            yield Scene(i, like, voxels_of(cloud), places, total or cloud.total)


def batches(scenes: Iterable[Scene], most: int) -> Iterator[Batch]:
    """Yield the scenes, as many together as have at most `most` voxels; one that has more is alone."""
    waiting, taken = [], 0
    for scene in scenes:
        m = len(scene.voxels.keys)
        if waiting and taken + m > most:
            yield Batch.of(waiting)
            waiting, taken = [], 0
        waiting.append(scene)
        taken += m
        if taken >= most or len(waiting) == curves.MAX_SCENES:
            yield Batch.of(waiting)
            waiting, taken = [], 0
    if waiting:
        yield Batch.of(waiting)
