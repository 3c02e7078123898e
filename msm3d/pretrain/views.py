"""Two augmented views of a scene, voxelised each on its own, and which voxel of one is which of the other."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..backbones import Shape
from ..ops import Backend
from ..scan.augment import Augmentation, augmented
from ..scan.cloud import PointCloud
from ..sparse.hierarchy import Hierarchy
from ..sparse.voxels import voxelize


@dataclass(frozen=True, eq=False)
class View:
    """One augmented copy of a scene, whole."""

    hierarchy: Hierarchy
    """Of the copy's own voxels."""
    features: Tensor
    """(m, c) of the finest voxels."""
    owner: Tensor
    """(n,) the finest voxel of each point of the scene."""

    @cached_property
    def ancestors(self) -> list[Tensor]:
        """Per level, the cell (m,) of each finest voxel."""
        return self.hierarchy.ancestors()

    @cached_property
    def points(self) -> Tensor:
        """(m,) a point of each finest voxel: the scene's first in it."""
        first = torch.full((len(self.features),), len(self.owner), device=self.owner.device)
        return first.scatter_reduce_(0, self.owner, torch.arange(len(self.owner)).to(first), "amin")


def view_of(
    cloud: PointCloud,
    strength: Augmentation,
    shape: Shape,
    ops: Backend,
    device: torch.device,
    generator: torch.Generator,
) -> View:
    """Return an augmented copy of `cloud`: points keep their rows, which is all that later links two views."""
    voxels = voxelize([augmented(cloud, generator, strength)], shape.inputs, ops)
    hierarchy = Hierarchy.of(voxels.keys.to(device), shape.levels, ops)
    return View(hierarchy, voxels.features.to(device), voxels.owner.to(device))


@dataclass(frozen=True, eq=False)
class Counterparts:
    """Where a student's cells are in a view: at their points, whatever the augmentations did to coordinates.

    A cell's counterpart is the mean over the finest voxels in it of the cells that these voxels' points fall into. No
    search and no radius: nothing is dropped.
    """

    groups: list[Tensor]
    """Per level, the student's cell (k,) of each of its finest voxels."""
    rows: list[Tensor]
    """Per level, the view's cell (k,) that the voxel's point falls into."""

    @classmethod
    def of(cls, points: Tensor, ancestors: list[Tensor], view: View) -> "Counterparts":
        """Link finest voxels, by a point (k,) of each, and per level the cell (k,) that each is in, with `view`."""
        voxels = view.owner[points]
        return cls(ancestors, [above[voxels] for above in view.ancestors])

    def mean(self, level: int, features: Tensor, cells: int) -> Tensor:
        """Return the mean (cells, c) of the view's `features` (m, c) over each of the student's cells of a level."""
        group = self.groups[level]
        total = features.new_zeros(cells, features.shape[1]).index_add_(0, group, features[self.rows[level]])
        return total / torch.bincount(group, minlength=cells)[:, None]
