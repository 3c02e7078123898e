"""Groups that several kinds of room share: a desk with its chair, a table with chairs, the finish."""

import numpy as np

from . import furnish
from .furniture import lamps, seating, storage, tables
from .layout import Placed
from .room import Room


def finish(room: Room, *, pictures: int, things: int, density: float) -> None:
    """Pictures, lamps, things on tops and on the floor."""
    furnish.pictures(room, pictures)
    furnish.tops(room, density)
    furnish.floor_things(room, things)
    furnish.ceiling_lamps(room)


def dining(room: Room) -> None:
    """A table with chairs around it and perhaps a lamp above."""
    rng, palette = room.rng, room.palette
    for _ in range(3):
        table = room.anywhere(tables.table(rng, palette, "dining"), margin=0.5)
        if table is not None:
            furnish.chairs_around(room, table, "dining", fill=rng.uniform(0.5, 1.0))
            if rng.random() < 0.3:
                room.put(lamps.hanging_lamp(rng, palette, room.ceiling, low=rng.uniform(1.4, 1.6)), table.at[:2], 0.0)
            return
    table = room.against(tables.table(rng, palette, "dining"), clear=0.5)
    if table is not None:
        furnish.chairs_around(room, table, "dining", fill=0.8)


def work_desk(room: Room) -> Placed | None:
    """A desk at a wall with its chair."""
    rng, palette = room.rng, room.palette
    desk = room.against(tables.desk(rng, palette), clear=0.75)
    if desk is not None:
        furnish.chair_at(
            room,
            desk,
            rng.uniform(-0.1, 0.1),
            -desk.piece.depth / 2,
            np.pi / 2,
            lambda: seating.chair(rng, palette, "office"),
        )
        if rng.random() < 0.3:
            above(room, desk, storage.wall_shelf(rng, palette), 1.15, 2.3, off=0.13)
    return desk


def above(room: Room, base: Placed, piece, low: float, high: float, off: float = 0.003) -> None:
    """Hang something on the wall behind a placed piece, if the wall is free there."""
    back = room.place_of(base, 0.0, base.piece.depth / 2)
    wall = min(
        room.walls,
        key=lambda w: (
            abs(float((back - w.start) @ w.inward))
            + (10 if not -0.1 < (back - w.start) @ w.along < w.length + 0.1 else 0)
        ),
    )
    at = float((back - wall.start) @ wall.along)
    if piece.width / 2 < at < wall.length - piece.width / 2 and not wall.blocked(
        at, piece.width, max(low, base.piece.height), high
    ):
        wall.hung.append((at - piece.width / 2, at + piece.width / 2, low, high))
        room.put(piece, wall.point(at, off), wall.yaw)
