"""Tables and desks."""

import numpy as np

from ..materials import Material, Palette
from ..pieces import Piece
from ..shapes import blob, box, boxes, lathe, pole, prism, slab
from .parts import fronts, legs


def table(rng: np.random.Generator, palette: Palette, use: str = "dining", seats: int | None = None) -> Piece:
    """A table for `use`: dining, coffee, side or meeting; `seats` sets the length of the last."""
    if use == "coffee":
        w, d, h = rng.uniform(0.7, 1.3), rng.uniform(0.45, 0.75), rng.uniform(0.32, 0.5)
    elif use == "side":
        w = d = rng.uniform(0.35, 0.6)
        h = rng.uniform(0.4, 0.65)
    elif use == "meeting":
        w, d, h = max(1.4, 0.75 * ((seats or 6) - 2) / 2 + 0.5), rng.uniform(0.9, 1.4), rng.uniform(0.7, 0.76)
    else:
        w, d, h = rng.uniform(0.9, 2.0), rng.uniform(0.7, 1.0), rng.uniform(0.7, 0.78)
    round_top = rng.random() < {"dining": 0.25, "coffee": 0.3, "side": 0.4, "meeting": 0.35}[use]
    if round_top and use != "meeting":
        w = d = (w + d) / 2 if use != "dining" else rng.uniform(0.8, 1.25)
    draw = rng.random()
    top = (
        palette.wood()
        if draw < 0.55
        else palette.lacquer()
        if draw < 0.75
        else palette.stone()
        if draw < 0.94
        else palette.glass()
    )
    frame = palette.wood() if rng.random() < 0.5 else palette.metal() if rng.random() < 0.7 else palette.lacquer()
    thick = rng.uniform(0.018, 0.05)
    piece = Piece("table", w, d)
    if round_top:
        power = rng.choice([2.0, 2.0, 3.0]) if use != "meeting" else rng.choice([2.4, 4.0])
        piece.add(slab((0, 0, h - thick / 2), w / 2, d / 2, thick, power=power), top)
        piece.surface(w * 0.66, d * 0.66, h)
    else:
        piece.add(box((0, 0, h - thick / 2), (w, d, thick)), top)
        piece.surface(w - 0.08, d - 0.08, h)
    under(piece, rng, frame, w, d, h - thick, round_top, use)
    if use in ("coffee", "side") and not round_top and rng.random() < 0.35:
        z = h * rng.uniform(0.25, 0.4)
        piece.add(box((0, 0, z), (w - 0.08, d - 0.08, 0.02)), frame)
        piece.surface(w - 0.2, d - 0.2, z + 0.01, headroom=h - z - 0.08)
    return piece


