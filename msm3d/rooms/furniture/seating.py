"""Chairs, and stools. Each family takes the generator and the room's palette and returns a `Piece`."""

import numpy as np

from ..materials import Material, Palette
from ..pieces import Piece
from ..shapes import blob, box, join, lathe, moved, pillow, pole, sheet, slab, tube
from .parts import legs, slats
from .sofas import seat_row


def wooden_chair(rng: np.random.Generator, palette: Palette) -> Piece:
    """Four legs, a seat, a back of slats, rungs, spindles or one board."""
    w, d = rng.uniform(0.38, 0.5), rng.uniform(0.38, 0.5)
    seat, top, t = rng.uniform(0.42, 0.48), rng.uniform(0.75, 1.08), rng.uniform(0.025, 0.045)
    frame = palette.wood() if rng.random() < 0.6 else palette.lacquer()
    chair = Piece("chair", w, d)
    legs(chair, rng, frame, w, d, seat - 0.02, t, inset=0.0)
    pad = palette.upholstery() if rng.random() < 0.4 else frame
    if pad is frame:
        chair.add(box((0, 0, seat), (w, d, 0.03)), frame)
    else:
        chair.add(box((0, 0, seat - 0.02), (w, d, 0.03)), frame)
        chair.add(blob((0, 0, seat + 0.015), (w * 0.98, d * 0.98, 0.07), 6), pad)
    lean = rng.uniform(0.0, 0.1)
    y = d / 2 - t / 2
    for x in (-w / 2 + t / 2, w / 2 - t / 2):
        chair.add(pole((x, y, seat), (x, y + lean, top), t * 0.55), frame)
    style = rng.integers(4)
    room = top - seat - 0.05
    if style == 0:
        slats(chair, frame, int(rng.integers(2, 5)), w - t, 0.02, (y, y + lean), (seat + 0.25 * room, top), 0.45, True)
    elif style == 1:
        slats(chair, frame, int(rng.integers(3, 8)), w - t, 0.014, (y, y + lean), (seat, top - 0.02), 0.3, False)
        chair.add(box((0, y + lean, top - 0.03), (w, 0.025, 0.06)), frame)
    elif style == 2:
        z0 = seat + rng.uniform(0.1, 0.5) * room
        mid = y + lean * (0.5 * (z0 + top) - seat) / (top - seat)
        back = pad if rng.random() < 0.6 else frame
        chair.add(
            moved(blob((0, 0, 0), (w * 0.98, 0.05, top - z0), 8), (0, mid, (z0 + top) / 2), 0, -np.arctan(lean / room)),
            back,
        )
    else:
        chair.add(box((0, y + lean, top - 0.05), (w, 0.025, 0.1)), frame)
        chair.add(box((0, y + lean / 2, seat + room * 0.5), (w * 0.35, 0.015, room)), frame)
    if rng.random() < 0.25:
        arm_rests(chair, rng, frame, w, d, seat)
    chair.depth += 2 * lean
    return chair


def arm_rests(chair: Piece, rng: np.random.Generator, material: Material, w: float, d: float, seat: float) -> None:
    """A bar at each side with a post in front."""
    z = seat + rng.uniform(0.17, 0.26)
    for x in (-w / 2, w / 2):
        chair.add(box((x, 0, z), (0.045, d, 0.03)), material)
        chair.add(pole((x, -d * 0.35, seat), (x, -d * 0.35, z), 0.014), material)
        chair.add(pole((x, d * 0.4, seat), (x, d * 0.4, z), 0.014), material)
    chair.width += 0.045


