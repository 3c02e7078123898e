"""Toilets, sinks, bathtubs and shower curtains."""

import numpy as np

from ..materials import Material, Palette
from ..pieces import Piece
from ..shapes import blob, box, boxes, disc, join, lathe, loft, moved, pole, ring, sheet, tube
from .parts import carcass, fronts, tap


def toilet(rng: np.random.Generator, palette: Palette) -> Piece:
    """Bowl, seat, lid up or down, and a tank; or hung on the wall with a flush plate."""
    white = palette.ceramic()
    seat_color = white if rng.random() < 0.6 else palette.plastic() if rng.random() < 0.5 else palette.wood()
    w, long, rim_z = rng.uniform(0.35, 0.4), rng.uniform(0.42, 0.5), rng.uniform(0.38, 0.44)
    hung = rng.random() < 0.25
    tank = 0.0 if hung else rng.uniform(0.17, 0.22)
    d = long + tank + 0.04
    piece = Piece("toilet", max(w, 0.38) + 0.02, d)
    y = -d / 2 + long / 2 + 0.01  # middle of the bowl
    egg = rng.uniform(2.0, 2.6)

    def oval(scale: float, z: float, back: float = 0.0) -> np.ndarray:
        return ring(w / 2 * scale, long / 2 * scale, z, sides=20, power=egg, centre=(0, y + back))

    if hung:
        outside = [oval(0.35, 0.08, 0.12), oval(0.7, 0.14, 0.06), oval(0.92, 0.26, 0.01), oval(1.0, rim_z)]
    else:
        slim = rng.uniform(0.5, 0.9)
        outside = [
            oval(slim, 0.0, 0.06),
            oval(slim * 0.95, 0.1, 0.06),
            oval(0.75, 0.24, 0.03),
            oval(0.97, rim_z - 0.06),
            oval(1.0, rim_z),
        ]
    inside = [
        oval(0.78, rim_z),
        oval(0.72, rim_z - 0.08),
        oval(0.5, rim_z - 0.18, 0.03),
        oval(0.2, rim_z - 0.22, 0.04),
        oval(0.0, rim_z - 0.22, 0.04),
    ]
    piece.add(loft(np.stack(outside + inside), smooth=False), white)
    water = disc((0, y + 0.04, rim_z - 0.19), w * 0.18)
    piece.add(water, Material(palette.ramp(np.array([0.55, 0.62, 0.66])), shine=0.6))
    z = rim_z + 0.012
    rim = [oval(1.02, z - 0.012), oval(1.02, z + 0.012), oval(0.68, z + 0.012), oval(0.66, z - 0.012)]
    piece.add(loft(np.stack(rim), smooth=False), seat_color)
    lid = join(
        [
            loft(np.stack([oval(1.02, 0), oval(1.02, 0.02), oval(0.0, 0.028)]), smooth=False),
            disc((0, y, 0), w / 2, long / 2, sides=20, power=egg, down=True),
        ]
    )
    hinge = y + long / 2 * 0.98
    if rng.random() < 0.5:
        lid = moved(lid, (0, 0, z + 0.012))
    else:
        lid = moved(moved(lid, (0, -hinge, 0)), (0, hinge, z + 0.02), 0, -np.pi / 2 + rng.uniform(-0.2, -0.02))
    piece.add(lid, seat_color)
    if tank:
        cistern(piece, rng, palette, white, (w, tank, rim_z))
    else:
        support(piece, rng, palette, white)
    return piece


def support(toilet: Piece, rng: np.random.Generator, palette: Palette, white: Material) -> None:
    """The part of the wall that carries a bowl and holds its cistern, with a flush plate."""
    wall = toilet.name("wall")
    front = white if rng.random() < 0.4 else palette.tiling()
    toilet.add(box((0, toilet.depth / 2 - 0.03, 0.55), (0.42, 0.05, 1.1)), front, thing=wall)
    toilet.add(box((0, toilet.depth / 2 - 0.06, 0.9), (0.24, 0.015, 0.16)), palette.metal(), thing=wall)


def cistern(
    toilet: Piece, rng: np.random.Generator, palette: Palette, white: Material, size: tuple[float, float, float]
) -> None:
    """The tank behind a bowl, button and foot; `size`: width of the bowl, depth of the tank, height of the rim."""
    w, tank, rim_z = size
    high = rng.uniform(0.3, 0.4)
    tw, back = rng.uniform(0.36, 0.46), toilet.depth / 2 - tank / 2
    toilet.add(blob((0, back, rim_z + 0.02 + high / 2), (tw, tank, high), 9), white)
    toilet.add(box((0, back, rim_z + high + 0.03), (tw + 0.02, tank + 0.015, 0.03)), white)
    toilet.add(lathe([(0.03, 0), (0.03, 0.012), (0, 0.012)], (0, back, rim_z + high + 0.045)), palette.metal())
    toilet.add(box((0, back - 0.02, rim_z * 0.55), (w * 0.55, tank + 0.04, rim_z * 1.1)), white)
    toilet.width = max(toilet.width, tw + 0.02)


