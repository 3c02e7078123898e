"""Procedural textures. Each takes `(uv, tint, noise)` in units of the material's scale and returns, for every
point, where it lies on the material's ramp of colours: 0 is the first colour, 1 the last.
"""

import numpy as np

from .noise import Noise


def plain(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """One colour, hardly uneven."""
    return 0.5 * tint + 0.12 * noise.at(uv * 3)


def wood(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Grain along u, with the rings of the trunk bending through it."""
    bend = uv[:, 1] + 0.25 * noise.at(uv * [0.9, 2.0], 1) + 3.7 * tint
    rings = 0.5 + 0.5 * np.sin(bend * 19 + 4 * noise.at(uv * [0.6, 5.0], 2))
    fibre = noise.at(uv * [4, 70], 3)
    return 0.25 + 0.35 * rings + 0.4 * (fibre - 0.5) + 0.25 * (tint - 0.5)


def planks(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Floor boards of 1 by 0.14, staggered, each with its own shade and grain, dark in the seams."""
    row = np.floor(uv[:, 1] / 0.14)
    along = uv[:, 0] + 0.618 * row
    board = np.stack([np.floor(along), row], 1).astype(np.int64)
    shade = noise.cell(board)
    grain = noise.at(np.stack([along * 4 + 9 * shade, uv[:, 1] * 60], 1), 1)
    seam = (np.abs(along - np.round(along)) < 0.004) | (np.abs(uv[:, 1] / 0.14 - row - 0.5) > 0.47)
    return np.where(seam, 1.0, 0.1 + 0.5 * shade + 0.25 * grain)


def herringbone(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Parquet of short blocks laid in zigzag."""
    turned = uv @ np.array([[0.7071, -0.7071], [0.7071, 0.7071]])
    block = np.floor(turned / 0.12).astype(np.int64)
    lying = (block.sum(1) // 4) % 2 == 0
    name = np.where(
        lying[:, None], np.stack([block[:, 0] // 4, block[:, 1]], 1), np.stack([block[:, 0], block[:, 1] // 4], 1)
    )
    grain = noise.at(np.where(lying[:, None], turned, turned[:, ::-1]) * [6, 60], 1)
    return 0.1 + 0.55 * noise.cell(name, 0.3) + 0.25 * grain


def tiles(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Square tiles of edge 1, hardly different from each other, with grout (the last colour) between."""
    node = np.floor(uv)
    edge = np.abs(uv - node - 0.5).max(1)
    shade = 0.25 * noise.cell(node.astype(np.int64)) + 0.15 * noise.at(uv * 5, 2)
    return np.where(edge > 0.475, 1.0, shade)


def bricks(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Oblong tiles of 1 by 0.4 in running bond, as bricks or metro tiles."""
    row = np.floor(uv[:, 1] / 0.4)
    along = uv[:, 0] + 0.5 * (row % 2)
    node = np.stack([np.floor(along), row], 1)
    joint = (np.abs(along - node[:, 0] - 0.5) > 0.48) | (np.abs(uv[:, 1] / 0.4 - row - 0.5) > 0.45)
    shade = 0.45 * noise.cell(node.astype(np.int64)) + 0.2 * noise.at(uv * 9, 2)
    return np.where(joint, 1.0, shade)


def checker(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Two colours by turns, squares of edge 1."""
    return np.floor(uv).sum(1) % 2 * 0.9 + 0.1 * noise.at(uv * 4)


def stripes(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Bands along v, of several widths."""
    band = np.floor(uv[:, 0] * 4)
    wide = noise.cell(np.stack([band // 2 % 7, np.zeros_like(band)], 1).astype(np.int64))
    return np.where(band % 2 == 0, 0.0, 0.4 + 0.6 * wide)


def plaid(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Crossing bands, as on a blanket."""
    bands = np.floor(uv * 4).astype(np.int64) % 6
    one, two = (noise.cell(np.stack([bands[:, i], bands[:, i]], 1), i) for i in (0, 1))
    return 0.5 * (one > 0.5) + 0.5 * (two > 0.5)


def weave(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Cloth: melange threads with soft wear."""
    return 0.3 * tint + 0.35 * noise.at(uv * 60) + 0.3 * noise.at(uv * 5, 1)


def carpet(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Pile with flecks."""
    return 0.7 * noise.at(uv * 45) + 0.3 * noise.at(uv * 7, 2)


def marble(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Stone with veins."""
    bend = uv + 0.5 * np.stack([noise.at(uv * 1.7), noise.at(uv * 1.7, 4)], 1)
    vein = 1 - np.abs(2 * noise.at(bend * 2.3, 1) - 1)
    return 0.25 * noise.at(uv * 4, 2) + 0.8 * vein**9


def speckle(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Granite or terrazzo."""
    grain = noise.at(uv * 38)
    return np.where(grain > 0.68, 1.0, np.where(grain < 0.25, 0.6, 0.15 * noise.at(uv * 6, 1)))


def blotches(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Large leaves or flowers on a ground."""
    field = noise.at(uv * 5) + 0.35 * noise.at(uv * 15, 1)
    return np.where(field > 0.78, 1.0, np.where(field > 0.66, 0.6, 0.08 * noise.at(uv * 40, 2)))


def dots(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Round spots in a shifted grid."""
    row = np.floor(uv[:, 1] * 6)
    at = np.stack([uv[:, 0] * 6 + 0.5 * (row % 2), uv[:, 1] * 6], 1)
    return np.where(((at - np.floor(at) - 0.5) ** 2).sum(1) < 0.07, 1.0, 0.1 * noise.at(uv * 20))


def worn(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Plaster or concrete: clouds on several scales."""
    return 0.5 * noise.at(uv * 1.3) + 0.3 * noise.at(uv * 5, 1) + 0.2 * noise.at(uv * 19, 2)


def many(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """A colour for each thing by its tint, with a lighter band: the backs of books, keys, fruit."""
    band = np.abs(uv[:, 1] * 8 - np.round(uv[:, 1] * 8)) < 0.07 * (np.modf(tint * 7.3)[0] > 0.5)
    return np.where(band, np.modf(tint + 0.45)[0], tint)


def scene(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """A painting or photograph: a horizon, hills and a few bold shapes."""
    horizon = 0.5 * noise.at(np.stack([uv[:, 0] * 3, tint * 50], 1))
    sky = 0.2 + 0.3 * noise.at(uv * [2, 5] + tint[:, None] * 40)
    ground = 0.6 + 0.4 * noise.at(uv * 9 + tint[:, None] * 70, 1)
    shapes = noise.at(uv * 5 + tint[:, None] * 23, 2)
    value = np.where(uv[:, 1] < horizon, ground, sky)
    return np.where(shapes > 0.72, 1 - value, value)


def oriental(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """A rug: mirrored ornament inside of borders; uv runs over -1..1."""
    edge = np.abs(uv).max(1)
    ornament = noise.at(np.abs(uv) * 9) + 0.5 * noise.at(np.abs(uv[:, ::-1]) * 23, 1)
    inner = np.where(ornament > 0.85, 1.0, np.where(ornament > 0.6, 0.5, 0.0))
    border = np.where(np.abs(edge - 0.82) < 0.03, 1.0, 0.7)
    return np.where(edge > 0.76, border, inner)


def text(uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
    """Lines of writing on a page or screen."""
    line = np.floor(uv[:, 1] * 30)
    ink = (line % 2 == 0) & (noise.at(np.stack([uv[:, 0] * 40, line * 5], 1)) > 0.45)
    return np.where(ink & (noise.cell(np.stack([line, line], 1).astype(np.int64)) > 0.25), 0.9, 0.05 + 0.2 * tint)
