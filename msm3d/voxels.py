"""Points to voxels: which cell each point falls into, and the one point that speaks for each cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from . import curves
from .errors import InputError
from .points import PointCloud
from .stages import stage
from .words import option

_CHUNK = 1 << 22  # points at a time: what is live beside the points stays small however many there are


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """The occupied cells of one or more scenes, in Morton order within each scene."""

    keys: Tensor
    """(m,) int64, ascending: `curves.morton` of scene and cell."""
    owner: Tensor
    """(n,) int64: the voxel of each point, scenes one after another."""
    features: Tensor
    """(m, 6) float32: colour in [-1, 1] and normal of the voxel's point."""
    size: float
    """Edge of a voxel in metres."""

    @property
    def cells(self) -> Tensor:
        """(m, 4) int32: scene, x, y, z in voxels, from zero in every scene."""
        return curves.cells(self.keys)


def voxelize(clouds: Sequence[PointCloud], size: float, ops: ModuleType) -> Voxels:
    """Put every point into the cubic cell `floor((coord - shift) / size)` of its scene.

    The shift is the middle of the range in x and y and the lowest z, taken in float64 so that map coordinates keep
    their millimetres. A cell is represented by its point nearest to the cell's centre; ties go to the smaller x, y, z,
    colour and normal, so that the order of the points changes nothing.

    Args:
        clouds: scenes with colour and normal, metres, z up; at most 64.
        size: edge of a cell in metres; the released weights name theirs in `config.voxel_size`.
        ops: the backend that groups the points.

    Raises:
        InputError: a scene spans more than 2**19 cells along an axis, or there are more than 64 scenes.

    Source: the shift and the cells are the published preprocessing; it takes one random point per cell, where ours is
    the nearest to the centre, for determinism.

    >>> from .ops import reference
    >>> up = np.array([[0, 0, 1]] * 3)
    >>> cloud = PointCloud.of(np.array([[0, 0, 0], [0.05, 0, 0], [0.003, 0, 0]]), color=up, normal=up)
    >>> voxels = voxelize([cloud], 0.02, reference)
    >>> voxels.owner.tolist(), len(voxels.keys)
    ([0, 1, 0], 2)
    """
    if len(clouds) > curves.MAX_SCENES:
        raise InputError(f"a batch holds at most {curves.MAX_SCENES} scenes, {len(clouds)} were given; split the list.")
    stage("voxels")
    keys, columns = [], []
    for scene, cloud in enumerate(clouds):
        key, distance = _cells(cloud.coord, size, scene)
        assert cloud.color is not None
        assert cloud.normal is not None
        keys.append(key)
        values = [torch.from_numpy(value) for value in (cloud.coord, cloud.color, cloud.normal)]
        columns.append([distance, *(column for value in values for column in value.unbind(1))])
    joined = [_joined(column) for column in zip(*columns, strict=True)]
    unique, owner, picks = ops.group(_joined(keys), joined)
    features = torch.stack([column[picks] for column in joined[-6:]], 1)  # colour and normal
    features[:, :3] = features[:, :3] / 127.5 - 1
    return Voxels(unique, owner, features, size)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _cells(coord: np.ndarray, size: float, scene: int) -> tuple[Tensor, Tensor]:
    """Return each point's key (n,) int64 and its squared distance (n,) to its cell's centre, in cells."""
    low, high = coord.min(0), coord.max(0)
    span = float((high - low).max())
    if not span / size < (1 << curves.BITS) - 1:
        axis = int((high - low).argmax())
        raise InputError(
            f"the points span {span:.6g} m along {'xyz'[axis]}, and at {size:g} m per voxel at most "
            f"{(1 << curves.BITS) * size:.6g} m can be indexed; "
            f"drop outliers, or pass {option('units')} if these are not metres."
        )
    shift = torch.tensor([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    first = ((torch.from_numpy(low) - shift) / size).floor().long()
    keys = torch.empty(len(coord), dtype=torch.int64)
    distance = torch.empty(len(coord), dtype=torch.float64)
    for start in range(0, len(coord), _CHUNK):
        rows = slice(start, start + _CHUNK)
        grid = (torch.from_numpy(coord[rows]) - shift) / size
        cells = grid.floor()
        distance[rows] = (grid - cells - 0.5).square().sum(1)
        keys[rows] = curves.morton(torch.nn.functional.pad(cells.long() - first, (1, 0), value=scene))
    return keys, distance