def basin(
    rng: np.random.Generator, white: Material, w: float, d: float, deep: float, *, square: bool, metal: Material
) -> Piece:
    """A hollow bowl whose rim is at z = 0, with a drain."""
    piece = Piece("sink", w, d)
    power = rng.uniform(5, 12) if square else rng.uniform(2.0, 2.8)

    def oval(scale: float, z: float) -> np.ndarray:
        return ring(w / 2 * scale, d / 2 * scale, z, sides=24, power=power)

    profile = [
        oval(0.4, -deep - 0.02),
        oval(0.75, -deep),
        oval(0.95, -deep * 0.4),
        oval(1.0, -0.005),
        oval(1.0, 0.012),
        oval(0.9, 0.012),
        oval(0.86, -deep * 0.3),
        oval(0.75, -deep * 0.85),
        oval(0.4, -deep * 0.98),
        oval(0.0, -deep),
    ]
    piece.add(loft(np.stack(profile), smooth=False), white)
    piece.add(disc((0, 0, -deep + 0.006), 0.022), metal)
    return piece


def sink(rng: np.random.Generator, palette: Palette) -> Piece:
    """A wash basin on a pedestal, on the wall, or in a vanity with doors."""
    white, metal = palette.ceramic(), palette.metal()
    w, d, z = rng.uniform(0.42, 0.65), rng.uniform(0.36, 0.5), rng.uniform(0.78, 0.9)
    style = rng.choice(3, p=[0.3, 0.25, 0.45])
    if style == 2:
        return vanity(rng, palette, white, metal)
    piece = Piece("sink", w, d)
    bowl = basin(rng, white, w, d - 0.06, rng.uniform(0.11, 0.17), square=rng.random() < 0.4, metal=metal)
    for part in bowl.parts:
        piece.add(moved(part.cells, (0, -0.03, z)), part.material)
    piece.add(box((0, d / 2 - 0.045, z - 0.04), (w * 0.9, 0.09, 0.11)), white)
    if style == 0:
        piece.add(lathe([(0.13, 0), (0.11, 0.04), (0.075, 0.2), (0.08, z - 0.2), (0.13, z - 0.1)], (0, 0.02, 0)), white)
    else:
        piece.add(tube([(0, 0, z - 0.16), (0, 0, z - 0.33), (0, 0.1, z - 0.3), (0, d / 2, z - 0.3)], 0.018), metal)
        piece.add(box((0, d / 2 - 0.02, z - 0.1), (w * 0.5, 0.04, 0.12)), white)
    tap(piece, rng, metal, (0, d / 2 - 0.05, z + 0.01))
    return piece


def vanity(rng: np.random.Generator, palette: Palette, white: Material, metal: Material) -> Piece:
    """A cabinet with doors, a top, and a basin or two let into it or standing on it."""
    two = rng.random() < 0.15
    w = rng.uniform(1.2, 1.6) if two else rng.uniform(0.55, 1.15)
    d, z = rng.uniform(0.45, 0.56), rng.uniform(0.78, 0.88)
    piece = Piece("counter", w, d)
    top = palette.stone() if rng.random() < 0.7 else palette.wood()
    body = palette.body()
    low = rng.choice([0.0, 0.25])
    cupboard = piece.name("cabinet")
    holder = Piece("cabinet", w, d)
    standing = rng.random() < 0.3
    carcass(holder, body, w - 0.01, (low, z - 0.04), (0.025 - d / 2, d / 2 - 0.005), 0.0 if standing else 0.16)
    fronts(
        holder,
        rng,
        body,
        metal,
        (-w / 2, w / 2),
        (low + 0.01, z - 0.05),
        -d / 2 + 0.015,
        columns=2 if w < 1.2 else 4,
        rows=1,
        drawers=False,
        style=int(rng.integers(4)),
    )
    for part in holder.parts:
        piece.add(part.cells, part.material, thing=cupboard)
    bw, bd = rng.uniform(0.36, 0.48), d - 0.18
    places = (-w / 4, w / 4) if two else (0.0,)
    holes = [(x, -0.03, bw * 0.94, bd * 0.94) for x in places]
    for cells in counter_top(w, d, z, 0.04, [] if standing else holes):
        piece.add(cells, top)
    for x in places:
        bowl = basin(
            rng,
            white,
            bw,
            bd,
            0.11 if standing else 0.13,
            square=True if not standing else rng.random() < 0.4,
            metal=metal,
        )
        tap(bowl, rng, metal, (0, bd / 2 + 0.035, -0.11 if standing else 0.0))
        piece.attach(bowl, (x, -0.03, z + (0.13 if standing else 0.003)))
    if rng.random() < 0.5:
        piece.add(box((0, d / 2 - 0.01, z + 0.05), (w, 0.02, 0.1)), top)
    return piece


