"""Space-filling curves: integer cells to keys whose order keeps neighbours together, and back.

A key is `scene << 57 | curve`, 19 bits per axis, so that one int64 orders a whole batch; one level coarser is
`key >> 3`. 2**19 cells of 2 cm are 10.4 km.
"""

import functools

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
    return along(morton(cells), curve)


def along(keys: Tensor, curve: str, level: int = 0) -> Tensor:
    """Return the keys (m,) along `curve` of the cells whose z-order keys (m,) of `level` are given.

    >>> along(torch.tensor([0, 2, 4]), "yxz-z").tolist()
    [0, 4, 2]
    """
    axes, kind = curve.split("-")
    scene, place = keys >> 3 * (BITS - level), keys & (1 << 3 * (BITS - level)) - 1
    if axes == "yxz":
        place = place & _Z | (place & _X) >> 1 | (place & _Y) << 1
    return scene << 3 * BITS | (place if kind == "z" else _hilbert(place))


_X, _Y, _Z = (sum(octant << 3 * bit for bit in range(BITS)) for octant in (4, 2, 1))  # of a z-order key
_DIGITS = 3  # octants that one look into the table below goes down
_STEPS = -(-BITS // _DIGITS)


def _hilbert(place: Tensor) -> Tensor:
    """Go down the octree of z-order keys, the way that the axes are turned in each octant being a state."""
    table, state = _table(place.device)
    keys = torch.zeros_like(place)
    for step in reversed(range(_STEPS)):
        found = table[state | place >> 3 * _DIGITS * step & (1 << 3 * _DIGITS) - 1]
        keys, state = keys << 3 * _DIGITS | found & (1 << 3 * _DIGITS) - 1, found >> 3 * _DIGITS << 3 * _DIGITS
    return keys


@functools.cache
def _table(device: torch.device) -> tuple[Tensor, int]:
    """Return for each state and `_DIGITS` octants the next state and the key's bits, and the state at the top.

    Source: Skilling, "Programming the Hilbert curve" (2004), whose turns are followed here octant by octant: the axes
    are permuted and flipped, and what came before is odd or even in the Gray code.
    """
    states, rows = list[tuple[tuple[int, ...], tuple[int, ...], int]]([((0, 1, 2), (0, 0, 0), 0)]), []
    for axes, flips, odd in states:  # grows as new ones are found
        row = []
        for octant in range(8):
            bits = [(octant >> 2 - axis & 1) ^ flip for axis, flip in zip(axes, flips, strict=True)]
            turned, flipped, parity, key = list(axes), list(flips), odd, 0
            for i, bit in enumerate(bits):
                if bit:
                    flipped[0] ^= 1
                else:
                    turned[0], turned[i], flipped[0], flipped[i] = turned[i], turned[0], flipped[i], flipped[0]
                parity ^= bit
                key = key << 1 | parity
            after = tuple(turned), tuple(flipped), parity
            if after not in states:
                states.append(after)
            row.append((states.index(after), key))
        rows.append(row)
    after, key = torch.tensor(rows).unbind(-1)
    state, keys = torch.arange(len(states))[:, None], torch.zeros(len(states), 1, dtype=torch.long)
    for _ in range(_DIGITS):
        keys = (keys[..., None] << 3 | key[state]).flatten(1)
        state = after[state].flatten(1)
    top = 0
    for _ in range((BITS - _STEPS * _DIGITS) % 3):  # as many turns as the zeros before the first bit lack to be none
        top = int(after[top, 0])
    return (state << 3 * _DIGITS | keys).flatten().to(device), top << 3 * _DIGITS


def _spread(x: Tensor) -> Tensor:
    for shift, mask in _SPREAD:
        x = (x | x << shift) & mask
    return x


def _gather(x: Tensor) -> Tensor:
    x = x & _SPREAD[-1][1]
    for (shift, _), (_, mask) in zip(_SPREAD[::-1], [*_SPREAD[-2::-1], (0, (1 << BITS) - 1)], strict=True):
        x = (x | x >> shift) & mask
    return x
