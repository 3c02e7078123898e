"""Two augmented views of a scene, voxelised apart, which voxel of one is which of the other, and what is hidden."""

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

    hierarchy: Hierarchy  # of the copy's own voxels
    features: Tensor  # (m, c) of the finest voxels
    owner: Tensor  # (n,) the finest voxel of each point of the scene

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
    generator: torch.Generator,
) -> View:
    """Return an augmented copy of `cloud`: points keep their rows, which is all that later links two views."""
    voxels = voxelize([augmented(cloud, generator, strength)], shape.inputs, ops)
    return View(Hierarchy.of(voxels.keys, shape.levels, ops), voxels.features, voxels.owner)


@dataclass(frozen=True, eq=False)
class Counterparts:
    """Where a student's cells are in a view: at their points, whatever the augmentations did to coordinates.

    A cell's counterpart is the mean over the finest voxels in it of the cells that these voxels' points fall into. No
    search and no radius: nothing is dropped.
    """

    groups: list[Tensor]  # per level, the student's cell (k,) of each of its finest voxels
    rows: list[Tensor]  # per level, the view's cell (k,) that the voxel's point falls into

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


@dataclass(frozen=True, eq=False)
class Masked:
    """A crop of a view, part of it hidden."""

    crop: Hierarchy  # all voxels of the crop, hidden ones too: what the decoder works on
    rows: list[Tensor]  # per level, the rows of the crop in the view
    visible: Hierarchy  # the visible voxels alone: all that the encoder is given
    seen: list[Tensor]  # per level, the rows of the visible voxels in the crop

    @classmethod
    def of(cls, view: View, keep: Tensor, hidden: Tensor) -> "Masked":
        """Cut out the finest voxels `keep` (m,) of a view, and hide those of the crop where `hidden` is true."""
        crop, rows = view.hierarchy.subset(keep)
        visible, seen = crop.subset(~hidden)
        return cls(crop, rows, visible, seen)

    def hidden(self, level: int) -> Tensor:
        """Return which voxels (m,) of the crop are hidden at a level: those without any visible voxel in them."""
        hidden = torch.ones(len(self.crop.grids[level]), dtype=torch.bool, device=self.seen[level].device)
        hidden[self.seen[level]] = False
        return hidden


def crop(view: View, middle: int, share: float, most: int | None, generator: torch.Generator) -> Tensor:
    """Return which finest voxels (m,) of a view a crop keeps, a `share` of them and at most `most`.

    They are whole coarsest cells in the order of their distance in x and y from that of the point `middle`; chance
    decides between cells at the same distance, such as those of a wall.
    """
    grid, cell = view.hierarchy.grids[-1], view.ancestors[-1]
    budget = min(int(share * len(cell)), len(cell) if most is None else most)
    place = grid.cells[:, 1:3].double()
    distance = (place - place[cell[view.owner[middle]]]).square().sum(1)
    chance = torch.rand(len(distance), generator=generator, device=generator.device).to(distance)
    order = (distance + chance / 2).argsort()  # squared distances are integers: half of one decides ties alone
    voxels = torch.bincount(cell, minlength=len(grid))[order].cumsum(0)
    kept = torch.zeros(len(grid), dtype=torch.bool, device=cell.device)
    kept[order[: max(int((voxels <= budget).sum()), 1)]] = True
    return kept[cell]


def mask(crop: Hierarchy, ratio: float, masking: str, generator: torch.Generator) -> Tensor:
    """Return which finest voxels (m,) of a crop are hidden.

    Bottom-up, the mask is drawn at the bottom of the U, the coarsest level, and all voxels of a hidden cell are
    hidden: the masks of all levels cover the same places [paper, Table 10: 66.8 against 62.4 top-down]. At least one
    cell stays visible.
    """
    finest = crop.grids[0]
    hidden = torch.zeros(len(finest), dtype=torch.bool, device=finest.keys.device)
    units = crop.ancestors()[-1] if masking == "bottom-up" else torch.arange(len(finest), device=hidden.device)
    count = len(crop.grids[-1]) if masking == "bottom-up" else len(finest)
    chosen = min(round(ratio * count), count - 1)
    if masking == "none" or chosen < 1:
        return hidden
    order = torch.randperm(count, generator=generator, device=generator.device).to(hidden.device)
    drawn = torch.zeros(count, dtype=torch.bool, device=hidden.device)
    drawn[order[:chosen]] = True
    return drawn[units]