def counter_top(w: float, d: float, z: float, thick: float, holes: list[tuple[float, float, float, float]]) -> list:
    """Boxes of a work top whose upper side is at `z`, around rectangular holes (x, y, width, depth) in a row."""
    cuts = [-w / 2]
    spans = []
    for x, y, hw, hd in sorted(holes):
        cuts += [x - hw / 2, x + hw / 2]
        front, back = y - hd / 2, y + hd / 2
        spans.append(box((x, (-d / 2 + front) / 2, z - thick / 2), (hw, front + d / 2, thick)))
        spans.append(box((x, (back + d / 2) / 2, z - thick / 2), (hw, d / 2 - back, thick)))
    cuts.append(w / 2)
    for a, b in zip(cuts[::2], cuts[1::2], strict=True):
        spans.append(box(((a + b) / 2, 0, z - thick / 2), (b - a, d, thick)))
    return spans


def bathtub(rng: np.random.Generator, palette: Palette) -> Piece:
    """A hollow tub: built in with an apron, or standing free on feet; the taps are at +x."""
    w, d, h = rng.uniform(1.45, 1.85), rng.uniform(0.68, 0.85), rng.uniform(0.48, 0.62)
    white, metal = palette.ceramic(), palette.metal()
    piece = Piece("bathtub", w, d)
    shape = free_standing if rng.random() < 0.3 else built_in
    shape(piece, rng, palette, (white, metal), h, h - rng.uniform(0.08, 0.14))
    x = w / 2 - 0.06
    piece.add(tube([(x, 0, h), (x, 0, h + 0.12), (x - 0.14, 0, h + 0.1)], 0.018, sides=6), metal)
    if rng.random() < 0.5:
        piece.add(
            tube([(w / 2 - 0.02, 0.0, h + 0.1), (w / 2 - 0.02, 0.0, 2.0), (w / 2 - 0.2, 0, 2.05)], 0.012, sides=6),
            metal,
        )
        piece.add(lathe([(0.06, 0), (0.07, 0.02), (0.0, 0.03)], (w / 2 - 0.2, 0, 2.0)), metal)
    return piece


def free_standing(
    tub: Piece, rng: np.random.Generator, palette: Palette, materials: tuple[Material, Material], h: float, deep: float
) -> None:
    """A tub `h` high and `deep` deep that stands free, on feet or on the floor."""
    (white, metal), w, d = materials, tub.width, tub.depth
    power, foot = rng.uniform(2.2, 3.2), rng.choice([0.0, 0.1])
    flare = rng.uniform(0.72, 0.9)

    def oval(scale: float, z: float) -> np.ndarray:
        return ring(w / 2 * scale, d / 2 * (1 - (1 - scale) * 1.3), z, sides=28, power=power)

    outer = white if rng.random() < 0.6 else palette.lacquer()
    tub.add(
        loft(np.stack([oval(0.5, foot), oval(flare, foot + 0.03), oval(0.95, h * 0.7), oval(1.0, h)]), smooth=False),
        outer,
    )
    tub.add(
        loft(
            np.stack(
                [
                    oval(1.0, h),
                    oval(0.93, h + 0.012),
                    oval(0.88, h - 0.04),
                    oval(flare * 0.9, h - deep + 0.06),
                    oval(0.6, h - deep),
                    oval(0.0, h - deep),
                ]
            ),
            smooth=False,
        ),
        white,
    )
    if foot:
        for x in (-0.5, 0.5):
            for y in (-0.4, 0.4):
                tub.add(blob((x * w * 0.7, y * d * 0.7, 0.07), (0.07, 0.07, 0.14), 2), metal)


