"""Voxels to descriptors: the network run on a scene at once, or tile by tile where memory is short."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from ._util import memory
from ._util.copies import collect
from ._util.progress import bar
from ._util.words import either
from .backbones import Backbone
from .errors import InputError
from .ops import Backend, curves
from .sparse.hierarchy import Hierarchy, extents
from .sparse.interpolate import corners, descriptors
from .sparse.tiles import tiles
from .sparse.voxels import Voxels

BLOCK = 1 << 17
"""Rows of a result that leave a GPU at a time: 0.5 GB of the published descriptors."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What of the network's output is wanted."""

    levels: list[int]
    """In the order of the columns."""
    sampling: str
    """See `interpolate.corners`."""
    per_point: bool
    """One row per point, or one per voxel."""
    dtype: torch.dtype
    """Of the rows."""


def joined(scenes: Sequence[Voxels]) -> Voxels:
    """Return the voxels of single scenes as those of a batch, one scene after another."""
    if len(scenes) == 1:
        return scenes[0]
    firsts = accumulate((len(voxels.keys) for voxels in scenes), initial=0)
    return Voxels(
        torch.cat([voxels.keys + (i << 3 * curves.BITS) for i, voxels in enumerate(scenes)]),
        torch.cat([voxels.owner + first for voxels, first in zip(scenes, firsts, strict=False)]),
        torch.cat([voxels.features for voxels in scenes]),
        scenes[0].size,
    )


