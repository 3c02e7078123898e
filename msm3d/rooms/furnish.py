"""What every room has: doors, windows and curtains, lamps, pictures, rugs, chairs at tables, clutter."""

from collections.abc import Callable

import numpy as np

from .furniture import clutter, lamps, openings, props, seating, tables
from .layout import Footprint, Opening, Placed, Wall
from .pieces import Piece
from .room import Room

_PLACES = {
    "table": "table",
    "desk": "desk",
    "counter": "counter",
    "bookshelf": "shelf",
    "cabinet": "shelf",
    "dresser": "shelf",
    "window": "shelf",
}


def doors(room: Room, count: int, *, width: tuple[float, float] = (0.75, 0.98)) -> None:
    """Cut `count` doors and hang leaves in them, closed or open; the floor before them stays free."""
    for _ in range(count):
        cut = room.opening(room.rng.uniform(*width), 0.0, min(room.rng.uniform(1.98, 2.15), room.ceiling - 0.15), 0.0)
        if cut is not None:
            hang_door(room, *cut)


def hang_door(room: Room, wall: Wall, hole: Opening, *, leaf: bool = True) -> None:
    """A leaf with its frame in a hole, or only the frame's free floor."""
    rng = room.rng
    swing = 0.0 if rng.random() < 0.55 else rng.uniform(0.2, 1.5)
    if leaf:
        room.put(openings.door(rng, room.palette, hole.width, hole.high, swing=swing), wall.point(hole.at), wall.yaw)
    room.keep(wall, hole.at, hole.width + 0.12, max(0.8, hole.width + 0.08 if swing and hole.width < 1.3 else 0.9))


def windows(room: Room, count: int, *, dressed: float = 0.6, small: bool = False) -> None:
    """Cut windows, from slits to glazing down to the floor; `dressed` is the chance of curtains."""
    rng, palette = room.rng, room.palette
    for _ in range(count):
        low = rng.uniform(1.1, 1.5) if small else rng.choice([0.05, rng.uniform(0.4, 1.1)], p=[0.12, 0.88])
        high = min(rng.uniform(1.9, 2.45), room.ceiling - 0.12)
        w = rng.uniform(0.4, 0.8) if small else rng.uniform(0.7, 2.4)
        reveal = rng.uniform(0.06, 0.2)
        cut = room.opening(w, low, high, reveal)
        if cut is None:
            continue
        wall, hole = cut
        room.put(openings.window(rng, palette, w, low, high, reveal), wall.point(hole.at), wall.yaw)
        if rng.random() < dressed:
            pieces = openings.curtains(rng, palette, w, low, high, room.ceiling)
            for piece in pieces:
                room.put(piece, wall.point(hole.at), wall.yaw)
            room.keep(wall, hole.at, w + 0.4, 0.2)
            wall.hung.append((hole.at - w / 2 - 0.3, hole.at + w / 2 + 0.3, 1.0, room.ceiling))
        elif not small and low > 0.55 and rng.random() < 0.35:
            heater = openings.radiator(rng, palette)
            if abs(heater.width) < wall.length - 0.3 and not wall.blocked(hole.at, heater.width, 0.0, 0.5):
                room.put(heater, wall.point(hole.at), wall.yaw)
                room.keep(wall, hole.at, heater.width, 0.15)


def pictures(room: Room, count: int) -> None:
    """Hang pictures, single or in rows, now and then a clock."""
    rng = room.rng
    for _ in range(count):
        if rng.random() < 0.08:
            room.hang(openings.clock(rng, room.palette), low=1.7, high=2.2)
            continue
        w = rng.uniform(0.22, 1.3)
        row = int(rng.integers(2, 5)) if w < 0.4 and rng.random() < 0.7 else 1
        hung = room.hang(openings.picture(rng, room.palette, w), low=1.0, high=2.2)
        for k in range(1, row):
            if hung is not None:
                wall, at = hung
                room.hang(
                    openings.picture(rng, room.palette, w), low=1.0, high=2.2, wall=wall, at=at + k * (w + 0.1)
                ) if at + (k + 0.5) * (w + 0.1) < wall.length else None


def ceiling_lamps(room: Room) -> None:
    """Lamps under the ceiling."""
    rng = room.rng
    nx, ny = (max(1, round(s / rng.uniform(2.5, 4.0))) for s in room.size)
    state = int(rng.integers(2**31))
    for i in range(nx):
        for j in range(ny):
            at = room.origin + room.size * [(i + 0.5) / nx, (j + 0.5) / ny]
            if room.inside(Footprint(at[0], at[1], 0.3, 0.3, 0.0)):
                room.put(lamps.hanging_lamp(np.random.default_rng(state), room.palette, room.ceiling), at, 0.0)


