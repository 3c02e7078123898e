"""Beds, with headboards, pillows and blankets."""

import numpy as np

from ..materials import Material, Palette
from ..noise import Noise
from ..pieces import Piece
from ..shapes import blob, box, boxes, moved, pillow, pole, sheet
from .parts import legs


def bed(rng: np.random.Generator, palette: Palette) -> Piece:
    """A bed for one or two, a bunk, a divan or a mattress on the floor; the headboard is at the back."""
    w, long = rng.choice([0.9, 1.0, 1.2, 1.4, 1.6, 1.8]) + rng.uniform(-0.03, 0.05), rng.uniform(1.9, 2.1)
    style = rng.choice(4, p=[0.5, 0.25, 0.12, 0.13])
    frame = palette.wood() if rng.random() < 0.6 else palette.metal() if rng.random() < 0.4 else palette.upholstery()
    if style == 2:
        return bunk(rng, palette, frame)
    base = rng.uniform(0.2, 0.36) if style != 3 else 0.02
    piece = Piece("bed", w + 0.06, long + 0.08)
    if style == 0:
        piece.add(box((0, 0, base - 0.04), (w + 0.04, long + 0.02, rng.uniform(0.08, 0.16))), frame)
        legs(piece, rng, frame, w, long, base - 0.05, 0.06, 0.0)
    elif style == 1:
        piece.add(blob((0, 0, base / 2 + 0.02), (w + 0.02, long + 0.02, base), 14), frame)
    if style != 3 or rng.random() < 0.3:
        headboard(piece, rng, palette, frame, w, long, base)
        if rng.random() < 0.3 and style == 0:
            high = base + rng.uniform(0.1, 0.35)
            piece.add(box((0, -long / 2 - 0.02, high / 2 + 0.05), (w + 0.06, 0.035, high - 0.1)), frame)
    made(piece, rng, palette, w, long, base, 0.0)
    return piece


def headboard(
    piece: Piece, rng: np.random.Generator, palette: Palette, frame: Material, w: float, long: float, base: float
) -> None:
    """A board, a padded one, bars, or none."""
    y, high = long / 2 + 0.02, rng.uniform(0.75, 1.3)
    style = rng.integers(4)
    if style == 0:
        piece.add(box((0, y, high / 2), (w + 0.06, 0.04, high)), frame)
    elif style == 1:
        cloth, columns = palette.upholstery(), int(rng.integers(1, 5))
        for k in range(columns):
            x = (k - (columns - 1) / 2) * w / columns
            piece.add(blob((x, y - 0.02, (base + high) / 2), (w / columns, 0.11, high - base), 8), cloth)
        piece.add(box((0, y, high / 2), (w, 0.03, high - 0.05)), cloth)
    elif style == 2:
        for x in np.linspace(-w / 2, w / 2, int(rng.integers(5, 12))):
            piece.add(pole((x, y, base), (x, y, high), 0.014, sides=6), frame)
        piece.add(boxes([(0, y, high), (0, y, base + 0.1)], [(w + 0.05, 0.035, 0.05)]), frame)
        for x in (-w / 2, w / 2):
            piece.add(pole((x, y, 0), (x, y, high + 0.06), 0.03), frame)


def made(
    piece: Piece, rng: np.random.Generator, palette: Palette, w: float, long: float, base: float, y: float
) -> None:
    """Mattress, sheet, pillows and a blanket that hangs over, made or thrown back."""
    thick = rng.uniform(0.15, 0.3)
    top = base + thick
    linen = palette.fabric()
    piece.add(blob((0, y, base + thick / 2), (w, long, thick), 12), linen)
    count = 1 if w < 1.3 else 2
    cover = linen if rng.random() < 0.3 else palette.fabric()
    for row in range(1 if rng.random() < 0.6 else 2):
        for k in range(count):
            x = (k - (count - 1) / 2) * w / count + rng.normal(0, 0.03)
            size = (min(0.75, w / count * 0.9), rng.uniform(0.4, 0.52), rng.uniform(0.13, 0.22))
            soft = moved(
                pillow((0, 0, 0), size, sag=rng.uniform(0, 0.3)),
                (0, 0, 0),
                rng.normal(0, 0.12),
                rng.uniform(0.1, 0.7 if row else 0.4),
            )
            piece.add(moved(soft, (x, y + long / 2 - 0.28 - 0.22 * row, top + 0.09 + 0.03 * row)), cover)
    if rng.random() < 0.9:
        blanket(piece, rng, palette.fabric(), w, long, top, y, base)


