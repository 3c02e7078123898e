"""Upholstered seats in a row, and sofas made of them."""

from typing import NamedTuple

import numpy as np

from ..materials import Material, Palette
from ..pieces import Piece
from ..shapes import blob, box, boxes, moved, pillow, pole, sheet


class Frame(NamedTuple):
    """Measures of upholstered seats, in metres."""

    width: float
    depth: float
    each: float  # width of one seat
    base: float  # height of the underside of the cushions
    seat: float  # height to sit at
    top: float  # height of the back
    arm: float  # width of an arm, 0 without arms
    foot: float  # height of the legs
    back: float  # thickness of the back
    power: float  # how square the cushions are


def seat_row(rng: np.random.Generator, palette: Palette, label: str, seats: int, corner: bool = False) -> Piece:
    """An upholstered seat for one or more: base, seat and back cushions, arms, legs; perhaps with a chaise."""
    each, d = (rng.uniform(0.55, 0.75), rng.uniform(0.75, 1.0))
    seat, top = rng.uniform(0.36, 0.48), rng.uniform(0.7, 0.98)
    arm = rng.choice([0.0, 0.1, 0.16, 0.24], p=[0.1, 0.3, 0.4, 0.2])
    foot = rng.choice([0.02, 0.06, 0.14])
    back = rng.uniform(0.16, 0.26)
    w = seats * each + 2 * arm
    cloth = palette.upholstery()
    sofa = Piece(label, w, d)
    power = rng.choice([3.5, 6.0, 12.0])
    frame = Frame(w, d, each, seat - rng.uniform(0.12, 0.2), seat, top, arm, foot, back, power)
    sofa.add(box((0, 0, (foot + frame.base) / 2), (w - 0.02, d - 0.02, frame.base - foot)), cloth)
    lean = rng.uniform(0.02, 0.2)
    sofa.add(
        moved(blob((0, 0, 0), (w - 2 * arm, back * 0.8, top - foot), 9), (0, d / 2 - back * 0.42, (top + foot) / 2)),
        cloth,
    )
    cushions(sofa, rng, cloth, frame, seats if rng.random() < 0.7 else 1, lean)
    if arm:
        arms(sofa, rng, cloth, frame)
    if foot > 0.03:
        wood = palette.wood() if rng.random() < 0.6 else palette.metal()
        for x in (-w / 2 + 0.07, w / 2 - 0.07):
            for y in (-d / 2 + 0.07, d / 2 - 0.07):
                sofa.add(pole((x, y, 0), (x, y, foot + 0.01), 0.02, 0.03), wood)
    else:
        sofa.add(box((0, 0, foot / 2), (w - 0.1, d - 0.1, foot)), cloth)
    if corner:
        chaise(sofa, rng, cloth, frame)
    if seats > 1 or rng.random() < 0.3:
        pillows(sofa, rng, palette, frame, int(rng.integers(0, 2 + seats)))
    if seats > 1 and rng.random() < 0.3:
        throw(sofa, rng, palette, w, seat, top, back)
    return sofa


def cushions(sofa: Piece, rng: np.random.Generator, cloth: Material, frame: Frame, count: int, lean: float) -> None:
    """Cushions to sit on, and others that lean against the back."""
    w, d, _, base, seat, top, arm, _, back, power = frame
    pitch = (w - 2 * arm) / count
    for k in range(count):
        x = (k - (count - 1) / 2) * pitch
        sofa.add(
            blob(
                (x, -back / 2 + 0.01, (base + seat) / 2 + 0.01),
                (pitch - 0.01, d - back + 0.03, seat - base + 0.04),
                power,
            ),
            cloth,
        )
        size = pitch - 0.02, rng.uniform(0.12, 0.2), (top - seat) * rng.uniform(0.85, 1.08)
        plump = moved(blob((0, 0, 0), size, power * 0.8), (0, 0, 0), 0, -lean)
        sofa.add(moved(plump, (x, d / 2 - back - 0.03, seat + (top - seat) * 0.48)), cloth)


def arms(sofa: Piece, rng: np.random.Generator, cloth: Material, frame: Frame) -> None:
    """An arm at each end, straight or rolled."""
    w, d, arm, foot = frame.width, frame.depth, frame.arm, frame.foot
    z = frame.seat + rng.uniform(0.08, 0.26)
    rolled = rng.random() < 0.3
    for x in (-w / 2 + arm / 2, w / 2 - arm / 2):
        if rolled:
            sofa.add(box((x, 0, (foot + z) / 2), (arm * 0.8, d, z - foot)), cloth)
            sofa.add(pole((x, -d / 2, z), (x, d / 2, z), arm * 0.55, sides=12), cloth)
        else:
            sofa.add(blob((x, 0, (foot + z) / 2), (arm, d, z - foot), max(frame.power, 8)), cloth)