def shell_chair(rng: np.random.Generator, palette: Palette) -> Piece:
    """A moulded shell on splayed legs or a sled of tube."""
    w, d = rng.uniform(0.43, 0.54), rng.uniform(0.42, 0.52)
    seat, top = rng.uniform(0.42, 0.47), rng.uniform(0.76, 0.9)
    shell = palette.plastic() if rng.random() < 0.6 else palette.upholstery() if rng.random() < 0.5 else palette.wood()
    chair = Piece("chair", w, d + 0.12)
    t = np.linspace(0, 1, 9)
    y = np.interp(t, [0, 0.08, 0.5, 0.62, 1], [-d / 2, -d / 2 + 0.03, d * 0.3, d * 0.42, d / 2 + 0.06])
    z = np.interp(t, [0, 0.08, 0.5, 0.62, 1], [seat - 0.025, seat, seat - 0.02, seat + 0.06, top])
    across = np.linspace(-1, 1, 7)
    narrow = np.interp(t, [0, 0.2, 0.6, 0.9, 1], [0.85, 1, 1, 0.9, 0.65])
    dish = rng.uniform(0.03, 0.1)
    grid = np.empty((7, 9, 3))
    grid[..., 0] = across[:, None] * narrow * w / 2
    grid[..., 1] = y - 0.6 * dish * np.abs(across[:, None]) ** 3 * np.clip(t * 2 - 0.9, 0, 1)
    grid[..., 2] = z + dish * np.abs(across[:, None]) ** 3 * np.clip(1.3 - t, 0.1, 1)
    chair.add(sheet(grid), shell)
    chair.add(sheet((grid - [0, 0, 0.014])[:, ::-1]), shell)
    base = palette.wood() if rng.random() < 0.5 else palette.metal()
    foot = rng.uniform(0.38, 0.5)
    if rng.random() < 0.65:
        for x in (-1, 1):
            for v in (-1, 1):
                chair.add(
                    pole((x * w * foot, v * d * foot, 0), (x * w * 0.25, v * d * 0.25, seat - 0.02), 0.012, 0.02), base
                )
    else:
        for x in (-w * 0.42, w * 0.42):
            path = [
                (x * 0.7, -d * 0.3, seat - 0.02),
                (x, -d * 0.42, 0.012),
                (x, d * 0.45, 0.012),
                (x * 0.7, d * 0.25, seat - 0.02),
            ]
            chair.add(tube(path, 0.011, sides=6), base)
    if rng.random() < 0.25:
        chair.add(pillow((0, -0.03, seat + 0.03), (w * 0.8, d * 0.75, 0.07)), palette.fabric())
    return chair


def office_chair(rng: np.random.Generator, palette: Palette) -> Piece:
    """Five spokes on castors, a gas lift, upholstery, arms more often than not."""
    w, seat, top = rng.uniform(0.45, 0.54), rng.uniform(0.42, 0.54), rng.uniform(0.85, 1.25)
    black = palette.dark() if rng.random() < 0.65 else palette.metal()
    cloth = palette.upholstery() if rng.random() < 0.6 else palette.dark()
    chair = Piece("chair", 0.64, 0.64)
    turn = rng.uniform(0, 2)
    for k in range(5):
        a = turn + k * 2 * np.pi / 5
        tip = np.array([0.3 * np.cos(a), 0.3 * np.sin(a), 0.07])
        chair.add(pole((0, 0, 0.12), tip, 0.032, 0.02, sides=6), black)
        chair.add(blob(tip - [0, 0, 0.04], (0.05, 0.05, 0.06), rows=5, sides=8), black)
    chair.add(lathe([(0.03, 0.08), (0.03, seat - 0.05), (0.09, seat - 0.04), (0, seat - 0.03)]), black)
    chair.add(blob((0, 0, seat), (w, w * 0.98, 0.11), 5), cloth)
    low, lean = seat + rng.uniform(0.08, 0.2), rng.uniform(0.05, 0.15)
    back = blob((0, 0, 0), (w * rng.uniform(0.8, 1), 0.08, top - low), 5)
    chair.add(moved(back, (0, w / 2 - 0.02 + lean / 2, (low + top) / 2), 0, -lean), cloth)
    chair.add(
        tube([(0, 0.05, seat - 0.05), (0, w / 2 + 0.05, seat - 0.02), (0, w / 2 + 0.06, low + 0.1)], 0.025), black
    )
    if top > 1.05 and rng.random() < 0.4:
        chair.add(blob((0, w / 2 + lean, top + 0.08), (0.28, 0.08, 0.16), 4), cloth)
    if rng.random() < 0.7:
        z = seat + rng.uniform(0.17, 0.25)
        for x in (-w / 2 - 0.03, w / 2 + 0.03):
            chair.add(tube([(x * 0.6, 0.03, seat - 0.05), (x, 0.03, seat), (x, 0.03, z)], 0.018, sides=6), black)
            chair.add(blob((x, 0, z), (0.08, 0.26, 0.035), 4, rows=5), black)
    return chair