def describe(
    backbone: Backbone,
    voxels: Voxels,
    reading: Reading,
    ops: Backend,
    device: torch.device,
    limit: int,
    out: np.ndarray | None = None,
    progress: bool | None = False,
    to: torch.device | None = None,
) -> Tensor:
    """Return the rows of one scene, computed at once where that takes at most `limit` bytes, else tile by tile.

    Args:
        backbone: the network, in evaluation.
        voxels: of one scene, or of a batch, see `joined`, which is never cut into tiles.
        reading: which levels, how, and at what.
        ops: the backend.
        device: where the network is.
        limit: bytes that the work may take beside its input and output.
        out: numpy array to write the rows to as they come.
        progress: show a bar; None shows it in a terminal only.
        to: where the rows are wanted if there is no `out`. They are returned there or on the CPU, which is the default.

    Raises:
        InputError: `out` does not fit, or it is needed because the rows do not fit into memory.
    """
    n = len(voxels.owner) if reading.per_point else len(voxels.keys)
    shape = n, sum(backbone.config.widths[level] for level in reading.levels)
    most = max(limit // backbone.config.cost.bytes_per_voxel, 1)
    size = shape[0] * shape[1] * reading.dtype.itemsize
    if out is not None:
        require_fit(out, shape, reading.dtype)
    elif size > memory.available(to):
        raise InputError(
            f"{shape[0]:,} rows of {shape[1]} channels take {size / 1e9:.1f} GB, more than is free; "
            + either(
                "pass out= a memory map, or fewer levels=, or dtype='float16', or at='voxels'.",
                "give --levels with fewer, or --dtype float16.",
            )
        )
    scenes = int(voxels.keys[-1] >> 3 * curves.BITS) + 1
    extent = extents(voxels.cells, scenes)
    target = None if out is None else torch.from_numpy(out)
    whole = voxels.keys, voxels.features, extent, None, voxels.owner if reading.per_point else None
    at_once = len(voxels.keys) <= most or scenes > 1
    if at_once and (device.type == "cpu" or (target is None and to == device)):
        direct = target if target is not None and target.is_contiguous() and device == target.device else None
        with bar(backbone.steps(), [len(voxels.keys)], progress):
            rows = _rows(backbone, *whole, reading, ops, device, direct)
        return rows if target is None or direct is not None else target.copy_(rows)

    target = torch.empty(shape, dtype=reading.dtype) if target is None else target
    points = _Points(voxels) if reading.per_point and not at_once else None
    parts = [] if at_once else list(tiles(voxels.keys, backbone.config.levels, most, backbone.config.cost.halo))
    block = None if device.type == "cpu" else BLOCK

    def described() -> Iterator[tuple[slice | Tensor, Tensor]]:
        if at_once:
            yield from _blocks(backbone, *whole, reading, ops, device, block)
        for tile in parts:
            keys, features, core = voxels.keys[tile.rows], voxels.features[tile.rows], tile.core.nonzero()[:, 0]
            places, owner = (tile.rows[core], None) if points is None else points.of(tile.rows[core])
            for part, rows in _blocks(backbone, keys, features, extent, core, owner, reading, ops, device, block):
                yield places[part], rows

    with bar(backbone.steps(), [len(tile.rows) for tile in parts] or [len(voxels.keys)], progress):
        return collect(described(), target)


def _rows(
    backbone: Backbone,
    keys: Tensor,
    features: Tensor,
    extent: Tensor,
    core: Tensor | None,
    owner: Tensor | None,
    reading: Reading,
    ops: Backend,
    device: torch.device,
    out: Tensor | None = None,
) -> Tensor:
    """Run the network on voxels and read it at the `core` of them, for each point its `owner` in the core."""
    core, owner = (None if x is None else x.to(device) for x in (core, owner))
    hierarchy = Hierarchy.of(keys.to(device), backbone.config.levels, ops, len(extent), extent.to(device))
    levels = backbone(features.to(device), hierarchy, ops)
    return descriptors(levels, hierarchy, reading.levels, reading.sampling, ops, owner, reading.dtype, core, out)


def _blocks(
    backbone: Backbone,
    keys: Tensor,
    features: Tensor,
    extent: Tensor,
    core: Tensor | None,
    owner: Tensor | None,
    reading: Reading,
    ops: Backend,
    device: torch.device,
    block: int | None,
) -> Iterator[tuple[slice, Tensor]]:
    """Yield what `_rows` returns, at once, or `block` rows at a time, so that few are in the device's memory."""
    if block is None:
        yield slice(None), _rows(backbone, keys, features, extent, core, owner, reading, ops, device)
        return
    core, owner = (None if x is None else x.to(device) for x in (core, owner))
    hierarchy = Hierarchy.of(keys.to(device), backbone.config.levels, ops, len(extent), extent.to(device))
    levels = backbone(features.to(device), hierarchy, ops)
    read = [corners(hierarchy, level, reading.sampling, ops, core) for level in reading.levels]
    tables, weights = zip(*read, strict=True)
    chosen = [levels[level] for level in reading.levels]
    n = len(tables[0]) if owner is None else len(owner)
    for start in range(0, n, block):
        part = slice(start, min(start + block, n))
        if owner is None:
            at = [t[part] for t in tables], [w[part] for w in weights], None
        else:
            at = tables, weights, owner[part]
        yield part, ops.blend(chosen, *at, reading.dtype)


class _Points:
    """The points of each voxel."""

    def __init__(self, voxels: Voxels) -> None:
        self.order = voxels.owner.argsort()
        self.counts = torch.bincount(voxels.owner, minlength=len(voxels.keys))
        self.firsts = self.counts.cumsum(0) - self.counts

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the points (p,) in the voxels `rows`, and for each the place of its voxel among them."""
        counts = self.counts[rows]
        owner = torch.repeat_interleave(counts)
        inside = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
        return self.order[self.firsts[rows][owner] + inside], owner


def require_fit(out: np.ndarray, shape: tuple[int, int], dtype: torch.dtype) -> None:
    """Fail unless rows of `shape` and `dtype` can be written to `out`."""
    needed = str(dtype).removeprefix("torch.")
    flaw = ""
    if isinstance(out, np.ndarray):
        flaw = " of foreign byte order" if not out.dtype.isnative else flaw
        flaw = " of negative strides" if min(out.strides, default=0) < 0 else flaw
        good = out.shape == shape and out.dtype.name == needed and out.flags.writeable and not flaw
    else:
        good = False
    if not good:
        given = f"{out.shape} {out.dtype.name}{flaw}" if isinstance(out, np.ndarray) else type(out).__name__
        raise InputError(f"out is {given}; it must be a writable numpy array {shape} {needed}.")
