"""A family from outside the package, whole: linear layers over pooled voxels, no decoder, inputs of its own."""

from dataclasses import asdict, dataclass, fields
from typing import ClassVar

import torch
from torch import nn

from msm3d.backbones import Attribute, Backbone, Cost, Inputs, Shape
from msm3d.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ToyShape(Shape):
    architecture: ClassVar[str] = "toy"
    width: int = 8
    depth: int = 3
    voxel_size: float = 0.05
    sampling: str = "parent"

    @property
    def widths(self):
        return tuple(self.width * (level + 1) for level in range(self.depth))

    @property
    def inputs(self):
        return Inputs(attributes=(Attribute("coord"), Attribute("color", 255)), voxel_size=self.voxel_size)

    @property
    def cost(self):
        return Cost(bytes_per_voxel=1000, reach=0.0, halo=1)

    def least(self):
        return [(2 * self.depth, "layers", "tensors"), (self.width, "channels", "values")]

    def to_dict(self):
        return asdict(self)

    @classmethod
    def from_dict(cls, values):
        if unknown := set(values) - {field.name for field in fields(cls)}:
            raise InputError(f"unknown configuration fields {sorted(unknown)}; leave them out.")
        return cls(**values)


class Layer(nn.Linear):
    def forward(self, x, ops):
        return torch.tanh(ops.linear(x, self.weight, self.bias))


class Toy(Backbone):
    Config = ToyShape

    def __init__(self, config, regularisation=None):
        super().__init__(config, regularisation)
        self.config = config
        widths = (config.inputs.channels, *config.widths)
        self.layers = nn.ModuleList(map(Layer, widths, widths[1:]))

    def forward(self, x, hierarchy, ops, generator=None):
        levels = []
        for grid, layer in zip(hierarchy.grids, self.layers, strict=True):
            if grid.level:
                parents = hierarchy.grids[grid.level - 1].parents.long()
                total = x.new_zeros(len(grid), x.shape[1]).index_add(0, parents, x)
                x = total / torch.bincount(parents, minlength=len(grid))[:, None]
            levels.append(x := layer(x, ops))
        return levels

    def steps(self):
        return list(self.layers)