def armchair(rng: np.random.Generator, palette: Palette) -> Piece:
    """Upholstered, for one; ScanNet counts it as a chair."""
    chair = seat_row(rng, palette, "chair", 1)
    return chair


def tub_chair(rng: np.random.Generator, palette: Palette) -> Piece:
    """A round back that wraps the seat."""
    r, seat, top, t = rng.uniform(0.31, 0.4), rng.uniform(0.38, 0.46), rng.uniform(0.66, 0.85), 0.08
    cloth = palette.upholstery()
    chair = Piece("chair", 2 * r, 2 * r)
    a = np.linspace(-0.25 * np.pi, 1.25 * np.pi, 15)
    fall = np.interp(np.abs(a - np.pi / 2), [0, 1.2, 2.4], [top, top - 0.04, seat + rng.uniform(0.05, 0.2)])
    wall = []
    for radius, z in ((r * 0.92, 0.12 + 0 * a), (r, fall), (r - t, fall), (r - t, seat - 0.05 + 0 * a)):
        wall.append(np.stack([radius * np.cos(a), radius * np.sin(a), z], 1))
    chair.add(sheet(np.stack(wall, 1), smooth=False), cloth)
    chair.add(slab((0, 0, (0.12 + seat - 0.06) / 2), r * 0.9, r * 0.9, seat - 0.18), cloth)
    chair.add(blob((0, -0.02, seat), (2 * r - 2 * t, 2 * r - 1.5 * t, 0.14), 4), cloth)
    for x in (-1, 1):
        for y in (-1, 1):
            chair.add(pole((x * r * 0.6, y * r * 0.6, 0), (x * r * 0.55, y * r * 0.55, 0.13), 0.02), palette.wood())
    return chair


def bar_chair(rng: np.random.Generator, palette: Palette) -> Piece:
    """High seat with a low back, on a foot plate or four legs."""
    seat, w = rng.uniform(0.6, 0.78), rng.uniform(0.34, 0.42)
    metal, cloth = palette.metal(), palette.upholstery() if rng.random() < 0.5 else palette.body()
    chair = Piece("chair", w + 0.06, w + 0.06)
    if rng.random() < 0.5:
        chair.add(lathe([(0.2, 0), (0.2, 0.015), (0.03, 0.05), (0.025, seat - 0.03)]), metal)
        chair.add(tube([(0, 0, 0.28), (0.14, -0.1, 0.28), (-0.14, -0.1, 0.28), (0, 0, 0.28)], 0.01, sides=6), metal)
    else:
        legs(chair, rng, metal, w, w, seat, 0.03, inset=0.0)
        slats(chair, metal, 2, w, 0.015, (-w / 2, -w / 2), (0.2, 0.36), 0.2, True)
    chair.add(blob((0, 0, seat), (w, w, 0.07), 6), cloth)
    back = rng.uniform(0.15, 0.35)
    chair.add(blob((0, w / 2 - 0.01, seat + back * 0.7), (w, 0.045, back * 0.7), 6), cloth)
    for x in (-w * 0.3, w * 0.3):
        chair.add(pole((x, w / 2 - 0.02, seat), (x, w / 2 - 0.01, seat + back), 0.012), metal)
    return chair