def under(
    piece: Piece, rng: np.random.Generator, frame: Material, w: float, d: float, h: float, round_top: bool, use: str
) -> None:
    """What carries a table top of `w` by `d` whose underside is at `h`."""
    style = rng.integers(5) if use != "meeting" else rng.integers(1, 5)
    if round_top and rng.random() < 0.5:
        style = 1
    if style in (0, 4) and not (round_top and w > 1.3):
        inset = 0.12 * min(w, d) if round_top else rng.choice([0.0, 0.04])
        legs(piece, rng, frame, w, d, h, rng.uniform(0.03, 0.08), inset)
        if rng.random() < 0.6 and not round_top:
            ends = [
                ((0, -d / 2 + 0.06, h - 0.04), (w - 0.14, 0.02, 0.08)),
                ((0, d / 2 - 0.06, h - 0.04), (w - 0.14, 0.02, 0.08)),
                ((-w / 2 + 0.06, 0, h - 0.04), (0.02, d - 0.14, 0.08)),
                ((w / 2 - 0.06, 0, h - 0.04), (0.02, d - 0.14, 0.08)),
            ]
            piece.add(boxes([e[0] for e in ends], [e[1] for e in ends]), frame)
    elif style == 1:
        places = (0.0,) if w < 1.5 else (-w * 0.28, w * 0.28)
        for x in places:
            r, foot = rng.uniform(0.03, 0.07), min(w, d) * 0.32
            if rng.random() < 0.5:
                piece.add(
                    lathe([(foot, 0), (foot, 0.02), (r * 1.4, 0.06), (r, 0.2), (r, h - 0.1), (r * 2.5, h)], (x, 0, 0)),
                    frame,
                )
            else:
                piece.add(pole((x, 0, 0.08), (x, 0, h), r), frame)
                for a in np.arange(4) * np.pi / 2 + np.pi / 4:
                    piece.add(pole((x, 0, 0.16), (x + foot * np.cos(a), foot * np.sin(a), 0.02), 0.03, 0.02), frame)
    elif style == 2:  # a board or frame at each end, joined by a beam
        for x in (-w * 0.38, w * 0.38):
            piece.add(box((x, 0, h / 2), (rng.uniform(0.03, 0.08), d * 0.7, h)), frame)
        piece.add(box((0, 0, h * rng.uniform(0.3, 0.9)), (w * 0.76, 0.03, 0.1)), frame)
    else:  # trestles
        for x in (-w * 0.36, w * 0.36):
            for y in (-1, 1):
                piece.add(pole((x - 0.04, y * d * 0.42, 0), (x, y * d * 0.1, h), 0.022), frame)
            piece.add(box((x, 0, h - 0.02), (0.06, d * 0.8, 0.04)), frame)
            piece.add(box((x, 0, h * 0.4), (0.03, d * 0.5, 0.03)), frame)


def desk(rng: np.random.Generator, palette: Palette, use: str = "office") -> Piece:
    """A desk: panel ends, a steel frame, or pedestals with drawers; at times L-shaped or with a hutch."""
    w, d, h = rng.uniform(0.95, 1.8), rng.uniform(0.55, 0.85), rng.uniform(0.7, 0.78)
    if rng.random() < 0.08:
        h = rng.uniform(0.95, 1.15)
    top = palette.body()
    body = top if rng.random() < 0.5 else palette.body()
    thick = rng.uniform(0.02, 0.04)
    piece = Piece("desk", w, d)
    piece.add(box((0, 0, h - thick / 2), (w, d, thick)), top)
    piece.surface(w - 0.1, d - 0.1, h)
    style = int(rng.integers(4))
    pedestals = desk_frame(piece, rng, palette, body, h - thick, style)
    drawers(piece, rng, palette, body, h - thick, style, pedestals)
    if style in (0, 3) and rng.random() < 0.25:
        hutch(piece, rng, body, w, d, h)
    return piece


def desk_frame(
    desk: Piece, rng: np.random.Generator, palette: Palette, body: Material, h: float, style: int
) -> list[float]:
    """What carries a desk whose top's underside is at `h`; returns the x of the pedestals that hold drawers."""
    w, d = desk.width, desk.depth
    pedestals: list[float] = []
    if style == 0:  # panel ends and a modesty panel
        for x in (-w / 2 + 0.015, w / 2 - 0.015):
            desk.add(box((x, 0, h / 2), (0.03, d - 0.04, h)), body)
        desk.add(box((0, d / 2 - 0.06, h * 0.68), (w - 0.06, 0.02, h * 0.6)), body)
        if rng.random() < 0.6:
            pedestals = [rng.choice([-1, 1]) * (w / 2 - 0.24)]
    elif style == 1:  # steel frame with T feet
        metal = palette.metal()
        for x in (-w / 2 + 0.12, w / 2 - 0.12):
            desk.add(
                boxes(
                    [(x, 0, 0.02), (x, 0.05, h / 2), (x, 0, h - 0.02)],
                    [(0.06, d * 0.9, 0.04), (0.07, 0.09, h), (0.05, d * 0.8, 0.03)],
                ),
                metal,
            )
        desk.add(box((0, 0.05, h - 0.08), (w - 0.24, 0.04, 0.06)), metal)
        if rng.random() < 0.4:
            pedestals = [rng.choice([-1, 1]) * (w / 2 - 0.4)]
    elif style == 2:  # a pedestal at each end
        pedestals = [-w / 2 + 0.21, w / 2 - 0.21]
        desk.add(box((0, d / 2 - 0.05, h * 0.7), (w - 0.1, 0.02, h * 0.5)), body)
    else:
        legs(desk, rng, palette.metal() if rng.random() < 0.5 else body, w, d, h, rng.uniform(0.03, 0.06), 0.0)
        if rng.random() < 0.6:
            desk.add(box((0, -0.02, h - 0.05), (w * rng.uniform(0.4, 0.9), d * 0.8, 0.1)), body)
            handle_y = -d * 0.42 - 0.01
            desk.add(box((0, handle_y, h - 0.05), (0.12, 0.02, 0.015)), palette.metal())
    return pedestals


