"""How the things of a scan lie to each other, as numbers that a head can weigh: nothing here is learned, and no number
changes when the scan is turned by a quarter.

`geometry` (b, k, GEOMETRY) is of k things in each of b scans, see `Objects.geometry`.
"""

import torch
from torch import Tensor

PAIR = 7
PLACES = PAIR + 6 + 4 * 4
"""Numbers of `places`."""
SHAPE = 9
_VOLUME, _TINTS = 6, 8  # columns of the geometry
_SHARP = 0.05  # metres, or logarithm of a volume, within which it is not clear which of two is less
_SHORT = 0.05  # metres


def shape(geometry: Tensor) -> Tensor:
    """Return what tells the class of things that only their boxes are known of (..., SHAPE): width and depth, height,
    where they begin and end above the ground, logarithms of volume, points, width and depth."""
    flat, height, middle = geometry[..., 3:5].sort(-1).values, geometry[..., 5], geometry[..., 2]
    above = torch.stack([height, middle - height / 2, middle + height / 2], -1)
    return torch.cat([flat, above, geometry[..., _VOLUME:_TINTS], (flat + 0.01).log()], -1)


def tints(geometry: Tensor) -> Tensor:
    """Return how well each colour word fits things (..., words)."""
    return geometry[..., _TINTS:]


def pairs(geometry: Tensor) -> Tensor:
    """Return how each thing lies to each other one (b, k, k, PAIR), metres: between the middles, in space and seen from
    above, between the boxes, from the other's top up to its bottom, how far that is from touching, how far aside its
    middle is of the other's box, and whether the boxes are within half a metre."""
    middle, half = geometry[..., :3], geometry[..., 3:6] / 2
    low, high = middle - half, middle + half
    step = middle[:, :, None] - middle[:, None]
    gap = torch.maximum(low[:, :, None] - high[:, None], low[:, None] - high[:, :, None]).clamp(min=0).norm(dim=3)
    up = low[:, :, None, 2] - high[:, None, :, 2]
    over = torch.maximum(low[:, None] - middle[:, :, None], middle[:, :, None] - high[:, None])
    aside = over[..., :2].clamp(min=0).norm(dim=3)
    near = (gap < 0.5).to(gap.dtype)
    return torch.stack(
        [step.norm(dim=3), step[..., :2].norm(dim=3), gap, up, 4 * up.abs().clamp(max=0.5), aside, near], 3
    )


def places(geometry: Tensor, meant: Tensor, roles: Tensor) -> Tensor:
    """Return where each thing is to those that a sentence speaks of (b, s, k, PLACES).

    Args:
        geometry: of the things.
        meant: (b, s, k) how likely each is of the class that is looked for.
        roles: (b, s, 4, k) how likely each is one anchor, the other, where somebody stands, and where they look; of
            each role these add up to 1.
    """
    to_anchor = torch.einsum("bsj,bijf->bsif", roles[:, :, 0], pairs(geometry))
    mine = geometry[:, None, :, :2]
    one, other, stand, look = torch.einsum("bsrj,bjd->rbsd", roles, geometry[..., :2])[:, :, :, None]
    along, across, length = _along(mine - one, other - one)
    between = [(along / length).clamp(-2, 3), (along / length - 0.5).abs().clamp(max=2), across.abs()]
    ahead, left, _ = _along(mine - one, look - stand)
    far = (mine - one).norm(dim=-1).clamp(min=_SHORT)
    seen = [ahead / far, left / far, far]
    size, apart = geometry[:, None, :, _VOLUME].expand_as(meant), to_anchor[..., 0]
    counts = torch.stack([_before(values, meant) for values in (apart, -apart, -size, size)], 3)
    first = (-2 * (counts[..., None] - torch.arange(4.0, device=counts.device)) ** 2).exp().flatten(3)
    return torch.cat([to_anchor, torch.stack([*between, *seen], 3), first], 3)


def _along(step: Tensor, way: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return how far steps go along a way, and to its left, and the way's length."""
    length = way.norm(dim=-1).clamp(min=_SHORT)
    x, y = (way / length[..., None]).unbind(-1)
    return step[..., 0] * x + step[..., 1] * y, step[..., 1] * x - step[..., 0] * y, length


def _before(values: Tensor, meant: Tensor) -> Tensor:
    """Return how many other things that are `meant` have less than each (b, s, k)."""
    less = torch.sigmoid((values[..., :, None] - values[..., None, :]) / _SHARP)
    itself = torch.eye(values.shape[-1], dtype=torch.bool, device=values.device)
    return (less.masked_fill(itself, 0) * meant[..., None, :]).sum(-1)
