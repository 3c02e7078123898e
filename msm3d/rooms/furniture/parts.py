"""Parts that many pieces share: legs, slats, fronts with handles, taps."""

import numpy as np

from ..materials import Material
from ..pieces import Piece
from ..shapes import box, boxes, moved, panel, pole, tube


def legs(
    piece: Piece,
    rng: np.random.Generator,
    material: Material,
    w: float,
    d: float,
    height: float,
    thick: float,
    inset: float,
) -> None:
    """Four legs: square, round, tapered or splayed; at times with stretchers."""
    style = rng.integers(4)
    x, y = w / 2 - thick / 2 - inset, d / 2 - thick / 2 - inset
    for sx in (-1, 1):
        for sy in (-1, 1):
            foot, top = np.array([sx * x, sy * y, 0.0]), np.array([sx * x, sy * y, height])
            if style == 0:
                piece.add(box((sx * x, sy * y, height / 2), (thick, thick, height)), material)
            elif style == 1:
                piece.add(pole(foot, top, thick * 0.5), material)
            elif style == 2:
                piece.add(pole(foot, top, thick * 0.3, thick * 0.6), material)
            else:
                piece.add(pole(foot, top * [0.85, 0.85, 1], thick * 0.4, thick * 0.5), material)
    if style < 2 and rng.random() < 0.35:
        z = height * rng.uniform(0.2, 0.5)
        beams = [
            ((0, -y, z), (2 * x, 0.02, 0.025)),
            ((0, y, z), (2 * x, 0.02, 0.025)),
            ((-x, 0, z), (0.02, 2 * y, 0.025)),
            ((x, 0, z), (0.02, 2 * y, 0.025)),
        ]
        piece.add(boxes([b[0] for b in beams], [b[1] for b in beams]), material)


def slats(
    piece: Piece,
    material: Material,
    count: int,
    w: float,
    thick: float,
    y: tuple[float, float],
    z: tuple[float, float],
    fill: float,
    level: bool,
) -> None:
    """Bars between two heights of a back that leans from `y[0]` to `y[1]`: level ones or upright ones."""
    if level:
        at = (np.arange(count) + 0.5) / count
        high = (z[1] - z[0]) / count * fill
        centres = np.stack([0 * at, y[0] + (y[1] - y[0]) * at, z[0] + (z[1] - z[0]) * at], 1)
        piece.add(boxes(centres, [(w, thick, high)]), material)
        return
    for x in (np.arange(count) + 0.5) / count * w - w / 2:
        piece.add(pole((x, y[0], z[0]), (x, y[1], z[1]), min(w / count * fill / 2, 0.03), sides=6), material)


def carcass(
    piece: Piece, material: Material, w: float, z: tuple[float, float], y: tuple[float, float], sunk: float
) -> None:
    """A cupboard's body between two heights and depths; `sunk` metres are open at the top, for a bowl."""
    deep, middle = y[1] - y[0], (y[0] + y[1]) / 2
    top = z[1] - sunk
    piece.add(box((0, middle, (z[0] + top) / 2), (w, deep, top - z[0])), material)
    if sunk:
        at = (top + z[1]) / 2
        centres = [(-w / 2 + 0.01, middle, at), (w / 2 - 0.01, middle, at), (0, y[0] + 0.01, at), (0, y[1] - 0.01, at)]
        piece.add(boxes(centres, [(0.02, deep, sunk), (0.02, deep, sunk), (w, 0.02, sunk), (w, 0.02, sunk)]), material)


def handle(
    piece: Piece,
    rng: np.random.Generator,
    material: Material,
    at: tuple[float, float, float],
    upright: bool,
    style: int,
) -> None:
    """A knob, bar or plate on a front that faces -y."""
    x, y, z = at
    long = rng.uniform(0.08, 0.2) if style else 0.0
    if style == 0:
        piece.add(box((x, y - 0.012, z), (0.025, 0.025, 0.025)), material)
    elif style == 1:
        a = np.array([0, 0, long / 2]) if upright else np.array([long / 2, 0, 0])
        base = np.array([x, y, z])
        out = np.array([0, -0.03, 0])
        piece.add(tube([base - a, base - a + out, base + a + out, base + a], 0.007, sides=6), material)
    else:
        piece.add(box((x, y - 0.008, z), (0.02, 0.016, long) if upright else (long, 0.016, 0.02)), material)


def fronts(
    piece: Piece,
    rng: np.random.Generator,
    material: Material,
    grip: Material,
    x: tuple[float, float],
    z: tuple[float, float],
    y: float,
    *,
    columns: int,
    rows: int,
    drawers: bool,
    style: int,
    glass: Material | None = None,
) -> None:
    """A grid of doors or drawers on a carcass whose front is at `y`, with gaps and handles.

    `style`: 0 to 2 choose the handle; 3 has none. Framed doors where the generator says so.
    """
    framed = rng.random() < 0.4
    w, h = (x[1] - x[0]) / columns, (z[1] - z[0]) / rows
    for i in range(columns):
        for j in range(rows):
            cx, cz = x[0] + (i + 0.5) * w, z[0] + (j + 0.5) * h
            if glass is not None:
                piece.add(
                    panel((cx - w / 2 + 0.05, y - 0.012, cz - h / 2 + 0.05), (w - 0.1, 0, 0), (0, 0, h - 0.1)), glass
                )
                rim(piece, material, cx, cz, w - 0.006, h - 0.006, y - 0.009, 0.05)
            else:
                piece.add(box((cx, y - 0.009, cz), (w - 0.006, 0.018, h - 0.006)), material, rng.random())
                if framed and min(w, h) > 0.16:
                    rim(piece, material, cx, cz, w - 0.006, h - 0.006, y - 0.022, 0.045)
            if style == 3:
                continue
            if drawers:
                handle(piece, rng, grip, (cx, y - 0.018, cz + (0.25 * h if h > 0.3 else 0)), False, style)
            else:
                side = 1 if (i % 2 == 0) == (columns > 1) or columns == 1 else -1
                lift = 0.3 if cz < 1.2 else -0.3
                handle(piece, rng, grip, (cx + side * (w / 2 - 0.04), y - 0.018, cz + lift * h), True, style)


def rim(
    piece: Piece,
    material: Material,
    cx: float,
    cz: float,
    w: float,
    h: float,
    y: float,
    width: float,
    thick: float = 0.012,
) -> None:
    """A flat frame in the xz plane, its outer extent `w` by `h` around (cx, cz)."""
    centres = [
        (cx, y, cz - h / 2 + width / 2),
        (cx, y, cz + h / 2 - width / 2),
        (cx - w / 2 + width / 2, y, cz),
        (cx + w / 2 - width / 2, y, cz),
    ]
    sizes = [(w, thick, width), (w, thick, width), (width, thick, h - 2 * width), (width, thick, h - 2 * width)]
    piece.add(boxes(centres, sizes), material)


def tap(
    piece: Piece, rng: np.random.Generator, material: Material, at: tuple[float, float, float], thing: int = 0
) -> None:
    """A tap whose spout reaches to -y from `at`."""
    high, reach = rng.uniform(0.08, 0.28), rng.uniform(0.1, 0.18)
    path = [(0, 0, 0), (0, 0, high), (0, -reach * 0.5, high + 0.03), (0, -reach, high - 0.02)]
    piece.add(moved(tube(path, 0.012, sides=6), at), material, thing=thing)
    lever = moved(box((0, 0.01, 0.05), (0.09, 0.018, 0.012)), at, rng.normal(0, 0.3))
    piece.add(lever, material, thing=thing)