def drawers(
    desk: Piece, rng: np.random.Generator, palette: Palette, body: Material, h: float, style: int, places: list[float]
) -> None:
    """Pedestals of drawers at x of `places` below a top whose underside is at `h`."""
    d = desk.depth
    grip, grip_style, rows = palette.metal(), int(rng.integers(4)), int(rng.integers(2, 5))
    for x in places:
        low, deep = (0.06, d - 0.1) if style != 2 else (0.0, d - 0.04)
        high = h - (0.0 if style == 2 else 0.06)
        desk.add(box((x, 0, (low + high) / 2), (0.38, deep, high - low)), body)
        fronts(
            desk,
            rng,
            body,
            grip,
            (x - 0.19, x + 0.19),
            (low + 0.01, high - 0.01),
            -deep / 2,
            columns=1,
            rows=rows,
            drawers=True,
            style=grip_style,
        )


def hutch(piece: Piece, rng: np.random.Generator, material: Material, w: float, d: float, h: float) -> None:
    """Shelves that stand on the back of a desk."""
    high, deep = rng.uniform(0.35, 0.8), rng.uniform(0.2, 0.28)
    y = d / 2 - deep / 2
    for x in (-w / 2 + 0.01, 0.0, w / 2 - 0.01):
        piece.add(box((x, y, h + high / 2), (0.02, deep, high)), material)
    for z in (h + high * 0.55, h + high):
        piece.add(box((0, y, z), (w, deep, 0.02)), material)
        piece.surface(w - 0.15, deep - 0.06, z + 0.01, 0.0, y, headroom=0.25)
    piece.add(box((0, d / 2 - 0.006, h + high / 2), (w, 0.012, high)), material)
    piece.tops[0] = piece.tops[0]._replace(depth=d - deep - 0.08, y=-deep / 2)


def monitor(rng: np.random.Generator, palette: Palette) -> Piece:
    """A flat screen on a foot, or the older deep kind."""
    w, h = rng.uniform(0.4, 0.75), rng.uniform(0.26, 0.42)
    case, face = palette.dark() if rng.random() < 0.7 else palette.plastic(), palette.screen()
    piece = Piece("monitor", w, 0.2)
    lift = rng.uniform(0.08, 0.16)
    piece.add(box((0, 0.02, lift + h / 2), (w, 0.03, h)), case)
    piece.add(box((0, 0.003, lift + h / 2 + 0.004), (w - 0.03, 0.004, h - 0.035)), face, rng.random())
    piece.add(prism([(-0.12, -0.09), (0.12, -0.09), (0.12, 0.08), (-0.12, 0.08)], 0, 0.015), case)
    piece.add(box((0, 0.05, lift * 0.6 + 0.04), (0.05, 0.02, lift + 0.1)), case)
    if rng.random() < 0.1:
        piece.add(blob((0, 0.16, lift + h / 2), (w * 0.8, 0.3, h * 0.8), 5), case)
        piece.depth = 0.5
    return piece