def folding_chair(rng: np.random.Generator, palette: Palette) -> Piece:
    """Crossed tube legs, a thin seat and back; also the cantilever of meeting rooms."""
    w, d, seat, top = rng.uniform(0.42, 0.5), rng.uniform(0.42, 0.5), rng.uniform(0.43, 0.47), rng.uniform(0.78, 0.9)
    metal = palette.metal()
    soft = palette.upholstery() if rng.random() < 0.6 else palette.plastic()
    chair = Piece("chair", w, d + 0.08)
    for x in (-w / 2, w / 2):
        if rng.random() < 0.5:
            chair.add(tube([(x, -d / 2, 0.01), (x, -d * 0.1, seat), (x, d / 2, top)], 0.012, sides=6), metal)
            chair.add(tube([(x * 0.93, d / 2, 0.01), (x * 0.93, -d * 0.3, seat)], 0.012, sides=6), metal)
        else:
            path = [
                (x, d / 2, 0.012),
                (x, -d / 2, 0.012),
                (x, -d / 2, seat),
                (x, d / 2 - 0.03, seat - 0.02),
                (x, d / 2 + 0.03, top),
            ]
            chair.add(tube(path, 0.013, sides=6), metal)
    chair.add(blob((0, 0, seat + 0.01), (w * 0.95, d * 0.92, rng.uniform(0.03, 0.06)), 7), soft)
    high = rng.uniform(0.18, 0.32)
    chair.add(blob((0, d / 2 + 0.01, top - high / 2), (w * 0.97, 0.035, high), 7), soft)
    return chair


def chair(rng: np.random.Generator, palette: Palette, use: str = "dining") -> Piece:
    """A chair for `use`: dining, office, lounge, meeting or bar."""
    families = {
        "dining": ((wooden_chair, 5), (shell_chair, 3), (folding_chair, 1)),
        "office": ((office_chair, 6), (folding_chair, 1), (shell_chair, 1), (wooden_chair, 1)),
        "lounge": ((armchair, 4), (tub_chair, 3)),
        "meeting": ((office_chair, 3), (folding_chair, 3), (shell_chair, 2), (wooden_chair, 1)),
        "bar": ((bar_chair, 1),),
    }[use]
    weights = np.array([weight for _, weight in families], float)
    return families[rng.choice(len(families), p=weights / weights.sum())][0](rng, palette)


def stool(rng: np.random.Generator, palette: Palette) -> Piece:
    """An ottoman, pouf or bench: ScanNet's other furniture."""
    kind = rng.integers(3)
    if kind == 0:
        r, h = rng.uniform(0.2, 0.35), rng.uniform(0.35, 0.46)
        piece = Piece("otherfurniture", 2 * r, 2 * r)
        piece.add(
            join([lathe([(r * 0.97, 0.0), (r, h * 0.5), (r * 0.97, h - 0.03), (r * 0.85, h), (0, h)], sides=18)]),
            palette.upholstery(),
        )
    elif kind == 1:
        w, d, h = rng.uniform(0.45, 1.0), rng.uniform(0.4, 0.6), rng.uniform(0.36, 0.46)
        piece = Piece("otherfurniture", w, d)
        piece.add(blob((0, 0, h - 0.12), (w, d, 0.24), 9), palette.upholstery())
        legs(piece, rng, palette.wood(), w, d, h - 0.2, 0.04, inset=0.03)
    else:
        w, d, h = rng.uniform(0.8, 1.5), rng.uniform(0.3, 0.42), rng.uniform(0.42, 0.48)
        wood = palette.wood()
        piece = Piece("otherfurniture", w, d)
        piece.add(box((0, 0, h - 0.02), (w, d, 0.04)), wood)
        legs(piece, rng, wood, w, d, h - 0.03, 0.05, inset=0.04)
    piece.surface(piece.width * 0.5, piece.depth * 0.5, h)
    return piece
