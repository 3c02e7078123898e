"""Points to voxels: which cell each point falls into, and the one point that speaks for each cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .._util.stages import stage
from .._util.words import option
from ..errors import InputError
from ..ops import Backend, curves
from ..scan.cloud import PointCloud
from ..scan.origin import TICKS, anchor, ticks
from .inputs import Inputs

_CHUNK = 1 << 15  # points at a time: what is computed of them stays in a core's cache
_BLOCK = 1 << 9  # cells; coarser cells and curves begin with a block
_BELOW = 4  # cells of the anchor's block below the anchor's: what lies a little lower is in the block, too
_HOME = (0b01010101 << 9) + _BELOW  # the anchor's cell: what lies below has room, and no larger block ends right there
_SPARSE = 3  # levels at which strays are looked for, from the finest, until they are few
_RARE = 50  # at most one voxel in so many is a stray; where more are alone, that is how the scan is


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """The occupied cells of one or more scenes, in Morton order within each scene."""

    keys: Tensor  # (m,) int64, ascending: `curves.morton` of scene and cell
    owner: Tensor  # (n,) int64: the voxel of each point, scenes one after another
    features: Tensor  # (m, c) float32: the attributes of the voxel's point, as the `Inputs` list them
    size: float  # edge of a voxel in metres

    @property
    def cells(self) -> Tensor:
        """(m, 4) int32: scene, x, y, z in voxels, from a scene's lowest cell or from a constant, see `voxelize`."""
        return curves.cells(self.keys)


def voxelize(clouds: Sequence[PointCloud], inputs: Inputs, ops: Backend) -> Voxels:
    """Put every point of scenes, metres, z up, into the cubic cell `floor((coord - shift) / voxel_size)` of its scene.

    "published", the shift is the middle of the range in x and y and the lowest z, and cells count from the lowest: one
    stray point moves them all. "anchored", the slab that is the scene's `anchor`, which hardly any single point
    decides, is in the middle of its cells, cells count from a constant, and strays are put far away, see `_strays`.
    Distances are whole ticks of 10 nm, so that coordinates in whole millimetres fall into the same cells wherever they
    are on a map. A cell is represented by its point nearest to the cell's centre; ties go to the smaller x, y, z,
    colour and normal, so that the order of the points changes nothing. A recipe may ask for the first point instead.

    Raises:
        InputError: a scene spans more than 2**19 cells along an axis, or there are more than 64 scenes.

    Source: the published shift and cells are those of the authors' preprocessing, to 10 nm; it takes one random point
    per cell, where ours is the nearest to the centre, for determinism.

    >>> from ..ops import reference
    >>> up = np.array([[0, 0, 1]] * 3)
    >>> cloud = PointCloud.of(np.array([[0, 0, 0], [0.05, 0, 0], [0.003, 0, 0]]), color=up, normal=up)
    >>> voxels = voxelize([cloud], Inputs(voxel_size=0.02), reference)
    >>> voxels.owner.tolist(), len(voxels.keys)
    ([0, 1, 0], 2)
    """
    if len(clouds) > curves.MAX_SCENES:
        raise InputError(f"a batch holds at most {curves.MAX_SCENES} scenes, {len(clouds)} were given; split the list.")
    stage("voxels")
    names = ["coord", *(name for name in ("color", "normal") if name in inputs.names)]
    keys, columns, begins = [], [], []
    for scene, cloud in enumerate(clouds):
        key, distance, begin = _cells(cloud.coord, inputs, scene)
        rank = distance if inputs.point == "nearest" else torch.arange(len(key), dtype=torch.float64)
        values = [torch.from_numpy(getattr(cloud, name)) for name in names]
        keys.append(key)
        columns.append([rank, *(column for value in values for column in value.unbind(1))])
        begins.append(begin)
    joined = [_joined(column) for column in zip(*columns, strict=True)]
    unique, owner, picks = ops.group(_joined(keys), joined)
    if inputs.origin == "anchored":
        unique, owner, picks = _apart(unique, owner, picks, len(clouds), ops)
    parts = []
    for attribute in inputs.attributes:
        first = 1 + 3 * names.index(attribute.name)
        values = torch.stack([column[picks] for column in joined[first : first + 3]], 1)
        if attribute.name == "coord":
            values = _metres(values, np.stack(begins), unique >> 3 * curves.BITS)
        parts.append(attribute.scaled(values).float())
    return Voxels(unique, owner, torch.cat(parts, 1), inputs.voxel_size)