def built_in(
    tub: Piece, rng: np.random.Generator, palette: Palette, materials: tuple[Material, Material], h: float, deep: float
) -> None:
    """A tub `h` high and `deep` deep with an apron on all sides."""
    (white, _), w, d = materials, tub.width, tub.depth
    rim = rng.uniform(0.05, 0.09)

    def inner(grow: float, z: float) -> np.ndarray:
        return ring(w / 2 - rim - grow, d / 2 - rim - grow * 0.5, z, sides=28, power=5)

    lip = ring(w / 2, d / 2, h, sides=28, power=40)
    rings = [
        lip,
        inner(0.0, h),
        inner(0.03, h - 0.05),
        inner(0.1, h - deep + 0.08),
        inner(0.16, h - deep),
        inner(0.16, h - deep) * [0.0, 0.0, 1.0],
    ]
    tub.add(loft(np.stack(rings), smooth=False), white)
    apron = white if rng.random() < 0.5 else palette.tiling()
    sides = [
        ((0, -d / 2 + 0.01, h / 2), (w, 0.02, h)),
        ((0, d / 2 - 0.01, h / 2), (w, 0.02, h)),
        ((-w / 2 + 0.01, 0, h / 2), (0.02, d, h)),
        ((w / 2 - 0.01, 0, h / 2), (0.02, d, h)),
    ]
    tub.add(boxes([s[0] for s in sides], [s[1] for s in sides]), apron)


def folds(rng: np.random.Generator, w: float, z0: float, z1: float, depth: float) -> np.ndarray:
    """(k, 9, 3) grid of hanging cloth in the xz plane that swings `depth` to both sides of it."""
    waves = max(2.0, w / rng.uniform(0.09, 0.2))
    k = int(np.clip(waves * 6, 14, 110))
    s = np.linspace(0, 1, k)
    phase = 2 * np.pi * waves * (s + 0.03 * np.sin(2 * np.pi * s * rng.uniform(1, 3) + rng.uniform(0, 6)))
    t = np.linspace(0, 1, 9)
    open_ = np.interp(t, [0, 0.2, 1], [1.0, rng.uniform(0.7, 1.0), rng.uniform(0.45, 0.8)])
    drift = np.cumsum(rng.normal(0, 0.02, 9))[None] * np.sin(3 * s)[:, None]
    grid = np.empty((k, 9, 3))
    grid[..., 0] = ((s - 0.5) * w)[:, None] + 0.01 * np.sin(2 * phase)[:, None]
    grid[..., 1] = (
        depth * (np.sin(phase)[:, None] + 0.3 * np.sin(2.3 * phase + 1)[:, None]) * open_ * 0.75 + drift * 0.3
    )
    grid[..., 2] = z0 + (z1 - z0) * t
    return grid


def shower_curtain(rng: np.random.Generator, palette: Palette, long: float, ceiling: float) -> Piece:
    """A curtain on a rod over the front of a tub of length `long`: drawn, half drawn or pushed aside."""
    z1 = min(rng.uniform(1.9, 2.1), ceiling - 0.1)
    z0 = rng.uniform(0.12, 0.35)
    w = long * rng.choice([0.25, 0.4, 0.6, 0.95])
    piece = Piece("shower curtain", long, 0.1)
    cloth = palette.fabric() if rng.random() < 0.75 else palette.plastic()
    x = rng.choice([-1, 1]) * (long - w) / 2
    piece.add(moved(sheet(folds(rng, w, z0, z1, rng.uniform(0.02, 0.05)), both=True), (x, 0, 0)), cloth)
    rod = piece.name("curtain rod")
    piece.add(pole((-long / 2, 0, z1 + 0.03), (long / 2, 0, z1 + 0.03), 0.013), palette.metal(), thing=rod)
    return piece


def shower(rng: np.random.Generator, palette: Palette, ceiling: float) -> Piece:
    """A tray in a corner with a curtain in front; the tray and its head are other furniture."""
    w, d = rng.uniform(0.8, 1.0), rng.uniform(0.8, 1.0)
    piece = Piece("otherfurniture", w, d)
    white, metal = palette.ceramic(), palette.metal()
    h = rng.uniform(0.04, 0.16)
    sides = [
        ((0, -d / 2 + 0.03, h / 2), (w, 0.06, h)),
        ((0, d / 2 - 0.03, h / 2), (w, 0.06, h)),
        ((-w / 2 + 0.03, 0, h / 2), (0.06, d, h)),
        ((w / 2 - 0.03, 0, h / 2), (0.06, d, h)),
        ((0, 0, 0.015), (w, d, 0.03)),
    ]
    piece.add(boxes([s[0] for s in sides], [s[1] for s in sides]), white)
    head = piece.name("shower")
    piece.add(
        tube([(0, d / 2 - 0.02, 1.0), (0, d / 2 - 0.02, 2.0), (0, d / 2 - 0.25, 2.05)], 0.012, sides=6),
        metal,
        thing=head,
    )
    piece.add(lathe([(0.08, 0), (0.09, 0.02), (0.0, 0.03)], (0, d / 2 - 0.25, 2.0)), metal, thing=head)
    piece.attach(shower_curtain(rng, palette, w - 0.02, ceiling), (0, -d / 2 + 0.06, 0))
    return piece