def rug(room: Room, at: np.ndarray, yaw: float, w: float, d: float) -> None:
    """A rug on the floor, if it fits between the walls."""
    piece = props.rug(room.rng, room.palette, w, d)
    if room.inside(Footprint(at[0], at[1], w / 2, d / 2, yaw), 0.05):
        room.put(piece, at, yaw)


def floor_things(room: Room, count: int) -> None:
    """Bins, boxes, bags, shoes, plants on the free floor, more often along the walls."""
    rng = room.rng
    for _ in range(count):
        piece = clutter.clutter(rng, room.palette, "floor")
        if rng.random() < 0.65:
            room.against(piece, clear=0.0, gap=0.1, tries=8)
        else:
            room.anywhere(piece, tries=6, margin=0.05, turn=rng.uniform(0, 6.3))


def tops(room: Room, density: float) -> None:
    """Put things on tables, desks, counters, shelves and sills; `density` is about how many for a square metre."""
    rng = room.rng
    for placed in list(room.placed):
        where = _PLACES.get(placed.piece.things[0], "table")
        if placed.piece.things[0] == "otherfurniture" and rng.random() < 0.7:
            continue
        for top in placed.piece.tops:
            mean = density * (0.4 + 3 * top.width * top.depth) * (1.5 if where == "desk" else 1.0)
            pieces = [clutter.clutter(rng, room.palette, where) for _ in range(min(rng.poisson(mean), 9))]
            if where == "desk" and top is placed.piece.tops[0] and rng.random() < 0.7:
                workplace(room, placed)
                pieces = pieces[:3]
                top = top._replace(y=top.y - 0.0, depth=top.depth * 0.5)
            room.on_top(placed, top, pieces)


def workplace(room: Room, desk: Placed) -> None:
    """Screens at the back of a desk and a keyboard in front of them."""
    rng, top = room.rng, desk.piece.tops[0]
    count = 2 if top.width > 1.3 and rng.random() < 0.35 else 1
    state = int(rng.integers(2**31))
    x0 = rng.uniform(-0.15, 0.15) if count == 1 else 0.0
    screens = [tables.monitor(np.random.default_rng(state), room.palette) for _ in range(count)]
    for k, screen in enumerate(screens):
        lean = 0.0 if count == 1 else (0.5 - k) * -0.5
        x = x0 + (k - (count - 1) / 2) * (screen.width + 0.06)
        room.put(
            screen,
            room.place_of(desk, x, top.y + top.depth / 2 - 0.1),
            desk.yaw + lean + rng.normal(0, 0.08),
            z=desk.at[2] + top.z,
        )
    if rng.random() < 0.9:
        room.put(
            props.keyboard(rng, room.palette),
            room.place_of(desk, x0, top.y - top.depth / 2 + 0.12),
            desk.yaw + rng.normal(0, 0.05),
            z=desk.at[2] + top.z,
        )


def chair_at(room: Room, base: Placed, x: float, y: float, facing: float, make: Callable[[], Piece]) -> Placed | None:
    """A chair at (x, y) of a placed table that looks along `facing` (radians, in the table's frame), if free."""
    rng = room.rng
    piece = make()
    pull = rng.choice([rng.uniform(-0.22, -0.1), rng.uniform(-0.1, 0.15), rng.uniform(0.15, 0.4)], p=[0.45, 0.35, 0.2])
    reach = piece.depth / 2 + pull
    at = room.place_of(base, x - np.cos(facing) * reach, y - np.sin(facing) * reach)
    turn = rng.normal(0, 0.1) if rng.random() < 0.8 else rng.normal(0, 0.6)
    return room.stand(piece, at, base.yaw + facing + np.pi / 2 + turn, pad=0.0, keep=False, ignore=base.piece)


def chairs_around(room: Room, table: Placed, use: str, *, fill: float) -> None:
    """Chairs at the sides of a table; mostly all of one make."""
    rng, w, d = room.rng, table.piece.width, table.piece.depth
    state = int(rng.integers(2**31))
    same = rng.random() < 0.75

    def make() -> Piece:
        return seating.chair(np.random.default_rng(state) if same else rng, room.palette, use)

    # one make of chair, but a palette draws anew; so remember the first and copy it
    first = make()
    along = max(1, int(w // max(0.62, first.width + 0.08)))
    places = [
        ((k - (along - 1) / 2) * (w / along), -side * d / 2, side * np.pi / 2) for k in range(along) for side in (1, -1)
    ]
    if d > 0.6:
        places += [(-w / 2, 0.0, 0.0), (w / 2, 0.0, np.pi)]
    for x, y, facing in places:
        if rng.random() < fill:
            chair_at(room, table, x, y, facing, (lambda: first) if same else make)
