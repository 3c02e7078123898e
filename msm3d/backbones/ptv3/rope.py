"""Rotary positions: queries and keys turned by angles that grow with the place of their voxel."""

import torch
from torch import Tensor


def angles(coord: Tensor, channels: int, base: float) -> tuple[Tensor, Tensor]:
    """Return cosine and sine (m, 1, 1, 3, channels / 6) of the places `coord` (m, 3) for heads of so many channels."""
    pairs = channels // 6
    speed = base ** (torch.arange(pairs, device=coord.device, dtype=torch.float32) / -pairs)
    angle = (coord[:, :, None] * speed)[:, None, None]
    return angle.cos(), angle.sin()


def rotated(qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return queries, keys and values (m, 3, h, e) with the first two turned.

    A head's channels are thirds for x, y and z; in each, channel j of the first half goes with j of the second.

    Source: `Point3DRoPE` of Utonia's released code.
    """
    first, second = qkv[:, :2].unflatten(-1, (3, 2, -1)).unbind(-2)
    turned = torch.stack([first * cos - second * sin, second * cos + first * sin], -2).flatten(-3)
    return torch.cat([turned.to(qkv.dtype), qkv[:, 2:]], 1)
