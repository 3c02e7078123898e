"""What is in or on a wall: doors, windows, curtains, pictures, mirrors, boards, radiators.

The frame of these pieces: the wall's face is the plane y = 0, the room is at -y, z = 0 the floor.
"""

import numpy as np

from ..materials import Palette
from ..pieces import Piece
from ..shapes import box, boxes, lathe, moved, panel, pole, sheet
from .bath import folds
from .parts import handle, rim


def door(rng: np.random.Generator, palette: Palette, w: float, h: float, *, swing: float = 0.0) -> Piece:
    """A leaf in a frame, `w` by `h` the opening; `swing` radians open into the room."""
    piece = Piece("door", w + 0.16, 0.1)
    frame = palette.lacquer() if rng.random() < 0.6 else palette.wood()
    skin = frame if rng.random() < 0.4 else palette.body()
    t = rng.uniform(0.05, 0.09)
    depth = rng.uniform(0.02, 0.05)
    centres = [(-w / 2 - t / 2 + 0.01, 0, h / 2), (w / 2 + t / 2 - 0.01, 0, h / 2), (0, 0, h + t / 2 - 0.01)]
    piece.add(boxes(centres, [(t, 2 * depth, h), (t, 2 * depth, h), (w + 2 * t - 0.02, 2 * depth, t)]), frame)
    wings = 2 if w > 1.25 else 1
    for k in range(wings):
        leaf = Piece("door", w / wings, 0.04)
        lw = w / wings - 0.012
        leaf.add(box((0, 0, h / 2), (lw, 0.04, h - 0.015)), skin)
        style = rng.integers(5)
        if style == 1:
            for cz, ch in ((h * 0.28, h * 0.38), (h * 0.72, h * 0.4)):
                for side in (-1, 1):
                    rim(leaf, skin, 0, cz, lw * 0.7, ch, side * 0.022, 0.03)
        elif style == 2:
            for cz in np.linspace(0.2, h - 0.25, 4):
                for cx in (-lw * 0.22, lw * 0.22):
                    for side in (-1, 1):
                        rim(leaf, skin, cx, cz, lw * 0.36, h * 0.2, side * 0.022, 0.025)
        elif style == 3:
            glass = palette.glass()
            leaf.add(box((0, 0, h * 0.62), (lw * 0.55, 0.046, h * 0.5)), glass)
            rim(leaf, skin, 0, h * 0.62, lw * 0.6, h * 0.54, -0.022, 0.03)
            rim(leaf, skin, 0, h * 0.62, lw * 0.6, h * 0.54, 0.022, 0.03)
        metal = palette.metal()
        x = lw / 2 - 0.06
        for side in (-1, 1):
            leaf.add(
                boxes(
                    [(x, side * 0.025, 1.0), (x, side * 0.045, 1.0), (x - 0.05, side * 0.065, 1.0)],
                    [(0.04, 0.012, 0.18), (0.016, 0.04, 0.016), (0.12, 0.016, 0.018)],
                ),
                metal,
            )
        hinge = -1 if k == 0 else 1
        turn = -swing if k == 0 else np.pi + swing
        # the leaf's hinge is its -x edge; the second wing hangs on the other jamb
        for part in leaf.parts:
            about = moved(part.cells, (lw / 2 + 0.006, 0, 0))
            piece.add(moved(about, (hinge * w / 2, 0.0, 0), turn), part.material)
    return piece


