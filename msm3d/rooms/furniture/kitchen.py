"""Kitchen rows: cabinets under a counter with a sink and a stove, cabinets on the wall, refrigerators, islands."""

import numpy as np

from ..materials import Material, Palette
from ..pieces import Piece
from ..shapes import box, boxes, disc, lathe, moved, panel, prism
from .bath import basin, counter_top
from .parts import carcass, fronts, tap


def kitchen_row(
    rng: np.random.Generator, palette: Palette, w: float, *, with_sink: bool, with_stove: bool, upper: bool
) -> Piece:
    """A row of base cabinets `w` metres long under a counter, perhaps with wall cabinets and a hood."""
    d, z = rng.uniform(0.58, 0.65), rng.uniform(0.86, 0.94)
    body = palette.body()
    front = body if rng.random() < 0.6 else palette.body()
    top, grip = palette.stone() if rng.random() < 0.65 else palette.wood(), palette.metal()
    style = int(rng.integers(4))
    piece = Piece("counter", w, d)
    spans, stove_x = [(-w / 2, w / 2)], None
    if with_stove and w > 1.5:
        stove_x = abs(rng.uniform(-0.2, 0.2)) * w if w > 2.2 else w / 2 - 0.35
        spans = [(a, b) for a, b in ((-w / 2, stove_x - 0.3), (stove_x + 0.3, w / 2)) if b - a > 0.12]
        piece.attach(stove(rng, palette, d, z), (stove_x, 0, 0))
    splash = rng.random()
    for k, (a, b) in enumerate(spans):
        middle, long = (a + b) / 2, b - a
        counter = piece.name("counter") if k else 0
        hole, bowls = None, 2 if long > 1.3 and rng.random() < 0.35 else 1
        sink_w = 0.74 if bowls == 2 else rng.uniform(0.42, 0.6)
        if with_sink and k == 0 and long > sink_w + 0.12:
            x = rng.uniform(sink_w / 2 + 0.05 - long / 2, long / 2 - sink_w / 2 - 0.05)
            hole = (x, -0.03, sink_w - 0.02, 0.4)
            piece.attach(kitchen_sink(rng, palette, sink_w, 0.42, bowls), (middle + x, -0.03, z + 0.002))
        under = cupboards(rng, palette, body, front, grip, style, long, d, z, hole is not None)
        piece.attach(under, (middle, 0, 0))
        for cells in counter_top(long, d, z, 0.04, [hole] if hole else []):
            piece.add(moved(cells, (middle, 0, 0)), top, thing=counter)
        if splash < 0.45:
            piece.add(box((middle, d / 2 - 0.008, z + 0.05), (long, 0.016, 0.1)), top, thing=counter)
        edges = [a, b] if hole is None else [a, middle + hole[0] - sink_w / 2, middle + hole[0] + sink_w / 2, b]
        for low, high in zip(edges[::2], edges[1::2], strict=True):
            if high - low > 0.2:
                piece.surface(high - low - 0.1, d - 0.2, z, (low + high) / 2, 0.0, headroom=0.4)
    if 0.45 < splash < 0.85:
        piece.add(box((0, d / 2 - 0.008, z + 0.28), (w, 0.016, 0.56)), palette.tiling(), thing=piece.name("wall"))
    if upper:
        wall_cabinets(piece, rng, palette, body, front, grip, style, w, d, stove_x)
    return piece


def cupboards(
    rng: np.random.Generator,
    palette: Palette,
    body: Material,
    front: Material,
    grip: Material,
    style: int,
    w: float,
    d: float,
    z: float,
    sunk: bool,
) -> Piece:
    """Base cabinets under a counter whose upper side is at `z`: a plinth, drawers, doors; `sunk` for a sink."""
    piece = Piece("cabinet", w, d)
    piece.add(box((0, 0.03, 0.05), (w, d - 0.08, 0.1)), palette.dark() if rng.random() < 0.4 else body)
    carcass(piece, body, w, (0.1, z - 0.04), (0.04 - d / 2, d / 2 - 0.01), 0.22 if sunk else 0.0)
    columns, split, y, x = max(1, round(w / rng.uniform(0.4, 0.6))), z - rng.uniform(0.18, 0.24), -d / 2 + 0.04, w / 2
    rows, drawers = 1 if rng.random() < 0.7 else 3, rng.random() < 0.3
    fronts(piece, rng, front, grip, (-x, x), (split, z - 0.045), y, columns=columns, rows=1, drawers=True, style=style)
    fronts(piece, rng, front, grip, (-x, x), (0.1, split), y, columns=columns, rows=rows, drawers=drawers, style=style)
    return piece


