"""What ScanNet calls other furniture: bins, racks, ladders, washing machines, pianos."""

import numpy as np

from ..materials import Material, Palette
from ..pieces import Piece
from ..shapes import blob, box, boxes, lathe, moved, pole
from .props import loft_box


def bin_(rng: np.random.Generator, palette: Palette) -> Piece:
    """A waste bin, hollow, with or without a lid: other furniture."""
    r, h = rng.uniform(0.11, 0.2), rng.uniform(0.26, 0.6)
    piece = Piece("otherfurniture", 2 * r, 2 * r)
    skin = palette.metal() if rng.random() < 0.4 else palette.plastic()
    if rng.random() < 0.5:
        k, sides = rng.uniform(0.7, 1.0), 16
        lid = (
            [(r, h), (r * 0.6, h + 0.04), (0, h + 0.05)]
            if rng.random() < 0.4
            else [(r, h), (r * 0.95, h), (r * k * 0.9, 0.03), (0, 0.03)]
        )
        piece.add(lathe([(r * k, 0), *lid], sides=sides), skin)
    else:
        piece.add(loft_box(1.6 * r, 1.3 * r, h), skin)
    return piece


def ladder(rng: np.random.Generator, palette: Palette) -> Piece:
    """A step ladder or drying rack: other furniture."""
    w, h = rng.uniform(0.4, 0.5), rng.uniform(0.8, 1.6)
    metal = palette.metal()
    piece = Piece("otherfurniture", w, 0.7)
    for x in (-w / 2, w / 2):
        piece.add(pole((x, -0.33, 0), (x * 0.8, 0, h), 0.018), metal)
        piece.add(pole((x, 0.33, 0), (x * 0.8, 0, h), 0.014), metal)
    for k in np.arange(0.22, h, 0.24):
        piece.add(box((0, -0.33 * (1 - k / h), k), (w * (1 - 0.2 * k / h), 0.08, 0.02)), metal)
    return piece


def coat_rack(rng: np.random.Generator, palette: Palette) -> Piece:
    """A stand with coats: other furniture."""
    h = rng.uniform(1.6, 1.85)
    piece = Piece("otherfurniture", 0.5, 0.5)
    wood = palette.wood()
    piece.add(pole((0, 0, 0), (0, 0, h), 0.022), wood)
    for a in np.arange(4) * 1.571:
        piece.add(pole((0.24 * np.cos(a), 0.24 * np.sin(a), 0.01), (0, 0, 0.25), 0.016, sides=6), wood)
        piece.add(pole((0, 0, h - 0.12), (0.13 * np.cos(a), 0.13 * np.sin(a), h - 0.02), 0.012, sides=6), wood)
    for a in rng.uniform(0, 6.3, rng.integers(0, 4)):
        coat = piece.name("clothes")
        piece.add(
            blob((0.15 * np.cos(a), 0.15 * np.sin(a), h - 0.6), (0.24, 0.24, rng.uniform(0.7, 1.0)), 3),
            palette.fabric(),
            thing=coat,
        )
    return piece


def washer(rng: np.random.Generator, palette: Palette) -> Piece:
    """A washing machine: other furniture."""
    piece = Piece("otherfurniture", 0.6, 0.58)
    white = palette.ceramic()
    h = 0.85
    piece.add(box((0, 0, h / 2), (0.6, 0.56, h)), white)
    port = moved(
        lathe([(0.19, 0), (0.19, 0.04), (0.15, 0.045), (0.14, 0.01), (0, 0.0)], sides=18), (0, 0, 0), 0, np.pi / 2
    )
    piece.add(moved(port, (0, -0.28, 0.42)), palette.metal())
    piece.add(box((0, -0.285, 0.78), (0.56, 0.012, 0.1)), palette.plastic())
    piece.surface(0.5, 0.45, h)
    return piece


def piano(rng: np.random.Generator, palette: Palette) -> Piece:
    """An upright piano: other furniture."""
    w, h = 1.48, rng.uniform(1.1, 1.3)
    piece = Piece("otherfurniture", w, 0.62)
    body = palette.wood() if rng.random() < 0.5 else palette.dark()
    piece.add(
        boxes(
            [(0, 0.12, h / 2), (0, -0.15, 0.66), (-w / 2 + 0.03, -0.13, 0.36), (w / 2 - 0.03, -0.13, 0.36)],
            [(w, 0.36, h), (w, 0.3, 0.08), (0.06, 0.3, 0.72), (0.06, 0.3, 0.72)],
        ),
        body,
    )
    x = np.linspace(-0.62, 0.62, 52)
    piece.add(
        boxes(np.stack([x, 0 * x - 0.22, 0 * x + 0.71], 1), [(0.022, 0.14, 0.02)]), Material(np.full((2, 3), 0.92))
    )
    dark = x[np.arange(52) % 7 < 5] + 0.012
    piece.add(boxes(np.stack([dark, 0 * dark - 0.19, 0 * dark + 0.727], 1), [(0.012, 0.09, 0.015)]), palette.dark())
    piece.surface(w - 0.2, 0.26, h, 0.0, 0.12)
    return piece