def window(rng: np.random.Generator, palette: Palette, w: float, z0: float, z1: float, reveal: float) -> Piece:
    """A window in an opening from `z0` to `z1`, its panes `reveal` behind the wall's face."""
    h, y = z1 - z0, reveal
    piece = Piece("window", w, 0.1)
    frame = palette.lacquer() if rng.random() < 0.6 else palette.wood() if rng.random() < 0.6 else palette.metal()
    glass = palette.glass()
    t = rng.uniform(0.035, 0.07)
    rim(piece, frame, 0, z0 + h / 2, w, h, y, t, thick=0.06)
    columns = max(1, round(w / rng.uniform(0.5, 1.3)))
    rows = int(rng.choice([1, 1, 2, 3]))
    bars = [((x, y, z0 + h / 2), (t * 0.8, 0.05, h)) for x in np.linspace(-w / 2, w / 2, columns + 1)[1:-1]]
    bars += [((0, y, z), (w, 0.045, t * 0.6)) for z in np.linspace(z0, z1, rows + 1)[1:-1]]
    if bars:
        piece.add(boxes([b[0] for b in bars], [b[1] for b in bars]), frame)
    piece.add(panel((-w / 2, y + 0.01, z0), (w, 0, 0), (0, 0, h)), glass)
    if rng.random() < 0.6:
        handle(
            piece,
            rng,
            palette.metal(),
            (0.0 if columns % 2 == 0 else -w / (2 * columns), y - 0.03, z0 + h * 0.45),
            True,
            2,
        )
    if z0 > 0.3 and rng.random() < 0.7:
        sill = palette.stone() if rng.random() < 0.5 else frame
        out = rng.uniform(0.02, 0.14)
        piece.add(box((0, (reveal - out) / 2, z0 - 0.012), (w + 0.06, reveal + out, 0.025)), sill)
        piece.surface(w - 0.1, max(0.05, reveal + out - 0.06), z0, 0.0, (reveal - out) / 2, headroom=0.3)
    if rng.random() < 0.2:
        blind = piece.name("blinds")
        slats, fall = palette.lacquer(), rng.uniform(0.3, 1.0) * h
        z = np.arange(z1 - fall, z1, 0.035)
        tilted = [
            moved(box((0, 0, 0), (w - 0.04, 0.03, 0.003)), (0, y - 0.05, v), 0.0, rng.uniform(0.3, 0.5)) for v in z
        ]
        for cells in tilted:
            piece.add(cells, slats, thing=blind)
    return piece


def curtains(rng: np.random.Generator, palette: Palette, w: float, z0: float, z1: float, ceiling: float) -> list[Piece]:
    """Curtains for a window of width `w`: a wing at each side or one, on a rod; full length or to the sill."""
    top = min(z1 + rng.uniform(0.08, 0.3), ceiling - 0.05)
    low = rng.uniform(0.02, 0.1) if rng.random() < 0.65 else max(0.1, z0 - rng.uniform(0.05, 0.2))
    cloth = palette.fabric() if rng.random() < 0.8 else palette.lacquer()
    deep, off = rng.uniform(0.025, 0.055), -rng.uniform(0.08, 0.12)
    drawn = rng.choice([0.22, 0.3, 0.5, 0.62])
    sides = (-1, 1) if rng.random() < 0.8 else (int(rng.choice([-1, 1])),)
    full = w + 0.3
    wings = []
    for side in sides:
        wing = Piece("curtain", full * drawn, 2 * deep)
        x = side * (full / 2 - full * drawn / 2)
        grid = folds(rng, full * drawn, low, top, deep)
        if rng.random() < 0.15:  # tied back
            t = (grid[0, :, 2] - low) / (top - low)
            grid[..., 0] *= 1 - 0.6 * np.exp(-(((t - 0.4) / 0.18) ** 2))
        wing.add(moved(sheet(grid, both=True), (x, off, 0)), cloth)
        wings.append(wing)
    rod = Piece("curtain rod", full + 0.2, 0.05)
    metal = palette.metal() if rng.random() < 0.6 else palette.wood()
    rod.add(
        pole((-full / 2 - 0.1, off, top + 0.02), (full / 2 + 0.1, off, top + 0.02), rng.uniform(0.008, 0.018)), metal
    )
    for x in (-full / 2, full / 2):
        rod.add(box((x, off / 2, top + 0.02), (0.02, -off, 0.02)), metal)
    return [*wings, rod]


def picture(rng: np.random.Generator, palette: Palette, w: float | None = None) -> Piece:
    """A canvas, poster or framed picture, `w` wide or of any size; its middle at eye height."""
    w = w or rng.uniform(0.3, 1.3)
    h = float(np.clip(w * rng.uniform(0.6, 1.5), 0.25, 1.1))
    piece = Piece("picture", w, 0.03)
    framed(piece, rng, palette, w, h, rng.uniform(1.4, 1.75))
    return piece


