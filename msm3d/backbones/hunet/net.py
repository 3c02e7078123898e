"""The whole network: voxel features and their hierarchy to decoder features per level.

A U-Net of sparse convolutions ("HUNet"). Unusual about it: attention only at the two coarsest levels, in windows along
space-filling curves; skips are added, not concatenated; the decoder has a stage of its own at the coarsest level; and
every decoder level is an output.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Generator, Tensor, nn

from ...ops import Backend, Table
from ...sparse.hierarchy import Grid, Hierarchy
from ..base import Maskable, Regularisation
from ..noise import Noise, noise
from .blocks import AttentionBlock, ConvBlock, Norm, SparseConv
from .config import BackboneConfig
from .released import RELEASED


class UNet(Maskable):
    """The network of `config`, weights drawn from torch's generator until some are loaded."""

    Config = BackboneConfig
    released = RELEASED

    def __init__(self, config: BackboneConfig, regularisation: Regularisation | None = None) -> None:
        super().__init__(config)
        self.config = config
        training = config.regularisation if regularisation is None else regularisation
        blocks = sum(config.conv_blocks) + sum(config.attention_blocks)
        rates = [training.drop_path * i / max(blocks - 1, 1) for i in range(blocks)]  # grows with depth, then falls
        levels = range(config.levels)
        self.stem = Linear(config.in_channels, config.channels[0], config.norm)  # no convolution sees the raw input
        self.encoder = nn.ModuleList(
            EncoderStage(config, level, _taken(rates, config, levels[:level], level), training) for level in levels
        )
        self.bottleneck = Norm(config.norm, config.channels[-1])
        self.decoder = nn.ModuleList(
            DecoderStage(config, level, _taken(rates[::-1], config, levels[level + 1 :], level), training)
            for level in levels
        )
        widths = config.decoder_channels if config.readout else ()
        self.readout = nn.ModuleList(nn.Linear(width, width, bias=False) for width in widths)

    @property
    def skip_widths(self) -> tuple[int, ...]:
        """Width of what the encoder hands to the decoder at each level, fine to coarse."""
        return self.config.channels

    def steps(self) -> list[nn.Module]:
        """Return the modules that a progress bar counts: the residual blocks."""
        return [module for module in self.modules() if isinstance(module, (ConvBlock, AttentionBlock))]

    def by_depth(self) -> list[list[nn.Parameter]]:
        """Return every parameter once, in groups from the input to the output: the stages, down and up again."""
        down, up = list(self.encoder), list(self.decoder)[::-1]
        parts = [[self.stem], *([stage] for stage in down), [self.bottleneck, up[0]], *([stage] for stage in up[1:])]
        parts += [[self.readout]] if len(self.readout) else []
        return [[parameter for module in part for parameter in module.parameters()] for part in parts]

    def encode(self, x: Tensor, hierarchy: Hierarchy, ops: Backend, generator: Generator | None = None) -> list[Tensor]:
        """Return the encoder's features per level, fine to coarse: (m_l, channels[l])."""
        random = noise(self, generator)
        x = self.stem(x, ops, norm=self.stem.norm.spec)
        encoded = []
        for stage, grid in zip(self.encoder, hierarchy.grids, strict=True):
            x = stage(x, grid, ops, random)
            encoded.append(x)
        return encoded

    def decode(
        self, encoded: Sequence[Tensor], hierarchy: Hierarchy, ops: Backend, generator: Generator | None = None
    ) -> list[Tensor]:
        """Return the decoder's features per level, fine to coarse, from the encoder's on the same voxels."""
        return self._decoded([*encoded], hierarchy, ops, generator)

    def forward(
        self, x: Tensor, hierarchy: Hierarchy, ops: Backend, generator: Generator | None = None
    ) -> list[Tensor]:
        """Return what `decode` makes of what `encode` returns, of which nothing is kept longer than it is needed."""
        return self._decoded(self.encode(x, hierarchy, ops, generator), hierarchy, ops, generator)

    def _decoded(
        self, encoded: list[Tensor], hierarchy: Hierarchy, ops: Backend, generator: Generator | None
    ) -> list[Tensor]:
        """Return what `decode` does, and leave nothing in `encoded`: at the finest level memory is scarcest."""
        random = noise(self, generator)
        x = ops.normalize(encoded[-1], self.bottleneck.spec)
        decoded = []
        for level in reversed(range(self.config.levels)):
            x = self.decoder[level](x, encoded, hierarchy.grids[level], ops, random)
            decoded.append(x)
        decoded.reverse()
        for level, layer in enumerate(self.readout):
            decoded[level] = ops.linear(decoded[level], layer.weight)
        return decoded


