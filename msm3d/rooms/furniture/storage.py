"""Cabinets and bookshelves."""

import numpy as np

from ..materials import Palette
from ..pieces import Piece
from ..shapes import box, boxes, moved, panel, pole
from .parts import fronts, legs


def cabinet(rng: np.random.Generator, palette: Palette, use: str = "sideboard") -> Piece:
    """A cabinet for `use`: sideboard, wardrobe, filing, tall or small."""
    if use == "wardrobe":
        w, d, h, lift = rng.uniform(0.8, 2.2), rng.uniform(0.5, 0.65), rng.uniform(1.7, 2.35), rng.choice([0.0, 0.06])
        columns, rows, drawers = max(1, round(w / rng.uniform(0.4, 0.6))), 1, False
    elif use == "filing":
        w, d, h, lift = rng.uniform(0.38, 0.5), rng.uniform(0.45, 0.65), rng.choice([0.6, 0.72, 1.0, 1.32]), 0.0
        columns, rows, drawers = 1, max(2, round(h / 0.33)), True
    elif use == "tall":
        w, d, h, lift = rng.uniform(0.6, 1.1), rng.uniform(0.35, 0.5), rng.uniform(1.4, 2.0), rng.choice([0.0, 0.08])
        columns, rows, drawers = int(rng.integers(1, 3)), int(rng.integers(1, 3)), False
    elif use == "small":
        w, d, h, lift = rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.45), rng.uniform(0.55, 0.95), rng.choice([0.0, 0.1])
        columns, rows, drawers = int(rng.integers(1, 3)), int(rng.integers(1, 4)), rng.random() < 0.5
    else:
        w, d, h, lift = (
            rng.uniform(0.9, 2.0),
            rng.uniform(0.38, 0.52),
            rng.uniform(0.6, 1.1),
            rng.choice([0.0, 0.06, 0.16]),
        )
        columns, rows, drawers = int(rng.integers(2, 5)), int(rng.integers(1, 5)), rng.random() < 0.5
        rows = rows if drawers else min(rows, 2)
    body = palette.body() if use != "filing" or rng.random() < 0.3 else palette.lacquer()
    front = body if rng.random() < 0.65 else palette.body()
    piece = Piece("cabinet", w, d)
    piece.add(box((0, 0.01, (lift + h) / 2), (w, d - 0.02, h - lift)), body)
    if lift:
        legs(piece, rng, body if rng.random() < 0.5 else palette.metal(), w, d, lift, 0.04, 0.03)
    if rng.random() < 0.5:
        piece.add(box((0, 0, h + 0.01), (w + 0.02, d + 0.01, 0.025)), body)
        h += 0.022
    glass = palette.glass() if use in ("tall", "sideboard") and not drawers and rng.random() < 0.3 else None
    fronts(
        piece,
        rng,
        front,
        palette.metal(),
        (-w / 2, w / 2),
        (lift + 0.01, h - 0.02),
        -d / 2 + 0.02,
        columns=columns,
        rows=rows,
        drawers=drawers,
        style=int(rng.integers(4)),
        glass=glass,
    )
    if h < 1.5:
        piece.surface(w - 0.1, d - 0.1, h)
    elif h < 2.1 and rng.random() < 0.4:
        piece.surface(w - 0.1, d - 0.1, h, headroom=0.35)
    return piece


def shoe_rack(rng: np.random.Generator, palette: Palette) -> Piece:
    """A low open rack: other furniture."""
    w, d, h = rng.uniform(0.6, 0.9), 0.3, rng.uniform(0.35, 0.9)
    material = palette.metal() if rng.random() < 0.5 else palette.wood()
    piece = Piece("otherfurniture", w, d)
    for x in (-w / 2, w / 2):
        for y in (-d / 2, d / 2):
            piece.add(pole((x, y, 0), (x, y, h), 0.014), material)
    for z in np.linspace(0.12, h - 0.02, int(rng.integers(2, 4))):
        piece.add(box((0, 0, z), (w, d, 0.018)), material)
        piece.surface(w - 0.1, d - 0.05, z + 0.01, headroom=0.22)
    return piece