def chaise(sofa: Piece, rng: np.random.Generator, cloth: Material, frame: Frame) -> None:
    """One seat made longer, to lie on."""
    w, d, each, base, seat, _, arm, foot, _, power = frame
    side, long = rng.choice([-1, 1]), rng.uniform(0.5, 0.9)
    x = side * (w / 2 - each / 2 - (arm if rng.random() < 0.5 else 0) / 2)
    sofa.add(box((x, -d / 2 - long / 2, (foot + base) / 2), (each, long, base - foot)), cloth)
    sofa.add(
        blob((x, -d / 2 - long / 2, (base + seat) / 2 + 0.01), (each, long + 0.04, seat - base + 0.04), power), cloth
    )
    sofa.shift((0, long / 2, 0))  # the footprint grew to the front
    sofa.depth += long


def pillows(sofa: Piece, rng: np.random.Generator, palette: Palette, frame: Frame, count: int) -> None:
    """Loose pillows against the back."""
    for _ in range(count):
        size = rng.uniform(0.35, 0.5)
        x = rng.uniform(-0.5, 0.5) * (frame.width - 2 * frame.arm - size)
        y = sofa.depth / 2 - frame.back - rng.uniform(0.14, 0.24)
        thing = sofa.name("pillow")
        soft = pillow((0, 0, 0), (size, size, rng.uniform(0.1, 0.17)))
        tilted = moved(soft, (0, 0, 0), 0, np.pi / 2 - rng.uniform(0.15, 0.6))
        placed = moved(tilted, (x, y, frame.seat + size * 0.47), rng.normal(0, 0.2))
        sofa.add(placed, palette.fabric(), thing=thing)


def throw(
    sofa: Piece, rng: np.random.Generator, palette: Palette, w: float, seat: float, top: float, back: float
) -> None:
    """A blanket thrown over the back and down the seat."""
    t = np.linspace(0, 1, 9)
    y0 = sofa.depth / 2
    y = np.interp(t, [0, 0.2, 0.3, 0.6, 1], [y0 + 0.01, y0 - 0.02, y0 - back, y0 - back - 0.12, y0 - back - 0.5])
    z = np.interp(t, [0, 0.2, 0.3, 0.6, 1], [top - 0.3, top + 0.02, top + 0.03, seat + 0.1, seat + 0.06])
    x = np.linspace(-0.5, 0.5, 8)[:, None] * rng.uniform(0.4, 0.8) + rng.uniform(-0.25, 0.25) * w
    grid = np.stack([x + 0.03 * np.sin(9 * t), np.broadcast_to(y, (8, 9)), z + 0.012 * np.sin(40 * x + 3 * t)], -1)
    sofa.add(sheet(grid[:, ::-1], both=True), palette.fabric(), thing=sofa.name("blanket"))


def futon(rng: np.random.Generator, palette: Palette) -> Piece:
    """A mattress folded over a slatted frame."""
    w, d, seat, top = rng.uniform(1.3, 2.0), rng.uniform(0.8, 0.95), rng.uniform(0.36, 0.45), rng.uniform(0.72, 0.9)
    wood, cloth = palette.wood(), palette.fabric()
    sofa = Piece("sofa", w, d)
    sofa.add(blob((0, -0.05, seat - 0.06), (w * 0.95, d * 0.85, 0.15), 6), cloth)
    sofa.add(
        moved(blob((0, 0, 0), (w * 0.95, 0.14, top - seat + 0.1), 6), (0, d / 2 - 0.16, (seat + top) / 2), 0, -0.25),
        cloth,
    )
    for x in (-w / 2 + 0.03, w / 2 - 0.03):
        sofa.add(
            boxes(
                [
                    (x, 0, seat + 0.16),
                    (x, -d / 2 + 0.05, seat / 2 + 0.08),
                    (x, d / 2 - 0.05, seat / 2 + 0.08),
                    (x, 0, seat - 0.15),
                ],
                [(0.06, d, 0.03), (0.05, 0.06, seat + 0.16), (0.05, 0.06, seat + 0.16), (0.04, d, 0.1)],
            ),
            wood,
        )
    sofa.add(
        boxes([(0, y, seat - 0.16) for y in np.linspace(-d / 2 + 0.06, d / 2 - 0.1, 6)], [(w - 0.06, 0.06, 0.02)]), wood
    )
    return sofa


def sofa(rng: np.random.Generator, palette: Palette) -> Piece:
    """A sofa for two to four, straight or with a chaise, or a futon."""
    if rng.random() < 0.12:
        return futon(rng, palette)
    return seat_row(rng, palette, "sofa", int(rng.integers(2, 5)), corner=rng.random() < 0.3)