def blanket(
    piece: Piece, rng: np.random.Generator, cloth: Material, w: float, long: float, top: float, y: float, base: float
) -> None:
    """A quilt: a wavy sheet over the mattress that falls at the sides and the foot."""
    noise, rumple = Noise(rng), rng.choice([0.01, 0.03, 0.07])
    hang = rng.uniform(0.08, min(0.42, top - 0.03))
    start = y + long / 2 - rng.uniform(0.45, 1.0)
    foot = y - long / 2 - 0.02
    s = np.concatenate(
        [
            [-hang - w / 2, -hang / 2 - w / 2],
            np.linspace(-w / 2 - 0.02, w / 2 + 0.02, 13),
            [w / 2 + hang / 2, w / 2 + hang],
        ]
    )
    t = np.concatenate([[foot - hang, foot - hang / 2], np.linspace(foot, start, 14)])
    sx, ty = np.meshgrid(s, t, indexing="ij")
    fall = np.clip(np.abs(sx) - w / 2 - 0.02, 0, None) + np.clip(foot - ty, 0, None)
    bulge = noise.at(np.stack([sx.ravel() * 5, ty.ravel() * 5], 1)).reshape(sx.shape)
    x = np.clip(sx, -w / 2 - 0.02, w / 2 + 0.02) + np.sign(sx) * (0.02 + 0.03 * bulge) * (np.abs(sx) > w / 2 + 0.02)
    yy = np.clip(ty, foot, None) - (0.01 + 0.03 * bulge) * (ty < foot)
    z = top + 0.02 + rumple * bulge - np.minimum(fall, hang)
    grid = np.stack([x, yy, z], -1)
    if rng.random() < 0.5:  # thrown back at the pillows
        roll = np.array([[0, 0.0, 0.03], [0, 0.02, 0.07], [0, -0.06, 0.1], [0, -0.3, 0.08]])
        edge = grid[:, -1:, :] + roll[None] * rng.uniform(0.7, 1.3)
        grid = np.concatenate([grid, edge], 1)
    piece.add(sheet(grid, both=True), cloth)
    if rng.random() < 0.3:
        piece.add(
            blob((rng.normal(0, 0.1), foot + 0.25, top + 0.05), (w * rng.uniform(0.5, 1.0), 0.35, 0.1), 5), cloth, 0.8
        )


def bunk(rng: np.random.Generator, palette: Palette, frame: Material) -> Piece:
    """Two beds above each other with a ladder and a rail."""
    w, long, high = 0.92, rng.uniform(1.95, 2.05), rng.uniform(1.15, 1.4)
    piece = Piece("bed", w + 0.12, long + 0.12)
    for x in (-w / 2 - 0.02, w / 2 + 0.02):
        for y in (-long / 2 - 0.02, long / 2 + 0.02):
            piece.add(box((x, y, high / 2 + 0.2), (0.06, 0.06, high + 0.4)), frame)
        for z in (0.3, high, high + 0.3):
            piece.add(box((x, 0, z), (0.025, long, 0.1)), frame)
    for y in (-long / 2 - 0.02, long / 2 + 0.02):
        for z in (0.3, 0.7, high, high + 0.35):
            piece.add(box((0, y, z), (w, 0.025, 0.09)), frame)
    for x in (-0.18, 0.18):
        piece.add(pole((w / 2 + 0.05, -long * 0.3 + x, 0), (w / 2 + 0.05, -long * 0.3 + x, high + 0.3), 0.018), frame)
    for z in np.arange(0.25, high, 0.27):
        piece.add(pole((w / 2 + 0.05, -long * 0.3 - 0.18, z), (w / 2 + 0.05, -long * 0.3 + 0.18, z), 0.014), frame)
    made(piece, rng, palette, w - 0.06, long - 0.04, 0.3, 0.0)
    made(piece, rng, palette, w - 0.06, long - 0.04, high, 0.0)
    return piece
