"""The whole network: voxel features and their hierarchy to encoder features per level.

Stem, then per level blocks of a convolution, attention in patches along a curve and a feed-forward; between levels the
maximum over children. There is no decoder: a level's output is that of its last block.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import gelu

from ...ops import Backend, contract
from ...sparse.hierarchy import Grid, Hierarchy
from ..base import Backbone, Regularisation
from ..noise import Noise, joined, noise
from .config import EncoderConfig
from .patches import CURVES, Patches, patches
from .released import RELEASED
from .rope import angles, rotated


class Encoder(Backbone):
    """The network of `config`, weights drawn from torch's generator until some are loaded."""

    Config = EncoderConfig
    released = RELEASED

    def __init__(self, config: EncoderConfig, regularisation: Regularisation | None = None) -> None:
        super().__init__(config)
        self.config = config
        training = config.regularisation if regularisation is None else regularisation
        count = sum(config.blocks)
        rates = [training.drop_path * i / max(count - 1, 1) for i in range(count)]  # grows with depth
        self.stem = Linear(config.inputs.channels, config.channels[0])
        firsts = [sum(config.blocks[:level]) for level in range(config.levels + 1)]
        self.stages = nn.ModuleList(
            Stage(config, level, rates[firsts[level] : firsts[level + 1]], training) for level in range(config.levels)
        )

    def steps(self) -> list[nn.Module]:
        """Return the modules that a progress bar counts: the blocks."""
        return [module for module in self.modules() if isinstance(module, Block)]

    def forward(
        self, x: Tensor, hierarchy: Hierarchy, ops: Backend, generator: Generator | None = None
    ) -> list[Tensor]:
        """Return per level, fine to coarse, (m_l, channels[l]) for `x` (m_0, columns of the inputs)."""
        random = noise(self, generator)
        coord = x[:, :3] if self.config.rope_base else None
        x, levels = gelu(self.stem(x, ops)), []
        for stage, grid in zip(self.stages, hierarchy.grids, strict=True):
            if grid.level:
                parents = hierarchy.grids[grid.level - 1].parents
                assert parents is not None
                x, coord = stage.down(x, parents.long(), len(grid), ops), _means(coord, parents.long(), len(grid))
            x = stage(x, grid, hierarchy.extent, coord, ops, random)
            levels.append(x)
        return levels


class Norm(nn.LayerNorm):
    """Parameters of a LayerNorm of torch's own `eps`."""

    @property
    def spec(self) -> contract.Norm:
        """The norm as `ops` takes it."""
        return contract.Norm("layernorm", self.weight, self.bias, self.eps)


class Linear(nn.Module):
    """A linear layer and the norm after it."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, out)
        self.norm = Norm(out)

    def forward(self, x: Tensor, ops: Backend, residual: Tensor | None = None) -> Tensor:
        """Return (m, out) for `x` (m, channels)."""
        return ops.linear(x, self.linear.weight, self.linear.bias, norm=self.norm.spec, residual=residual)


class Pool(Linear):
    """The way to the next coarser level: gelu(norm(max over the children of linear(x)))."""

    def forward(self, x: Tensor, parents: Tensor, count: int, ops: Backend) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return (count, out) for `x` (m, channels) of the finer level, whose voxels have the `parents` (m,)."""
        x = ops.linear(x, self.linear.weight, self.linear.bias)
        index = parents[:, None].expand_as(x)
        x = x.new_zeros(count, x.shape[1]).scatter_reduce(0, index, x, "amax", include_self=False)
        return gelu(ops.normalize(x, self.norm.spec))


@dataclass(frozen=True, eq=False)
class Place:
    """Where the voxels of a level are, for attention along one curve."""

    patches: Patches
    size: int  # most rows of a patch
    turn: tuple[Tensor, Tensor] | None  # see `rope.angles`