def bookshelf(rng: np.random.Generator, palette: Palette) -> Piece:
    """Open shelves, a cube grid, a steel rack or a ladder, with books and things in them."""
    style = rng.choice(4, p=[0.55, 0.2, 0.15, 0.1])
    w, d, h = rng.uniform(0.6, 1.8), rng.uniform(0.24, 0.38), rng.uniform(0.8, 2.3)
    body = palette.body() if style != 2 else palette.metal()
    t = rng.uniform(0.016, 0.032)
    if style == 1:
        edge = rng.uniform(0.33, 0.4)
        columns, rows = int(rng.integers(2, 5)), int(rng.integers(2, 6))
        w, h, d = columns * edge + t, rows * edge + t, rng.uniform(0.32, 0.4)
    else:
        columns, rows = (1 if w < 0.95 or rng.random() < 0.3 else 2), max(2, round(h / rng.uniform(0.28, 0.42)))
    piece = Piece("bookshelf", w, d)
    low = 0.0 if style == 1 else 0.06
    levels = np.linspace(low + t / 2, h - t / 2, rows + 1)
    piece.add(boxes([(0, 0, z) for z in levels], [(w, d, t)]), body)
    if style in (0, 1):
        walls = np.linspace(-w / 2 + t / 2, w / 2 - t / 2, columns + 1)
        piece.add(boxes([(x, 0, h / 2) for x in walls], [(t, d, h)]), body)
        if rng.random() < 0.7:
            piece.add(box((0, d / 2 - 0.005, h / 2), (w, 0.01, h)), body if rng.random() < 0.7 else palette.lacquer())
    else:
        columns = 1
        back = 0.25 * d if style == 3 else 0.0
        for x in (-w / 2, w / 2):
            for y, y_top in ((-d / 2, -d / 2 + back * 2), (d / 2, d / 2)):
                piece.add(pole((x, y, 0), (x, y_top, h), 0.016, sides=6), body)
    stuff(piece, rng, palette, w, d, t, levels, columns)
    piece.surface(w - 0.1, d - 0.08, h, headroom=0.4) if h < 1.9 else None
    return piece


def stuff(
    piece: Piece,
    rng: np.random.Generator,
    palette: Palette,
    w: float,
    d: float,
    t: float,
    levels: np.ndarray,
    columns: int,
) -> None:
    """Fill the bays of a shelf: rows of books, leaning ones, lying stacks; some bays stay open for other things."""
    books = palette.books()
    full = rng.uniform(0.3, 1.0)
    bay = w / columns
    for z0, z1 in zip(levels[:-1] + t / 2, levels[1:] - t / 2, strict=True):
        room = z1 - z0
        for c in range(columns):
            x0 = -w / 2 + c * bay + 0.03
            x1 = x0 + bay - 0.06
            if room < 0.15 or rng.random() > full:
                piece.surface(bay - 0.12, d * 0.6, z0, (x0 + x1) / 2, -0.02, headroom=room - 0.03)
                continue
            end = x0 + (x1 - x0) * rng.uniform(0.35, 1.0)
            thick = rng.uniform(0.015, 0.05, 60)
            edge = x0 + np.cumsum(thick)
            n = int(np.searchsorted(edge, end))
            thick, edge = thick[:n], edge[:n]
            high = np.clip(room * rng.uniform(0.55, 0.95) * (1 + 0.18 * rng.standard_normal(n)), 0.12, room * 0.97)
            high = np.minimum(high, 0.36)
            deep = np.minimum(rng.uniform(0.13, 0.24, n), d - 0.03)
            y = -d / 2 + 0.02 + rng.uniform(0, 0.04, n) + deep / 2
            centres = np.stack([edge - thick / 2, y, z0 + high / 2], 1)
            if n:
                piece.add(boxes(centres, np.stack([thick - 0.001, deep, high], 1), rng.random(n)), books)
            if end < x1 - 0.16 and rng.random() < 0.6:
                k = int(rng.integers(2, 6))
                heights = z0 + 0.015 + 0.03 * np.arange(k)
                piece.add(
                    boxes(
                        [((end + x1) / 2, -0.02, z) for z in heights if z < z1 - 0.03],
                        [(min(0.2, x1 - end - 0.02), min(d - 0.05, 0.26), 0.028)],
                        rng.random(),
                    ),
                    books,
                )
            elif end < x1 - 0.1:
                piece.add(
                    moved(
                        boxes([(0, 0, 0)], [(0.03, 0.18, min(0.24, room * 0.8))], rng.random()),
                        (end + 0.035, -d / 2 + 0.13, z0 + min(0.24, room * 0.8) / 2),
                        0.0,
                    ),
                    books,
                )


