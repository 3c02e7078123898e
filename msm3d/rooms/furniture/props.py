"""Small things on tables, shelves and floors, plants and rugs: all `other`."""

import numpy as np

from ..materials import Material, Palette
from ..pieces import Piece
from ..shapes import blob, box, boxes, disc, join, lathe, moved, panel, pillow, pole, sheet, tube


def bottle(rng: np.random.Generator, palette: Palette) -> Piece:
    """A bottle or carafe."""
    r, h = rng.uniform(0.025, 0.045), rng.uniform(0.18, 0.33)
    piece = Piece("bottle", 2 * r, 2 * r)
    body = palette.glass() if rng.random() < 0.25 else palette.plastic()
    piece.add(lathe([(r, 0), (r, h * 0.6), (r * 0.35, h * 0.78), (r * 0.35, h), (0, h)], sides=10), body)
    return piece


def cup(rng: np.random.Generator, palette: Palette) -> Piece:
    """A mug, bowl or plate, hollow."""
    r, h = (
        (rng.uniform(0.035, 0.05), rng.uniform(0.07, 0.11))
        if rng.random() < 0.6
        else (rng.uniform(0.08, 0.14), rng.uniform(0.02, 0.09))
    )
    piece = Piece("cup", 2 * r, 2 * r)
    piece.add(
        lathe([(r * 0.7, 0), (r, h), (r * 0.92, h), (r * 0.62, 0.008), (0, 0.008)], sides=12),
        palette.ceramic() if rng.random() < 0.5 else palette.plastic(),
    )
    if r > 0.09 and rng.random() < 0.5:  # fruit
        fruit = palette.books()
        for _ in range(5):
            a, q = rng.uniform(0, 6.3), rng.uniform(0, r * 0.6)
            piece.add(
                blob((q * np.cos(a), q * np.sin(a), h * 0.6 + 0.03), (0.075, 0.075, 0.07), rows=6, sides=10),
                fruit,
                rng.random(),
            )
    return piece


def vase(rng: np.random.Generator, palette: Palette) -> Piece:
    """A vase, with flowers or without."""
    r, h = rng.uniform(0.04, 0.09), rng.uniform(0.12, 0.35)
    piece = Piece("vase", 2 * r, 2 * r)
    piece.add(
        lathe([(r * 0.6, 0), (r, h * 0.4), (r * 0.5, h * 0.8), (r * 0.65, h), (r * 0.55, h), (r * 0.4, h * 0.8)]),
        palette.ceramic() if rng.random() < 0.5 else palette.plastic(),
    )
    if rng.random() < 0.6:
        foliage(piece, rng, palette, h, rng.uniform(0.12, 0.3), 7)
    return piece


def foliage(piece: Piece, rng: np.random.Generator, palette: Palette, z: float, size: float, count: int) -> None:
    """Bent leaves out of one point."""
    green = palette.leaves()
    t = np.linspace(0, 1, 5)
    slender = rng.uniform(0.08, 0.3)
    for _ in range(count):
        a, rise = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.4)
        long = size * rng.uniform(0.6, 1.2)
        out = long * np.sin(t * 1.5) * np.cos(rise * 0.8)
        up = long * (t * np.sin(rise) - 0.5 * t**3 * rng.uniform(0, 1))
        spine = np.stack([out * np.cos(a), out * np.sin(a), z + up], 1)
        wide = (
            slender
            * long
            * np.sin(np.pi * np.clip(t * 0.95 + 0.05, 0, 1))[:, None]
            * np.array([-np.sin(a), np.cos(a), 0.15])
        )
        piece.add(sheet(np.stack([spine - wide, spine, spine + wide]), both=True), green, rng.random())


def plant(rng: np.random.Generator, palette: Palette, small: bool = False) -> Piece:
    """A plant in a pot."""
    r, h = (
        (rng.uniform(0.05, 0.08), rng.uniform(0.07, 0.13)) if small else (rng.uniform(0.12, 0.2), rng.uniform(0.2, 0.4))
    )
    size = rng.uniform(0.12, 0.28) if small else rng.uniform(0.4, 0.9)
    piece = Piece("plant", 2 * r + size * 0.5, 2 * r + size * 0.5)
    pot = palette.ceramic() if rng.random() < 0.4 else palette.plastic()
    piece.add(lathe([(r * 0.75, 0), (r, h), (r * 0.9, h), (r * 0.88, h - 0.03)]), pot)
    piece.add(disc((0, 0, h - 0.03), r * 0.88), palette.cardboard(), 1.0)
    if not small and rng.random() < 0.3:
        stem = h + rng.uniform(0.3, 0.7)
        piece.add(pole((0, 0, h - 0.03), (0.03, 0.02, stem), 0.018, sides=6), palette.wood())
        foliage(piece, rng, palette, stem - 0.05, size * 0.6, 26)
    else:
        foliage(piece, rng, palette, h - 0.02, size, int(rng.integers(9, 24)))
    return piece