class Block(nn.Module):
    """x + norm(linear(conv(x))), then attention, then a feed-forward, each added to what comes in.

    The convolution tells the attention where voxels are; where there are rotary positions, these do, too.
    """

    def __init__(
        self, channels: int, heads: int, config: EncoderConfig, drop_path: float, training: Regularisation
    ) -> None:
        super().__init__()
        self.conv = nn.Parameter(torch.empty(27, channels, channels))
        self.conv_bias = nn.Parameter(torch.zeros(channels))
        self.around = Linear(channels, channels)
        self.norm = Norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.mlp_norm = Norm(channels)
        self.mlp_in = nn.Linear(channels, channels * config.mlp_ratio)
        self.mlp_out = nn.Linear(channels * config.mlp_ratio, channels)
        self.heads, self.dropout, self.drop_path = heads, training.attention_dropout, drop_path
        nn.init.trunc_normal_(self.conv, std=(27 * channels) ** -0.5)

    def forward(self, x: Tensor, grid: Grid, place: Place, ops: Backend, noise: Noise | None = None) -> Tensor:
        """Return (m, channels) for `x` (m, channels) on the voxels of `grid`."""
        x = self.around(ops.conv(x, self.conv, grid.across, self.conv_bias), ops, residual=x)
        y = self._attention(x, place, ops, noise)
        y = ops.linear(y, self.proj.weight, self.proj.bias, residual=x)
        x = joined(x, y, noise and noise.paths(self.drop_path, grid))
        norm = self.mlp_norm.spec
        y = ops.linear(x, self.mlp_in.weight, self.mlp_in.bias, pre_norm=norm, activation="gelu")
        y = ops.linear(y, self.mlp_out.weight, self.mlp_out.bias, residual=x)
        return joined(x, y, noise and noise.paths(self.drop_path, grid))

    def _attention(self, x: Tensor, place: Place, ops: Backend, noise: Noise | None) -> Tensor:
        rows = place.patches.rows
        early = place.turn is None and len(rows) < 1.1 * len(x)  # a copy of a third, where few rows are there twice
        x = x.index_select(0, rows) if early else x
        qkv = ops.linear(x, self.qkv.weight, self.qkv.bias, pre_norm=self.norm.spec).view(len(x), 3, self.heads, -1)
        if place.turn is not None:
            qkv = rotated(qkv, *place.turn)
        qkv = qkv if early else qkv.index_select(0, rows)
        dropped = {} if noise is None else {"dropout": self.dropout, "seed": noise.seed()}
        y = ops.attend(qkv, place.patches.offsets, place.size, **dropped)
        return y.flatten(1).index_select(0, place.patches.place)


class Stage(nn.Module):
    """Comes down from the finer level, if there is one, and runs the blocks."""

    def __init__(self, config: EncoderConfig, level: int, rates: Sequence[float], training: Regularisation) -> None:
        super().__init__()
        width, heads = config.channels[level], config.heads[level]
        self.config, self.shuffled, self.head = config, training.shuffled, width // heads
        self.down = Pool(config.channels[level - 1], width) if level else None
        self.blocks = nn.ModuleList(Block(width, heads, config, rate, training) for rate in rates)

    def forward(
        self, x: Tensor, grid: Grid, extent: Tensor, coord: Tensor | None, ops: Backend, random: Noise | None
    ) -> Tensor:
        """Return (m, channels) for `x` (m, channels); `coord` (m, 3) are the places of the voxels."""
        curves = random.shuffled(CURVES) if random is not None and self.shuffled else CURVES
        size = self.config.patch
        turn = None if coord is None else angles(coord, self.head, self.config.rope_base)
        places = [Place(patches(grid, extent, size, curve), size, turn) for curve in curves[: len(self.blocks)]]
        for i, block in enumerate(self.blocks):
            x = block(x, grid, places[i % len(places)], ops, random)
        return x


def _means(coord: Tensor | None, parents: Tensor, count: int) -> Tensor | None:
    """Return the means (count, 3) of the places of each voxel's children, however many points these have."""
    if coord is None:
        return None
    index = parents[:, None].expand_as(coord)
    return coord.new_zeros(count, 3).scatter_reduce(0, index, coord, "mean", include_self=False)