def wall_shelf(rng: np.random.Generator, palette: Palette) -> Piece:
    """One or two boards on the wall with books: a bookshelf when it has books."""
    w, d = rng.uniform(0.6, 1.3), rng.uniform(0.18, 0.26)
    piece = Piece("bookshelf", w, d)
    body = palette.body()
    z = rng.uniform(1.2, 1.6)
    levels = np.array([z, z + 0.34]) if rng.random() < 0.5 else np.array([z, z + 0.34, z + 0.68])
    piece.add(boxes([(0, 0, v) for v in levels], [(w, d, 0.025)]), body)
    piece.add(
        boxes(
            [(x, 0, (levels[0] + levels[-1]) / 2) for x in (-w / 2 + 0.01, w / 2 - 0.01)],
            [(0.02, d, levels[-1] - levels[0] + 0.025)],
        ),
        body,
    )
    stuff(piece, rng, palette, w, d, 0.025, levels, 1)
    return piece


def tv_stand(rng: np.random.Generator, palette: Palette) -> Piece:
    """A low board for a television: other furniture, with the screen on it or on the wall above."""
    w, d, h = rng.uniform(0.9, 1.9), rng.uniform(0.35, 0.5), rng.uniform(0.35, 0.6)
    body = palette.body()
    piece = Piece("otherfurniture", w, d)
    piece.add(
        boxes(
            [
                (0, 0, h - 0.015),
                (0, 0, 0.07),
                (-w / 2 + 0.015, 0, h / 2),
                (w / 2 - 0.015, 0, h / 2),
                (0, d / 2 - 0.01, h / 2),
            ],
            [(w, d, 0.03), (w, d, 0.03), (0.03, d, h), (0.03, d, h), (w, 0.015, h)],
        ),
        body,
    )
    if rng.random() < 0.6:
        fronts(
            piece,
            rng,
            body,
            palette.metal(),
            (-w / 2, -w / 6),
            (0.08, h - 0.03),
            -d / 2,
            columns=1,
            rows=2,
            drawers=True,
            style=0,
        )
        fronts(
            piece,
            rng,
            body,
            palette.metal(),
            (w / 6, w / 2),
            (0.08, h - 0.03),
            -d / 2,
            columns=1,
            rows=2,
            drawers=True,
            style=0,
        )
    screen = Piece("television", w, 0.1)
    sw = min(w * 0.95, rng.uniform(0.8, 1.4))
    sh, lift = sw * 0.58, rng.choice([0.06, 0.35], p=[0.7, 0.3])
    case = palette.dark()
    screen.add(box((0, 0.05, sh / 2 + lift), (sw, 0.05, sh)), case)
    screen.add(panel((-sw / 2 + 0.02, 0.024, lift + 0.02), (sw - 0.04, 0, 0), (0, 0, sh - 0.04)), palette.screen())
    if lift < 0.1:
        screen.add(boxes([(0, 0.03, 0.01), (0, 0.06, lift / 2)], [(sw * 0.4, 0.2, 0.02), (0.1, 0.03, lift)]), case)
    piece.attach(screen, (0, d * 0.12 if lift < 0.1 else d / 2 - 0.08, h))
    return piece


def dresser(rng: np.random.Generator, palette: Palette, label: str = "dresser") -> Piece:
    """A chest of drawers or a nightstand: both outside of ScanNet's 20 classes, so `other`."""
    if label == "nightstand":
        w, d, h, rows, columns = (
            rng.uniform(0.38, 0.55),
            rng.uniform(0.35, 0.45),
            rng.uniform(0.42, 0.62),
            int(rng.integers(1, 4)),
            1,
        )
    else:
        w, d, h, rows, columns = (
            rng.uniform(0.8, 1.5),
            rng.uniform(0.4, 0.52),
            rng.uniform(0.7, 1.1),
            int(rng.integers(3, 5)),
            int(rng.integers(1, 3)),
        )
    body = palette.body()
    lift = rng.choice([0.0, 0.08, 0.18])
    piece = Piece(label, w, d)
    piece.add(box((0, 0.01, (lift + h) / 2), (w, d - 0.02, h - lift)), body)
    if lift:
        legs(piece, rng, body, w, d, lift, 0.035, 0.02)
    fronts(
        piece,
        rng,
        body if rng.random() < 0.6 else palette.body(),
        palette.metal(),
        (-w / 2, w / 2),
        (lift + 0.01, h - 0.02),
        -d / 2 + 0.02,
        columns=columns,
        rows=rows,
        drawers=True,
        style=int(rng.integers(4)),
    )
    piece.surface(w - 0.1, d - 0.1, h)
    return piece
