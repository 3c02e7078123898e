"""Space-filling curves: integer cells to keys whose order keeps neighbours together, and back.

A key is `scene << 57 | curve`, 19 bits per axis, so that one int64 orders a whole batch; one level coarser is
`key >> 3`. 2**19 cells of 2 cm are 10.4 km.
"""

import torch
from torch import Tensor

BITS = 19
"""Bits per axis. Three more than the published 16, and so the same Hilbert order: each leading zero turns the axes
once, three turns are none."""
MAX_SCENES = 64  # scenes in one batch: what is left of 63 bits
STRAY = 1 << BITS - 1
"""What is added to the x of a stray's cell: half of the range away, it is nobody's neighbour, and last on its scene's
z-order curves."""

# Spreading the 19 bits of a coordinate to every third bit, and gathering them again, in five steps.
_SPREAD = (
    (32, 0x001F00000000FFFF),
    (16, 0x001F0000FF0000FF),
    (8, 0x100F00F00F00F00F),
    (4, 0x10C30C30C30C30C3),
    (2, 0x1249249249249249),
)


def morton(cells: Tensor, level: int = 0) -> Tensor:
    """Return the z-order keys of `cells` (m, 4: scene, x, y, z), non-negative, of `level` (0 is the finest).

    >>> morton(torch.tensor([[0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]])).tolist()
    [1, 4, 144115188075855872]
    """
    scene, x, y, z = cells.long().unbind(-1)
    return scene << 3 * (BITS - level) | _spread(x) << 2 | _spread(y) << 1 | _spread(z)


def cells(keys: Tensor, level: int = 0) -> Tensor:
    """Return the cells (m, 4) int32 of z-order `keys` (m,): the inverse of `morton`.

    >>> cells(morton(torch.tensor([[3, 70000, 2, 1]]), level=2), level=2).tolist()
    [[3, 70000, 2, 1]]
    """
    scene = keys >> 3 * (BITS - level)
    keys = keys & (1 << 3 * (BITS - level)) - 1
    return torch.stack([scene, _gather(keys >> 2), _gather(keys >> 1), _gather(keys)], -1).to(torch.int32)


def around(keys: Tensor, level: int) -> Tensor:
    """Return the keys (m, 27) of the cells around those of `keys` (m,) and theirs, z fastest; -1 beyond the range.

    >>> around(morton(torch.tensor([[0, 1, 1, 1]])), 0)[0, :4].tolist(), int(around(torch.tensor([0]), 0)[0, 0])
    ([0, 1, 8, 2], -1)
    """
    steps = torch.cartesian_prod(torch.arange(1), *[torch.arange(-1, 2)] * 3)
    there = cells(keys, level)[:, None] + steps.to(keys.device)
    inside = (there[..., 1:] >= 0).all(-1) & (there[..., 1:] < 1 << BITS - level).all(-1)
    return torch.where(inside, morton(there, level), -1)


def curve_keys(cells: Tensor, curve: str) -> Tensor:
    """Return the keys of `cells` (m, 4) along `curve`: "xyz-z", "yxz-z", "xyz-hilbert" or "yxz-hilbert".

    Source: the four orders are the published network's [paper, Table 12].

    >>> square = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 1, 1]])
    >>> curve_keys(square, "xyz-z").argsort().tolist(), curve_keys(square, "xyz-hilbert").argsort().tolist()
    ([0, 1, 2, 3], [0, 1, 3, 2])
    """
    axes, kind = curve.split("-")
    cells = cells[:, [0] + [1 + "xyz".index(axis) for axis in axes]].long()
    return morton(cells) if kind == "z" else _hilbert(cells)


def _hilbert(cells: Tensor) -> Tensor:
    """Skilling, "Programming the Hilbert curve" (2004): undo the turns bit by bit, then decode the Gray code."""
    scene, *axes = cells.unbind(-1)
    for bit in range(BITS - 1, -1, -1):
        below = (1 << bit) - 1
        for i in range(3):
            turned = (axes[i] >> bit & 1).bool()
            swap = (axes[0] ^ axes[i]) & below
            axes[0] = torch.where(turned, axes[0] ^ below, axes[0] ^ swap)
            if i:
                axes[i] = torch.where(turned, axes[i], axes[i] ^ swap)
    keys = morton(torch.stack([torch.zeros_like(scene), *axes], -1))
    for shift in (32, 16, 8, 4, 2, 1):
        keys = keys ^ keys >> shift
    return scene << 3 * BITS | keys


def _spread(x: Tensor) -> Tensor:
    for shift, mask in _SPREAD:
        x = (x | x << shift) & mask
    return x


def _gather(x: Tensor) -> Tensor:
    x = x & _SPREAD[-1][1]
    for (shift, _), (_, mask) in zip(_SPREAD[::-1], [*_SPREAD[-2::-1], (0, (1 << BITS) - 1)], strict=True):
        x = (x | x >> shift) & mask
    return x