def framed(piece: Piece, rng: np.random.Generator, palette: Palette, w: float, h: float, z: float) -> None:
    """One picture: canvas, poster, or a frame with or without a mount."""
    art, style = palette.picture(), rng.integers(4)
    thick = 0.004 if style == 0 else rng.uniform(0.015, 0.045)
    t = rng.uniform(0.015, 0.06) if style >= 2 else 0.0
    piece.add(moved(panel((-w / 2, 0, -h / 2), (w, 0, 0), (0, 0, h)), (0, -thick * 0.8, z)), art, rng.random())
    if style == 3:
        rim(
            piece,
            palette.paper() if rng.random() < 0.3 else palette.lacquer(),
            0,
            z,
            w - t,
            h - t,
            -thick * 0.85,
            t + min(w, h) * 0.12,
            thick=0.004,
        )
    if style >= 2:
        rim(piece, palette.wood() if rng.random() < 0.5 else palette.metal(), 0, z, w, h, -thick / 2, t, thick=thick)
    elif style == 1:
        rim(piece, art, 0, z, w, h, -thick / 2, 0.006, thick=thick)


def mirror(rng: np.random.Generator, palette: Palette, w: float | None = None) -> Piece:
    """A mirror, which the sensor hardly sees: `other`."""
    w = w or rng.uniform(0.4, 1.0)
    h, z = rng.uniform(0.6, 1.0), rng.uniform(1.45, 1.6)
    piece = Piece("mirror", w, 0.03)
    piece.add(panel((-w / 2, -0.015, z - h / 2), (w, 0, 0), (0, 0, h)), palette.glass())
    rim(piece, palette.metal() if rng.random() < 0.5 else palette.wood(), 0, z, w, h, -0.012, 0.03, thick=0.024)
    return piece


def board(rng: np.random.Generator, palette: Palette) -> Piece:
    """A white board or notice board: `other`."""
    w, h, z = rng.uniform(1.0, 2.4), rng.uniform(0.8, 1.2), rng.uniform(1.4, 1.6)
    piece = Piece("whiteboard", w, 0.05)
    face = palette.paper() if rng.random() < 0.5 else palette.ceramic()
    piece.add(box((0, -0.012, z), (w, 0.02, h)), face, rng.random())
    rim(piece, palette.metal(), 0, z, w, h, -0.02, 0.03, thick=0.03)
    if rng.random() < 0.6:
        piece.add(box((0, -0.05, z - h / 2), (w * 0.5, 0.07, 0.015)), palette.metal())
    return piece


def radiator(rng: np.random.Generator, palette: Palette) -> Piece:
    """Ribs or a panel under a window: other furniture."""
    w, h = rng.uniform(0.6, 1.5), rng.uniform(0.4, 0.65)
    piece = Piece("otherfurniture", w, 0.12)
    metal = palette.ceramic()
    ribs = np.arange(-w / 2 + 0.03, w / 2, 0.06)
    piece.add(boxes([(x, -0.07, 0.12 + h / 2) for x in ribs], [(0.04, 0.08, h)]), metal)
    piece.add(boxes([(0, -0.07, 0.15), (0, -0.07, 0.1 + h)], [(w, 0.05, 0.04)]), metal)
    for x in (-w / 2 + 0.05, w / 2 - 0.05):
        piece.add(pole((x, -0.07, 0), (x, -0.07, 0.14), 0.012), metal)
    return piece


def clock(rng: np.random.Generator, palette: Palette) -> Piece:
    """A wall clock: `other`."""
    r = rng.uniform(0.11, 0.2)
    piece = Piece("clock", 2 * r, 0.05)
    face = lathe([(r, 0), (r, 0.03), (r * 0.9, 0.035), (r * 0.88, 0.025), (0, 0.025)], sides=18)
    piece.add(
        moved(moved(face, (0, 0, 0), 0, np.pi / 2), (0, 0, rng.uniform(1.8, 2.1))),
        palette.paper() if rng.random() < 0.5 else palette.plastic(),
    )
    return piece


def towels(rng: np.random.Generator, palette: Palette) -> Piece:
    """Towels over a rail: `other`."""
    w, z = rng.uniform(0.4, 0.7), rng.uniform(1.0, 1.4)
    piece = Piece("towel", w, 0.1)
    piece.add(pole((-w / 2, -0.07, z), (w / 2, -0.07, z), 0.011), palette.metal())
    for x in (-w / 2, w / 2):
        piece.add(pole((x, 0, z), (x, -0.07, z), 0.011), palette.metal())
    grid = folds(rng, w * 0.75, z - rng.uniform(0.4, 0.7), z + 0.012, 0.012)
    piece.add(moved(sheet(grid, both=True), (0, -0.085, 0)), palette.fabric())
    return piece