def kitchen_sink(rng: np.random.Generator, palette: Palette, w: float, d: float, bowls: int) -> Piece:
    """One or two bowls with a tap; the rim is at z = 0."""
    tub, metal = palette.metal() if rng.random() < 0.65 else palette.ceramic(), palette.metal()
    piece = Piece("sink", w, d)
    each = w / bowls
    for k in range(bowls):
        bowl = basin(rng, tub, each, d, rng.uniform(0.15, 0.2), square=True, metal=metal)
        for part in bowl.parts:
            piece.add(moved(part.cells, ((k - (bowls - 1) / 2) * each, 0, 0)), part.material)
    tap(piece, rng, metal, (0, d / 2 + 0.02, 0.0))
    return piece


def wall_cabinets(
    piece: Piece,
    rng: np.random.Generator,
    palette: Palette,
    body: Material,
    front: Material,
    grip: Material,
    style: int,
    w: float,
    d: float,
    hood: float | None,
) -> None:
    """Cabinets above the counter, with a gap and a hood over the stove."""
    deep, z0 = rng.uniform(0.3, 0.37), rng.uniform(1.38, 1.5)
    z1 = z0 + rng.uniform(0.55, 0.85)
    spans = [(-w / 2, w / 2)] if hood is None else [(-w / 2, hood - 0.31), (hood + 0.31, w / 2)]
    if rng.random() < 0.3:
        spans = spans[:1]
    y = d / 2 - deep / 2
    glass = palette.glass() if rng.random() < 0.2 else None
    for a, b in spans:
        if b - a < 0.3:
            continue
        upper = Piece("cabinet", b - a, deep)
        upper.add(box((0, 0.01, (z0 + z1) / 2), (b - a, deep - 0.02, z1 - z0)), body)
        fronts(
            upper,
            rng,
            front,
            grip,
            (-(b - a) / 2, (b - a) / 2),
            (z0, z1),
            -deep / 2 + 0.02,
            columns=max(1, round((b - a) / 0.45)),
            rows=1,
            drawers=False,
            style=style,
            glass=glass,
        )
        piece.attach(upper, ((a + b) / 2, y, 0))
    if hood is not None and rng.random() < 0.8:
        metal = palette.metal()
        cowl = Piece("hood", 0.6, 0.5)
        if rng.random() < 0.5:
            cowl.add(boxes([(0, 0.0, z0 + 0.1), (0, 0.1, z0 + 0.5)], [(0.6, 0.48, 0.08), (0.26, 0.26, 0.8)]), metal)
        else:
            cowl.add(box((0, 0, z0 + 0.08), (0.6, 0.45, 0.16)), metal)
        piece.attach(cowl, (hood, d / 2 - 0.25, 0.05))


def stove(rng: np.random.Generator, palette: Palette, d: float, z: float) -> Piece:
    """An oven with a hob: outside of the 20 classes."""
    piece = Piece("stove", 0.6, d)
    case = palette.metal() if rng.random() < 0.5 else palette.ceramic() if rng.random() < 0.5 else palette.dark()
    dark = palette.dark()
    piece.add(box((0, 0.01, z / 2), (0.598, d - 0.02, z)), case)
    piece.add(panel((-0.24, -d / 2 - 0.002, 0.25), (0.48, 0, 0), (0, 0, 0.32)), dark)
    piece.add(box((0, -d / 2 - 0.03, z - 0.2), (0.46, 0.025, 0.025)), palette.metal())
    for x in np.linspace(-0.22, 0.22, 5):
        piece.add(box((x, -d / 2 - 0.01, z - 0.09), (0.04, 0.03, 0.04)), dark)
    piece.add(box((0, 0, z + 0.004), (0.56, d - 0.08, 0.008)), dark)
    for x in (-0.14, 0.14):
        for y in (-0.13, 0.13):
            piece.add(disc((x, y, z + 0.014), 0.08), palette.metal())
    if rng.random() < 0.5:
        pot = Piece("pot", 0.24, 0.24)
        r, h = rng.uniform(0.09, 0.13), rng.uniform(0.06, 0.18)
        pot.add(lathe([(r * 0.9, 0), (r, 0.02), (r, h), (r - 0.006, h), (r - 0.006, 0.01), (0, 0.01)]), palette.metal())
        pot.add(box((0, -r - 0.07, h - 0.02), (0.02, 0.16, 0.012)), dark)
        piece.attach(pot, (rng.choice([-0.14, 0.14]), rng.choice([-0.13, 0.13]), z + 0.016), rng.uniform(0, 6))
    return piece