def book_stack(rng: np.random.Generator, palette: Palette) -> Piece:
    """Books or magazines lying on each other."""
    n, w, d = int(rng.integers(1, 6)), rng.uniform(0.14, 0.24), rng.uniform(0.2, 0.3)
    piece = Piece("books", w, d)
    books, z = palette.books(), 0.0
    for _ in range(n):
        t, k = rng.uniform(0.008, 0.04), rng.uniform(0.75, 1.0)
        piece.add(moved(box((0, 0, 0), (w * k, d * k, t)), (0, 0, z + t / 2), rng.normal(0, 0.15)), books, rng.random())
        z += t
    return piece


def papers(rng: np.random.Generator, palette: Palette) -> Piece:
    """Sheets of paper."""
    piece = Piece("paper", 0.3, 0.3)
    for k in range(rng.integers(1, 4)):
        page = panel((-0.105, -0.148, 0.002 + 0.002 * k), (0.21, 0, 0), (0, 0.297, 0))
        piece.add(
            moved(page, (rng.normal(0, 0.03), rng.normal(0, 0.03), 0), rng.normal(0, 0.4)),
            palette.paper(),
            rng.random(),
        )
    return piece


def keyboard(rng: np.random.Generator, palette: Palette) -> Piece:
    """A keyboard with keys, and a mouse."""
    piece = Piece("keyboard", 0.6, 0.16)
    case = palette.dark() if rng.random() < 0.6 else palette.plastic()
    keys = Material(np.stack([case.colors[0] * 0.7 + 0.1, case.colors[0] * 0.5 + 0.3]))
    piece.add(box((-0.06, 0, 0.01), (0.43, 0.14, 0.02)), case)
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(-0.255, 0.135, 15), np.linspace(-0.052, 0.052, 5)))
    piece.add(boxes(np.stack([x, y, 0 * x + 0.024], 1), [(0.021, 0.02, 0.008)]), keys, rng.random())
    mouse = piece.name("mouse")
    piece.add(blob((0.24, 0, 0.016), (0.06, 0.1, 0.034), 2.6), case, thing=mouse)
    return piece


def laptop(rng: np.random.Generator, palette: Palette) -> Piece:
    """An open laptop."""
    w, d = rng.uniform(0.3, 0.38), rng.uniform(0.21, 0.25)
    piece = Piece("laptop", w, d)
    case = palette.metal() if rng.random() < 0.5 else palette.dark()
    piece.add(box((0, 0, 0.009), (w, d, 0.018)), case)
    piece.add(box((0, 0.02, 0.019), (w * 0.88, d * 0.45, 0.003)), palette.dark())
    lid = join([box((0, d / 2, 0), (w, d, 0.008))])
    face = box((0, d / 2, -0.0045), (w * 0.93, d * 0.88, 0.002))
    lean = -np.pi / 2 - rng.uniform(0.15, 0.5)
    piece.add(moved(lid, (0, d / 2, 0.015), 0, lean + np.pi), case)
    piece.add(moved(face, (0, d / 2, 0.015), 0, lean + np.pi), palette.screen(), rng.random())
    return piece


def carton(rng: np.random.Generator, palette: Palette, small: bool = False) -> Piece:
    """A box: closed, or open with flaps."""
    w, d, h = rng.uniform(0.08, 0.25, 3) if small else rng.uniform(0.25, 0.6, 3)
    piece = Piece("box", w, d)
    skin = palette.cardboard() if rng.random() < 0.6 else palette.plastic()
    if rng.random() < 0.6 or small:
        piece.add(box((0, 0, h / 2), (w, d, h)), skin)
        return piece
    wall = loft_box(w, d, h)
    piece.add(wall, skin)
    for x in (-1, 1):
        flap = moved(box((0, 0, 0), (w * 0.4, d, 0.006)), (x * w * 0.62, 0, h + 0.04))
        piece.add(flap, skin)
    return piece


def loft_box(w: float, d: float, h: float):
    """An open box: outside, inside and floor, walls of 8 mm."""
    t = 0.008
    sides = [
        ((0, -d / 2, h / 2), (w, t, h)),
        ((0, d / 2, h / 2), (w, t, h)),
        ((-w / 2, 0, h / 2), (t, d, h)),
        ((w / 2, 0, h / 2), (t, d, h)),
        ((0, 0, t), (w, d, t)),
    ]
    return boxes([s[0] for s in sides], [s[1] for s in sides])


