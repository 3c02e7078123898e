"""What of a view the student sees: a crop of it, and of the crop what is not hidden."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..sparse.hierarchy import Hierarchy
from .views import View


@dataclass(frozen=True, eq=False)
class Masked:
    """A crop of a view, part of it hidden."""

    crop: Hierarchy
    """All voxels of the crop, hidden ones too: what the decoder works on."""
    rows: list[Tensor]
    """Per level, the rows of the crop in the view."""
    visible: Hierarchy
    """The visible voxels alone: all that the encoder is given."""
    seen: list[Tensor]
    """Per level, the rows of the visible voxels in the crop."""

    @classmethod
    def of(cls, view: View, keep: Tensor, hidden: Tensor) -> "Masked":
        """Cut out the finest voxels `keep` (m,) of a view, and hide those of the crop where `hidden` is true."""
        crop, rows = view.hierarchy.subset(keep)
        visible, seen = crop.subset(~hidden)
        return cls(crop, rows, visible, seen)

    @property
    def whole(self) -> bool:
        """Whether nothing is hidden."""
        return len(self.seen[0]) == len(self.crop.grids[0])

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
