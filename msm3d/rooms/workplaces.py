"""Recipes of offices, meeting rooms and corridors."""

import numpy as np

from . import furnish
from .furniture import fixtures, openings, props, seating, sofas, storage, tables
from .room import Room
from .settings import dining, finish, work_desk


def office(room: Room) -> None:
    """Desks with screens and swivel chairs, filing cabinets, shelves, a white board."""
    rng, palette = room.rng, room.palette
    furnish.doors(room, 1)
    furnish.windows(room, int(rng.integers(1, 3)), dressed=0.35)
    count = int(np.clip(rng.poisson(room.area / 5), 1, 6))
    if count >= 4 and rng.random() < 0.5:
        desk_block(room)
        count -= 3
    for _ in range(count):
        work_desk(room)
    for use, chance in (("filing", 0.7), ("filing", 0.4), ("tall", 0.4), ("sideboard", 0.3)):
        if rng.random() < chance:
            room.against(storage.cabinet(rng, palette, use), clear=0.4)
    for _ in range(rng.integers(0, 4)):
        room.against(storage.bookshelf(rng, palette), clear=0.4)
    if rng.random() < 0.6:
        room.hang(openings.board(rng, palette), low=0.8, high=2.1)
    if rng.random() < 0.3:
        dining(room)
    if rng.random() < 0.3:
        room.against(seating.chair(rng, palette, "lounge"), clear=0.3, gap=0.2)
    if rng.random() < 0.2:
        room.against(sofas.sofa(rng, palette), clear=0.4)
    for make, chance in ((fixtures.bin_, 0.8), (fixtures.coat_rack, 0.3), (props.plant, 0.5), (fixtures.ladder, 0.1)):
        if rng.random() < chance:
            room.against(make(rng, palette), clear=0.0, gap=0.1)
    finish(room, pictures=int(rng.integers(0, 4)), things=int(rng.integers(1, 7)), density=rng.uniform(0.8, 3.5))


def desk_block(room: Room) -> None:
    """Four desks, two and two face to face, with chairs outside."""
    rng, palette = room.rng, room.palette
    first = tables.desk(rng, palette)
    w, d = first.width + 0.02, first.depth + 0.02
    turn = float(rng.integers(2) * np.pi / 2)
    low, high = room.origin + 0.9 + max(w, d), room.origin + room.size - 0.9 - max(w, d)
    if (high <= low).any():
        return
    centre = rng.uniform(low, high)
    c, s = np.cos(turn), np.sin(turn)
    for x, y, yaw in ((-w / 2, -d / 2, 0.0), (w / 2, -d / 2, 0.0), (-w / 2, d / 2, np.pi), (w / 2, d / 2, np.pi)):
        at = centre + np.array([c * x - s * y, s * x + c * y])
        desk = room.stand(first, at, turn + yaw, pad=0.0)
        if desk is not None:
            furnish.chair_at(
                room, desk, 0.0, -first.depth / 2, np.pi / 2, lambda: seating.chair(rng, palette, "office")
            )


def meeting(room: Room) -> None:
    """A long table with chairs, a screen or board, a sideboard."""
    rng, palette = room.rng, room.palette
    furnish.doors(room, 1 if rng.random() < 0.8 else 2, width=(0.8, 1.7))
    furnish.windows(room, int(rng.integers(1, 4)), dressed=0.4)
    seats = int(2 * rng.integers(2, max(3, int(room.size.max() / 0.75) - 1)))
    turn = 0.0 if room.size[0] > room.size[1] else np.pi / 2
    for shrink in (0, 2, 4, 6):
        piece = tables.table(rng, palette, "meeting", seats=max(4, seats - shrink))
        table = room.anywhere(piece, margin=0.7, turn=turn, tries=12)
        if table is not None:
            furnish.chairs_around(room, table, "meeting", fill=rng.uniform(0.6, 1.0))
            break
    if rng.random() < 0.8:
        room.hang(openings.board(rng, palette), low=0.8, high=2.1)
    if rng.random() < 0.5:
        room.against(storage.tv_stand(rng, palette), clear=0.2)
    if rng.random() < 0.6:
        room.against(storage.cabinet(rng, palette, "sideboard"), clear=0.3)
    if rng.random() < 0.3:
        room.against(storage.bookshelf(rng, palette), clear=0.3)
    for _ in range(rng.integers(0, 6)):
        room.against(seating.chair(rng, palette, "meeting"), clear=0.0, gap=0.1)
    for make, chance in ((fixtures.bin_, 0.6), (props.plant, 0.5), (fixtures.coat_rack, 0.3)):
        if rng.random() < chance:
            room.against(make(rng, palette), clear=0.0, gap=0.1)
    finish(room, pictures=int(rng.integers(0, 4)), things=int(rng.integers(0, 3)), density=rng.uniform(0.3, 2.0))


def corridor(room: Room) -> None:
    """Doors, pictures, a wardrobe or shoe rack, a runner."""
    rng, palette = room.rng, room.palette
    furnish.doors(room, int(rng.integers(2, 5)))
    if rng.random() < 0.3:
        furnish.windows(room, 1, dressed=0.3)
    options = (
        (lambda: storage.shoe_rack(rng, palette), 0.5),
        (lambda: storage.cabinet(rng, palette, "small"), 0.5),
        (lambda: storage.cabinet(rng, palette, "wardrobe"), 0.25),
        (lambda: storage.bookshelf(rng, palette), 0.3),
        (lambda: fixtures.coat_rack(rng, palette), 0.4),
        (lambda: seating.stool(rng, palette), 0.35),
        (lambda: seating.chair(rng, palette, "dining"), 0.35),
        (lambda: tables.table(rng, palette, "side"), 0.35),
        (lambda: props.plant(rng, palette), 0.4),
        (lambda: fixtures.ladder(rng, palette), 0.15),
    )
    for make, chance in options:
        if rng.random() < chance:
            room.against(make(), clear=0.3)
    if rng.random() < 0.5:
        turn = 0.0 if room.size[0] > room.size[1] else np.pi / 2
        furnish.rug(
            room,
            room.origin + room.size / 2,
            turn,
            room.size.max() * rng.uniform(0.3, 0.8),
            min(0.9, room.size.min() - 0.4),
        )
    if rng.random() < 0.4:
        room.hang(openings.mirror(rng, palette), low=0.9, high=2.1)
    finish(room, pictures=int(rng.integers(1, 7)), things=int(rng.integers(1, 5)), density=rng.uniform(0.5, 2.0))
