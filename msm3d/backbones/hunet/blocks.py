"""The two residual blocks of the network, and their parameters. Every weight is multiplied by the backend `ops`."""

import torch
from torch import Tensor, nn

from ...ops import Backend, Table, contract
from ...sparse.hierarchy import Grid
from ..base import Regularisation
from ..noise import Noise, joined
from .config import BackboneConfig


class Norm(nn.Module):
    """Parameters of an RMSNorm (scale alone) or a LayerNorm."""

    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "rmsnorm":
            self.scale = nn.Parameter(torch.ones(channels))
        else:
            self.weight = nn.Parameter(torch.ones(channels))
            self.bias = nn.Parameter(torch.zeros(channels))

    @property
    def spec(self) -> contract.Norm:
        """The norm as `ops` takes it."""
        scale, shift = (self.scale, None) if self.kind == "rmsnorm" else (self.weight, self.bias)
        return contract.Norm(self.kind, scale, shift)


class SparseConv(nn.Module):
    """Weight (slots, in, out) and bias of a sparse convolution; which one it is, its table decides."""

    def __init__(self, slots: int, channels: int, out: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(slots, channels, out))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None
        nn.init.trunc_normal_(self.weight, std=(slots * channels) ** -0.5)

    def forward(self, x: Tensor, table: Table | Tensor, ops: Backend, **around) -> Tensor:
        """Return (m, out) for `table` (m, slots) over `x` (n, in)."""
        return ops.conv(x, self.weight, table, self.bias, **around)


class ConvBlock(nn.Module):
    """x + gamma * norm(conv(gelu(conv(norm(x))))) [released code, `ResNet`]."""

    def __init__(self, channels: int, config: BackboneConfig, drop_path: float, training: Regularisation) -> None:
        super().__init__()
        self.norm = Norm(config.norm, channels)
        self.conv1 = SparseConv(27, channels, channels, config.bias)
        self.conv2 = SparseConv(27, channels, channels, config.bias)
        self.post_norm = Norm(config.norm, channels)
        self.gamma = nn.Parameter(torch.full((channels,), training.layer_scale))
        self.drop_path = drop_path

    def forward(self, x: Tensor, grid: Grid, ops: Backend, noise: Noise | None = None) -> Tensor:
        """Return (m, channels) for `x` (m, channels) on the voxels of `grid`."""
        y = self.conv1(x, grid.across, ops, pre_norm=self.norm.spec, activation="gelu")
        y = self.conv2(y, grid.across, ops, norm=self.post_norm.spec, gamma=self.gamma, residual=x)
        return joined(x, y, noise and noise.paths(self.drop_path, grid))


class AttentionBlock(nn.Module):
    """Windowed self-attention along a space-filling curve, then a feed-forward [released code, `ResFormer`].

    There is no positional encoding: where a voxel is, the convolutions know.
    """

    def __init__(
        self, channels: int, heads: int, config: BackboneConfig, drop_path: float, training: Regularisation
    ) -> None:
        super().__init__()
        hidden = channels * config.mlp_ratio
        self.norm = Norm(config.norm, channels)
        self.qkv = nn.Linear(channels, 3 * channels, config.bias)
        self.proj = nn.Linear(channels, channels, config.bias)
        self.gamma1 = nn.Parameter(torch.full((channels,), training.layer_scale))
        self.mlp_norm = Norm(config.norm, channels)
        self.mlp_in = nn.Linear(channels, hidden * (2 if config.mlp == "geglu" else 1), config.bias)
        self.mlp_out = nn.Linear(hidden, channels, config.bias)
        self.gamma2 = nn.Parameter(torch.full((channels,), training.layer_scale))
        self.heads, self.window, self.mlp = heads, config.window // 2, config.mlp
        self.dropout, self.drop_path = training.attention_dropout, drop_path

    def forward(self, x: Tensor, grid: Grid, curve: str, ops: Backend, noise: Noise | None = None) -> Tensor:
        """Return (m, channels) for `x` (m, channels) on the voxels of `grid`, attending along `curve`."""
        order, place = grid.order(curve)
        along = ops.normalize(x, self.norm.spec)[order]
        qkv = ops.linear(along, self.qkv.weight, self.qkv.bias).view(len(x), 3, self.heads, -1)
        dropped = {} if noise is None else {"dropout": self.dropout, "seed": noise.seed()}
        y = ops.attend(qkv, grid.segments, self.window, **dropped).reshape(len(x), -1)[place]
        y = ops.linear(y, self.proj.weight, self.proj.bias, gamma=self.gamma1, residual=x)
        x = joined(x, y, noise and noise.paths(self.drop_path, grid))
        y = ops.linear(x, self.mlp_in.weight, self.mlp_in.bias, pre_norm=self.mlp_norm.spec, activation=self.mlp)
        y = ops.linear(y, self.mlp_out.weight, self.mlp_out.bias, gamma=self.gamma2, residual=x)
        return joined(x, y, noise and noise.paths(self.drop_path, grid))