def _metres(coord: Tensor, begins: np.ndarray, scene: Tensor) -> Tensor:
    """Return coordinates (m, 3) from where the cells of their scenes (m,) begin, for each scene a base and a shift."""
    base, shift = begins[scene.numpy()].transpose(1, 0, 2)
    return torch.from_numpy((ticks(coord.numpy(), base) - shift) / TICKS)


def _apart(keys: Tensor, owner: Tensor, picks: Tensor, scenes: int, ops: Backend) -> tuple[Tensor, Tensor, Tensor]:
    """Return keys, owner and picks with the strays of each scene moved by `curves.STRAY`, and so behind its others."""
    ends = torch.searchsorted(keys, torch.arange(scenes + 1) << 3 * curves.BITS).tolist()
    stray = torch.cat([_strays(keys[a:b], ops) for a, b in pairwise(ends)])
    if not stray.any():
        return keys, owner, picks
    keys, order = (keys + (stray.long() << 3 * curves.BITS - 1)).sort()
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
    return keys, place[owner], picks[order]


def _strays(keys: Tensor, ops: Backend) -> Tensor:
    """Return which voxels (m,) of a scene have none around them, where that is rare; none if it needs all the range.

    A network makes as much of a cell with one stray voxel as of a full one, at every level, and all around attend to
    it. Where many are alone, the scan is sparse: then cells of the next level count, in place of voxels.
    """
    full = (keys >> 3 * curves.BITS - 1 & 1).any()  # more than 5 km of voxels of 2 cm
    for level in range(0 if full else _SPARSE):
        cells, count = torch.unique_consecutive(keys >> 3 * level, return_counts=True)
        alone = _alone(cells, level, ops)
        if int(count[alone].sum()) * _RARE <= len(keys):
            return alone.repeat_interleave(count)
    return torch.zeros(len(keys), dtype=torch.bool)


def _alone(keys: Tensor, level: int, ops: Backend) -> Tensor:
    """Return which of the cells (m,) of a level have none of the 26 around them."""
    new = (keys[1:] ^ keys[:-1]) >> 3 != 0  # cells of one parent are each other's neighbours
    edge = torch.ones(1, dtype=torch.bool)
    rows = (torch.cat([edge, new]) & torch.cat([new, edge])).nonzero()[:, 0]
    found = ops.lookup(keys, curves.around(keys[rows], level)) >= 0
    alone = torch.zeros(len(keys), dtype=torch.bool)
    alone[rows] = found.sum(1) == 1
    return alone


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _cells(coord: np.ndarray, inputs: Inputs, scene: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """Return each point's key (n,) int64, its squared distance (n,) to its cell's centre, and where cells begin (2, 3).

    Distances are in ticks. Cells begin at a base in metres, and a shift in ticks from there.
    """
    size, anchored = inputs.voxel_size, inputs.origin == "anchored"
    low, high = (np.array([end(column) for column in coord.T]) for end in (np.min, np.max))  # faster than min(0)
    span = float((high - low).max())
    most = (1 << curves.BITS) - (_BLOCK if anchored else 0)
    if not span / size < most - 1:
        axis = int((high - low).argmax())
        raise InputError(
            f"the points span {span:.6g} m along {'xyz'[axis]}, and at {size:g} m per voxel at most "
            f"{most * size:.6g} m can be indexed; drop outliers, or pass {option('units')} if these are not metres."
        )
    step = size * TICKS
    base = anchor(coord, size / 4) if anchored else low  # of a slab a quarter of a cell thick
    middle = ticks(high, base) / 2
    shift = np.full(3, -step * 3 / 8) if anchored else middle * [1, 1, 0]
    lowest, highest = np.floor((ticks(np.stack([low, high]), base) - shift) / step)
    first = -lowest
    if anchored:
        fits = (lowest + _HOME >= 0) & (highest + _HOME < curves.STRAY)
        first = np.where(fits, _HOME, np.ceil((first - _BELOW) / _BLOCK) * _BLOCK + _BELOW)
    keys = torch.empty(len(coord), dtype=torch.int64)
    distance = torch.empty(len(coord), dtype=torch.float64)
    begin = np.stack([base, shift])
    base, shift, first = (value[:, None] for value in (base, shift, first))
    for start in range(0, len(coord), _CHUNK):
        rows = slice(start, start + _CHUNK)
        place = ticks(coord[rows].T.copy(), base)
        place -= shift
        cells = np.floor(place / step)
        place -= (cells + 0.5) * step
        place *= place
        distance[rows] = torch.from_numpy(place[0] + place[1] + place[2])
        scenes = np.full_like(cells[:1], scene)
        cells = np.concatenate([scenes, cells + first]).astype(np.int64)
        keys[rows] = curves.morton(torch.from_numpy(cells).T)
    return keys, distance, begin
