"""The checkpoints of the network's authors: their names and layouts, and which network a checkpoint is of."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from ..base import Released, Row
from .config import BackboneConfig

PUBLISHED = BackboneConfig(sampling="published")
"""The released network [paper, Table 12], read at a point as its authors read it."""
_FIRST = "init_transform.0.weight"


def table(config: BackboneConfig) -> dict[str, Row]:
    """Return the authors' name → (our name, the authors' shape) of every tensor of a network.

    >>> table(PUBLISHED)["down.0.0.weight"]
    ('encoder.1.down.conv.weight', (64, 2, 2, 2, 32))
    """
    rows: dict[str, Row] = {}
    last = config.levels - 1
    rows |= _layer("init_transform.0", "stem.linear", (config.channels[0], config.in_channels), bias=True)
    rows |= _norm("init_transform.1", "stem.norm", config.channels[0], config)
    for level in range(config.levels):
        if level > 0:
            narrow, wide = config.channels[level - 1], config.channels[level]
            rows |= _layer(f"down.{level - 1}.0", f"encoder.{level}.down.conv", (wide, 2, 2, 2, narrow), bias=True)
            rows |= _norm(f"down.{level - 1}.1", f"encoder.{level}.down.norm", wide, config)
        rows |= _blocks(f"enc.{level}", f"encoder.{level}", level, config.channels[level], config)
    rows |= _norm("decoder_init_norm", "bottleneck", config.channels[last], config)
    for level in range(config.levels):
        stage, ours, width = last - level, f"decoder.{level}", config.decoder_channels[level]
        rows |= _blocks(f"dec.{stage}", ours, level, width, config)
        if level < last:
            below, across = config.decoder_channels[level + 1], config.channels[level]
            rows |= _norm(f"up.{stage - 1}.0", f"{ours}.up.norm", below, config)
            rows |= _layer(f"up.{stage - 1}.1", f"{ours}.up.conv", (width, 2, 2, 2, below), bias=True)
            rows |= _norm(f"linears_skip.{stage - 1}.0", f"{ours}.skip.norm", across, config)
            rows |= _layer(f"linears_skip.{stage - 1}.1", f"{ours}.skip.linear", (width, across), bias=True)
            rows |= _gamma(f"skip.{stage - 1}", f"{ours}.gamma", width)
    return rows


def _blocks(stage: str, ours: str, level: int, width: int, config: BackboneConfig) -> dict[str, Row]:
    """Return the rows of a stage's residual blocks, convolutions first; the authors' attention 0 is the curve."""
    rows: dict[str, Row] = {}
    for index in range(config.conv_blocks[level]):
        theirs, block = f"resnet_{stage}.{index}", f"{ours}.convs.{index}"
        rows |= _norm(f"{theirs}.norm", f"{block}.norm", width, config)
        for conv in ("conv1", "conv2"):
            rows |= _layer(f"{theirs}.{conv}", f"{block}.{conv}", (width, 3, 3, 3, width), bias=config.bias)
        rows |= _norm(f"{theirs}.norm_post_layer", f"{block}.post_norm", width, config)
        rows |= _gamma(f"{theirs}.skip_path", f"{block}.gamma", width)
    gated = config.mlp == "geglu"
    mlp_norm, mlp_in, mlp_out = ("mlp_norm", "mlp_lin_1", "mlp_lin_2") if gated else ("mlp.0", "mlp.1", "mlp.3")
    hidden = config.mlp_ratio * width
    for index in range(config.attention_blocks[level]):
        theirs, block = f"att_{stage}.{index + 1}", f"{ours}.attentions.{index}"
        rows |= _norm(f"{theirs}.norm", f"{block}.norm", width, config)
        rows |= _layer(f"{theirs}.linear_in", f"{block}.qkv", (3 * width, width), bias=config.bias)
        rows |= _layer(f"{theirs}.linear_out", f"{block}.proj", (width, width), bias=config.bias)
        rows |= _gamma(f"{theirs}.skip_path_1", f"{block}.gamma1", width)
        rows |= _norm(f"{theirs}.{mlp_norm}", f"{block}.mlp_norm", width, config)
        rows |= _layer(f"{theirs}.{mlp_in}", f"{block}.mlp_in", (hidden * (2 if gated else 1), width), bias=config.bias)
        rows |= _layer(f"{theirs}.{mlp_out}", f"{block}.mlp_out", (width, hidden), bias=config.bias)
        rows |= _gamma(f"{theirs}.skip_path_2", f"{block}.gamma2", width)
    return rows


def _norm(theirs: str, ours: str, width: int, config: BackboneConfig) -> dict[str, Row]:
    leaves = ("scale",) if config.norm == "rmsnorm" else ("weight", "bias")
    return {f"{theirs}.norm.{leaf}": (f"{ours}.{leaf}", (width,)) for leaf in leaves}


def _layer(theirs: str, ours: str, shape: tuple[int, ...], *, bias: bool) -> dict[str, Row]:
    rows = {f"{theirs}.weight": (f"{ours}.weight", shape)}
    return rows | {f"{theirs}.bias": (f"{ours}.bias", shape[:1])} if bias else rows


def _gamma(theirs: str, ours: str, width: int) -> dict[str, Row]:
    return {f"{theirs}.gamma": (ours, (1, width))}


def ours(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor of the authors' as we store it: of a convolution (slot, in, out) with slot = x, y, z."""
    if tensor.dim() == 5:  # (out, kx, ky, kz, in)
        return tensor.permute(1, 2, 3, 4, 0).reshape(-1, tensor.shape[4], tensor.shape[0]).contiguous()
    return tensor.flatten() if name.endswith(".gamma") else tensor


def inferred(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the fields of a configuration that the shapes of the authors' tensors determine, read as they read it."""
    levels = range(1 + _highest(shapes, "resnet_enc."))
    widths = [shapes[f"resnet_enc.{level}.0.skip_path.gamma"][-1] for level in levels]
    attention = [_highest(shapes, f"att_enc.{level}.") for level in levels]  # 0 is the curve
    fields: dict[str, Any] = {
        "sampling": "published",
        "channels": widths,
        "decoder_channels": [shapes[f"resnet_dec.{levels[-1] - level}.0.skip_path.gamma"][-1] for level in levels],
        "conv_blocks": [1 + _highest(shapes, f"resnet_enc.{level}.") for level in levels],
        "attention_blocks": [max(0, highest) for highest in attention],
        "in_channels": shapes[_FIRST][1],
        "norm": "rmsnorm" if "init_transform.1.norm.scale" in shapes else "layernorm",
        "bias": "resnet_enc.0.0.conv1.bias" in shapes,
    }
    for level in levels:
        if attention[level] > 0:
            gated = f"att_enc.{level}.1.mlp_lin_2.weight" in shapes
            out = shapes[f"att_enc.{level}.1.{'mlp_lin_2' if gated else 'mlp.3'}.weight"]
            fields |= {"mlp": "geglu" if gated else "gelu", "mlp_ratio": out[1] // widths[level]}
    return fields


def _highest(names: Iterable[str], prefix: str) -> int:
    """Return the highest number that follows `prefix`, or -1."""
    return max((int(name[len(prefix) :].split(".")[0]) for name in names if name.startswith(prefix)), default=-1)


RELEASED = Released(
    name="scannet",
    published=PUBLISHED,
    first=_FIRST,
    student="student.",
    unseen=("heads", "window", "voxel_size"),
    table=table,
    inferred=inferred,
    ours=ours,
)