def island(rng: np.random.Generator, palette: Palette) -> Piece:
    """A counter that stands free on cabinets, or a bar on panels."""
    w, d, z = rng.uniform(1.1, 2.2), rng.uniform(0.6, 0.95), rng.uniform(0.88, 1.05)
    piece = Piece("counter", w, d)
    over = rng.uniform(0.0, 0.25)
    piece.add(
        box((0, 0, z - 0.02), (w, d, rng.uniform(0.03, 0.06))),
        palette.stone() if rng.random() < 0.6 else palette.wood(),
    )
    under = Piece("cabinet", w, d)
    body = palette.body()
    deep = d - over - 0.06
    under.add(box((0, over / 2, (z - 0.05) / 2), (w - 0.06, deep, z - 0.05)), body)
    back = Piece("cabinet", w, d)
    fronts(
        back,
        rng,
        body,
        palette.metal(),
        (-w / 2 + 0.03, w / 2 - 0.03),
        (0.08, z - 0.06),
        -deep / 2,
        columns=max(2, round(w / 0.5)),
        rows=1,
        drawers=False,
        style=int(rng.integers(4)),
    )
    for part in back.parts:
        under.add(moved(part.cells, (0, over / 2, 0), np.pi), part.material)
    piece.attach(under)
    piece.surface(w - 0.2, d - 0.2, z)
    return piece


def refrigerator(rng: np.random.Generator, palette: Palette) -> Piece:
    """One door, freezer above or below, two wings, or small; handles, hinges, at times notes on the door."""
    style = rng.choice(4, p=[0.4, 0.25, 0.2, 0.15])
    w, d, h = rng.uniform(0.54, 0.72), rng.uniform(0.58, 0.72), rng.uniform(1.45, 1.9)
    if style == 2:
        w, h = rng.uniform(0.8, 0.95), rng.uniform(1.7, 1.85)
    if style == 3:
        w, d, h = rng.uniform(0.45, 0.56), rng.uniform(0.48, 0.56), rng.uniform(0.6, 0.9)
    draw = rng.random()
    case = palette.ceramic() if draw < 0.45 else palette.metal() if draw < 0.75 else palette.lacquer()
    grip = palette.metal() if rng.random() < 0.6 else case
    piece = Piece("refrigerator", w, d)
    piece.add(box((0, 0.03, h / 2), (w, d - 0.06, h - 0.02)), case)
    split = h * (rng.uniform(0.62, 0.72) if rng.random() < 0.6 else rng.uniform(0.3, 0.4))
    doors = [(-w / 2, w / 2, 0.03, split - 0.004), (-w / 2, w / 2, split + 0.004, h)]
    if style == 2:
        doors = (
            [(-w / 2, -0.004, 0.03, h), (0.004, w / 2, 0.03, h)]
            if rng.random() < 0.5
            else [(-w / 2, -0.004, h * 0.4, h), (0.004, w / 2, h * 0.4, h), (-w / 2, w / 2, 0.03, h * 0.4 - 0.008)]
        )
    elif style == 3 or rng.random() < 0.2:
        doors = [(-w / 2, w / 2, 0.03, h)]
    side = rng.choice([-1, 1])
    for a, b, z0, z1 in doors:
        edge = 0.015
        outline = [
            (a + edge, -d / 2),
            (b - edge, -d / 2),
            (b, -d / 2 + edge),
            (b, -d / 2 + 0.05),
            (a, -d / 2 + 0.05),
            (a, -d / 2 + edge),
        ]
        piece.add(prism(outline, z0, z1), case)
        x = (b - 0.05 if side > 0 else a + 0.05) if b - a > w * 0.6 else (b - 0.05 if a < -0.1 else a + 0.05)
        mid, long = (z0 + z1) / 2, min(0.6, (z1 - z0) * 0.5)
        piece.add(
            boxes(
                [(x, -d / 2 - 0.04, mid), (x, -d / 2 - 0.015, mid - long / 2), (x, -d / 2 - 0.015, mid + long / 2)],
                [(0.025, 0.02, long), (0.025, 0.05, 0.03), (0.025, 0.05, 0.03)],
            ),
            grip,
        )
    if rng.random() < 0.35:
        for _ in range(rng.integers(1, 7)):
            note = piece.name("note")
            x, z = rng.uniform(-w / 2 + 0.1, w / 2 - 0.1), rng.uniform(h * 0.5, h - 0.15)
            piece.add(
                panel(
                    (x - 0.04, -d / 2 - 0.004, z - 0.05),
                    (rng.uniform(0.06, 0.14), 0, 0),
                    (0, 0, rng.uniform(0.06, 0.2)),
                ),
                palette.paper() if rng.random() < 0.5 else palette.picture(),
                thing=note,
            )
    if h > 1.3 or rng.random() < 0.5:
        piece.surface(w - 0.15, d - 0.2, h - 0.01, headroom=0.3)
    return piece