def bag(rng: np.random.Generator, palette: Palette) -> Piece:
    """A backpack or handbag."""
    w, d, h = rng.uniform(0.28, 0.4), rng.uniform(0.15, 0.25), rng.uniform(0.3, 0.5)
    piece = Piece("bag", w, d)
    cloth = palette.upholstery()
    piece.add(blob((0, 0, h / 2), (w, d, h), 3.2), cloth)
    piece.add(blob((0, -d / 2, h * 0.3), (w * 0.7, 0.1, h * 0.45), 4), cloth, 0.9)
    piece.add(
        tube(
            [(-0.06, 0.02, h * 0.95), (-0.04, 0.02, h + 0.07), (0.04, 0.02, h + 0.07), (0.06, 0.02, h * 0.95)],
            0.012,
            sides=6,
        ),
        cloth,
    )
    return piece


def heap(rng: np.random.Generator, palette: Palette) -> Piece:
    """Clothes dropped on the floor or a chair."""
    piece = Piece("clothes", 0.5, 0.4)
    for _ in range(rng.integers(1, 4)):
        size = rng.uniform(0.25, 0.5), rng.uniform(0.2, 0.4), rng.uniform(0.07, 0.16)
        soft = moved(pillow((0, 0, 0), size, sag=rng.uniform(0, 0.6)), (0, 0, 0), rng.uniform(0, 3), rng.normal(0, 0.1))
        piece.add(moved(soft, (rng.normal(0, 0.06), rng.normal(0, 0.06), rng.uniform(0.05, 0.1))), palette.fabric())
    return piece


def shoes(rng: np.random.Generator, palette: Palette) -> Piece:
    """A pair of shoes."""
    piece = Piece("shoes", 0.25, 0.3)
    skin = palette.leather() if rng.random() < 0.5 else palette.fabric()
    for x in (-0.06, 0.06):
        piece.add(moved(blob((0, 0, 0.035), (0.09, 0.27, 0.07), 3), (x, 0, 0), rng.normal(0, 0.1)), skin)
        piece.add(moved(blob((0, 0.07, 0.07), (0.08, 0.12, 0.09), 3), (x, 0, 0)), skin)
    return piece


def ball(rng: np.random.Generator, palette: Palette) -> Piece:
    """A ball."""
    r = rng.uniform(0.09, 0.3)
    piece = Piece("ball", 2 * r, 2 * r)
    piece.add(blob((0, 0, r), (2 * r, 2 * r, 2 * r), rows=9), palette.plastic())
    return piece


def speaker(rng: np.random.Generator, palette: Palette) -> Piece:
    """A loudspeaker, printer, kettle or microwave oven: a small appliance."""
    style = rng.integers(3)
    if style == 0:
        piece = Piece("speaker", 0.2, 0.22)
        piece.add(box((0, 0, 0.17), (0.2, 0.22, 0.34)), palette.dark())
        for z, r in ((0.11, 0.07), (0.25, 0.04)):
            piece.add(
                moved(
                    moved(lathe([(r, 0), (r, 0.01), (r * 0.3, 0.002), (0, 0.004)]), (0, 0, 0), 0, np.pi / 2),
                    (0, -0.11, z),
                ),
                palette.metal(),
            )
    elif style == 1:
        piece = Piece("printer", 0.45, 0.38)
        case = palette.plastic()
        piece.add(blob((0, 0, 0.11), (0.44, 0.36, 0.22), 9), case)
        piece.add(moved(box((0, 0, 0), (0.25, 0.15, 0.01)), (0, 0.12, 0.26), 0, 1.0), palette.paper())
        piece.add(box((0, -0.17, 0.08), (0.28, 0.05, 0.02)), palette.dark())
    else:
        piece = Piece("microwave", 0.48, 0.36)
        piece.add(box((0, 0, 0.14), (0.48, 0.36, 0.27)), palette.metal() if rng.random() < 0.5 else palette.ceramic())
        piece.add(panel((-0.22, -0.182, 0.03), (0.33, 0, 0), (0, 0, 0.21)), palette.dark())
    return piece


def rug(rng: np.random.Generator, palette: Palette, w: float, d: float) -> Piece:
    """A rug, rectangular or round: `other`, as ScanNet's floor mats."""
    piece = Piece("rug", w, d)
    if rng.random() < 0.2:
        r = min(w, d) / 2
        piece.add(lathe([(r, 0.0), (r * 0.99, 0.012), (0, 0.012)], sides=28), palette.fabric())
        return piece
    z = rng.uniform(0.006, 0.02)
    top = box((0, 0, z / 2), (w, d, z))
    if rng.random() < 0.5:
        colors = np.stack([palette.color() for _ in range(3)])
        from ..patterns import oriental

        unit = top._replace(uv=top.uv / (np.array([w, d]) / 2))
        piece.add(unit, Material(colors, oriental))
    else:
        piece.add(top, palette.fabric())
    return piece