class Linear(nn.Module):
    """A linear layer, and the norm before or after it."""

    def __init__(self, channels: int, out: int, norm: str, *, first: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, out)
        self.norm = Norm(norm, channels if first else out)

    def forward(self, x: Tensor, ops: Backend, **around) -> Tensor:
        """Return (m, out) for `x` (m, channels)."""
        return ops.linear(x, self.linear.weight, self.linear.bias, **around)


class Between(nn.Module):
    """A convolution from one level to the next, over the eight children or from the parent, and its norm."""

    def __init__(self, channels: int, out: int, norm: str, *, first: bool = False) -> None:
        super().__init__()
        self.conv = SparseConv(8, channels, out)
        self.norm = Norm(norm, channels if first else out)

    def forward(self, x: Tensor, table: Table, ops: Backend, **around) -> Tensor:
        """Return (m, out) for `table` (m, 8) over `x` (n, channels) of the other level."""
        return self.conv(x, table, ops, **around)


class Stage(nn.Module):
    """The blocks of one level: convolutions, then attention along one curve after another."""

    def __init__(
        self, config: BackboneConfig, level: int, channels: int, rates: Sequence[float], training: Regularisation
    ) -> None:
        super().__init__()
        convs, heads = config.conv_blocks[level], config.heads[level]
        self.curves, self.shuffled = config.curves, training.shuffled
        self.convs = nn.ModuleList(ConvBlock(channels, config, rate, training) for rate in rates[:convs])
        self.attentions = nn.ModuleList(
            AttentionBlock(channels, heads, config, rate, training) for rate in rates[convs:]
        )

    def blocks(self, grid: Grid, ops: Backend, random: Noise | None) -> Iterator[Callable[[Tensor], Tensor]]:
        """Yield what takes `x` (m, channels) and returns as much: a loop around it keeps no `x` but the last."""
        for block in self.convs:
            yield partial(block, grid=grid, ops=ops, noise=random)
        curves = random.shuffled(self.curves) if random is not None and self.shuffled else self.curves
        for i, block in enumerate(self.attentions):
            yield partial(block, grid=grid, curve=curves[i % len(curves)], ops=ops, noise=random)


class EncoderStage(Stage):
    """Comes down from the finer level, if there is one, and runs the blocks."""

    def __init__(self, config: BackboneConfig, level: int, rates: Sequence[float], training: Regularisation) -> None:
        super().__init__(config, level, config.channels[level], rates, training)
        self.down = Between(config.channels[level - 1], config.channels[level], config.norm) if level else None

    def forward(self, x: Tensor, grid: Grid, ops: Backend, random: Noise | None) -> Tensor:
        """Return (m, channels) for `x` of the next finer level, or of the stem at the finest."""
        if self.down is not None:
            x = self.down(x, grid.down, ops, norm=self.down.norm.spec)
        for block in self.blocks(grid, ops, random):
            x = block(x)
        return x


class DecoderStage(Stage):
    """Comes up from the coarser level, if there is one, skip + gamma * conv(norm(x)), and runs the blocks."""

    def __init__(self, config: BackboneConfig, level: int, rates: Sequence[float], training: Regularisation) -> None:
        width = config.decoder_channels[level]
        super().__init__(config, level, width, rates, training)
        coarsest = level == config.levels - 1
        self.up = None if coarsest else Between(config.decoder_channels[level + 1], width, config.norm, first=True)
        self.skip = None if coarsest else Linear(config.channels[level], width, config.norm, first=True)
        self.gamma = None if coarsest else nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, encoded: list[Tensor], grid: Grid, ops: Backend, random: Noise | None) -> Tensor:
        """Return (m, width) for `x` of the next coarser level and the encoder's features of this one, the last ones of
        `encoded`, which are taken out of it."""
        skip = encoded.pop()
        if self.up is not None and self.skip is not None:
            skip = self.skip(skip, ops, pre_norm=self.skip.norm.spec)
            x = self.up(x, grid.up, ops, pre_norm=self.up.norm.spec, gamma=self.gamma, residual=skip)
        del skip  # the blocks need its memory
        for block in self.blocks(grid, ops, random):
            x = block(x)
        return x


def _taken(rates: list[float], config: BackboneConfig, before: range, level: int) -> list[float]:
    """Return the rates of a level's blocks when the stages `before` have taken theirs."""
    first = sum(config.conv_blocks[i] + config.attention_blocks[i] for i in before)
    return rates[first : first + config.conv_blocks[level] + config.attention_blocks[level]]
