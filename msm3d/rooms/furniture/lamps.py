"""Lamps: on tables, on the floor, under the ceiling."""

import numpy as np

from ..materials import Palette
from ..pieces import Piece
from ..shapes import blob, box, lathe, moved, pole, slab, tube


def table_lamp(rng: np.random.Generator, palette: Palette) -> Piece:
    """A lamp with a shade, or a jointed desk lamp."""
    shade = palette.lamp()
    if rng.random() < 0.65:
        r, h = rng.uniform(0.1, 0.18), rng.uniform(0.3, 0.55)
        piece = Piece("lamp", 2 * r, 2 * r)
        body = palette.ceramic() if rng.random() < 0.5 else palette.metal()
        piece.add(
            lathe(
                [(r * 0.55, 0), (r * 0.55, 0.02), (0.02, 0.05), (r * 0.4, h * 0.3), (0.012, h * 0.55), (0.012, h * 0.7)]
            ),
            body,
        )
        top = r * rng.uniform(0.55, 1.0)
        piece.add(lathe([(r, h * 0.6), (top, h)], sides=18)._replace(both=np.ones(18, bool)), shade)
        return piece
    piece = Piece("lamp", 0.2, 0.3)
    metal = palette.metal()
    piece.add(slab((0, 0, 0.01), 0.08, 0.08, 0.02), metal)
    piece.add(tube([(0, 0, 0.02), (0, 0.12, 0.22), (0, -0.1, 0.4)], 0.01, sides=6), metal)
    piece.add(moved(moved(lathe([(0.075, 0), (0.03, 0.12), (0, 0.12)]), (0, 0, 0), 0, 0.5), (0, -0.12, 0.32)), shade)
    return piece


def floor_lamp(rng: np.random.Generator, palette: Palette) -> Piece:
    """A standing lamp: post, tripod or arc."""
    h, r = rng.uniform(1.35, 1.85), rng.uniform(0.13, 0.24)
    piece = Piece("lamp", 0.45, 0.45)
    metal = palette.metal() if rng.random() < 0.7 else palette.wood()
    style = rng.integers(3)
    at = np.zeros(3)
    if style == 0:
        piece.add(lathe([(0.15, 0), (0.15, 0.025), (0.014, 0.04), (0.014, h - 0.1)]), metal)
    elif style == 1:
        for a in np.arange(3) * 2.094:
            piece.add(pole((0.22 * np.cos(a), 0.22 * np.sin(a), 0), (0, 0, h - 0.25), 0.014), metal)
    else:
        t = np.linspace(0, 1, 8)
        path = np.stack([0 * t, 0.18 - 0.3 * t**3, h * np.sin(t * 1.75)], 1)
        piece.add(tube(path, 0.013, sides=6), metal)
        piece.add(slab((0, 0.18, 0.02), 0.14, 0.14, 0.04), metal)
        at = path[-1] * [1, 1, 0]
    piece.add(
        moved(lathe([(r, h - 0.28), (r * rng.uniform(0.5, 1), h)], sides=18)._replace(both=np.ones(18, bool)), at),
        palette.lamp(),
    )
    return piece


def hanging_lamp(rng: np.random.Generator, palette: Palette, ceiling: float, low: float | None = None) -> Piece:
    """A lamp under the ceiling: pendant, dome, panel or tube."""
    style = rng.integers(4)
    piece = Piece("lamp", 0.5, 0.5)
    shade = palette.lamp()
    if style == 0 or low is not None:
        r, z = rng.uniform(0.12, 0.28), low if low is not None else ceiling - rng.uniform(0.4, 0.8)
        z = min(z, ceiling - 0.4)
        piece.add(
            lathe(
                [(r, z), (r * rng.uniform(0.2, 0.9), z + rng.uniform(0.15, 0.3)), (0.012, z + 0.32), (0.008, ceiling)],
                sides=18,
            )._replace(both=np.ones(54, bool)),
            shade,
        )
    elif style == 1:
        r = rng.uniform(0.15, 0.28)
        piece.add(lathe([(0, ceiling - 0.12), (r * 0.7, ceiling - 0.1), (r, ceiling)], sides=18), shade)
    elif style == 2:
        piece.add(box((0, 0, ceiling - 0.03), (rng.uniform(0.3, 1.2), rng.uniform(0.15, 0.6), 0.06)), shade)
    else:
        for a in np.arange(5) * 1.2566:
            tip = np.array([0.25 * np.cos(a), 0.25 * np.sin(a), ceiling - 0.5])
            piece.add(
                tube(np.array([[0, 0, ceiling - 0.45], tip * [0.6, 0.6, 1] - [0, 0, 0.08], tip]), 0.01, sides=6),
                palette.metal(),
            )
            piece.add(blob(tip + np.array([0, 0, 0.05]), (0.09, 0.09, 0.12), rows=6, sides=10), shade)
        piece.add(pole((0, 0, ceiling - 0.5), (0, 0, ceiling), 0.015), palette.metal())
    return piece
