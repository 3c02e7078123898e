"""Recipes of rooms to live in: what stands in them and how it stands together."""

import numpy as np

from . import furnish
from .furniture import bath, beds, clutter, fixtures, kitchen, lamps, openings, props, seating, sofas, storage, tables
from .room import Room
from .settings import above, dining, finish, work_desk


def bedroom(room: Room) -> None:
    """A bed with nightstands, a wardrobe, maybe a desk, a dresser, shelves."""
    rng, palette = room.rng, room.palette
    if not any(w.openings for w in room.walls):
        furnish.doors(room, 1)
    count = 1 if room.area < 16 or rng.random() < 0.8 else 2
    for _ in range(count):
        place_bed(room)
    furnish.windows(room, int(rng.integers(1, 3)), dressed=0.8)
    if rng.random() < 0.75:
        room.against(storage.cabinet(rng, palette, "wardrobe" if rng.random() < 0.75 else "tall"), clear=0.5)
    if rng.random() < 0.5:
        work_desk(room)
    if rng.random() < 0.55:
        chest = room.against(storage.dresser(rng, palette), clear=0.45)
        if chest is not None and rng.random() < 0.5:
            above(room, chest, openings.mirror(rng, palette, min(chest.piece.width, 0.9)), 1.0, 2.0)
    if rng.random() < 0.45:
        room.against(storage.bookshelf(rng, palette), clear=0.4)
    if rng.random() < 0.3:
        room.against(seating.chair(rng, palette, "lounge"), clear=0.4, gap=0.2)
    if rng.random() < 0.25:
        room.against(fixtures.coat_rack(rng, palette), clear=0.0)
    if rng.random() < 0.3:
        room.anywhere(seating.stool(rng, palette))
    finish(room, pictures=int(rng.integers(1, 5)), things=int(rng.integers(1, 6)), density=rng.uniform(0.5, 2.5))


def place_bed(room: Room) -> None:
    """A bed with its head to a wall, nightstands, a rug."""
    rng, palette = room.rng, room.palette
    bed = room.against(beds.bed(rng, palette), clear=0.3, corner=0.3) or room.against(beds.bed(rng, palette), clear=0.0)
    if bed is None:
        return
    twin = storage.dresser(rng, palette, "nightstand")
    for side in (-1, 1):
        if rng.random() < 0.75:
            at = room.place_of(
                bed, side * (bed.piece.width / 2 + twin.width / 2 + 0.05), (bed.piece.depth - twin.depth) / 2
            )
            night = room.stand(twin, at, bed.yaw, pad=0.01, keep=False)
            if night is not None and rng.random() < 0.7:
                room.on_top(
                    night, twin.tops[0], [lamps.table_lamp(rng, palette), clutter.clutter(rng, palette, "table")]
                )
    if rng.random() < 0.4:
        furnish.rug(
            room,
            room.place_of(bed, 0, -bed.piece.depth / 2),
            bed.yaw,
            bed.piece.width + rng.uniform(0.4, 1.0),
            rng.uniform(1.2, 1.9),
        )


def living(room: Room) -> None:
    """A sofa with its table, a television, shelves, armchairs, perhaps a dining table."""
    rng, palette = room.rng, room.palette
    if not any(w.openings for w in room.walls):
        furnish.doors(room, int(rng.integers(1, 3)))
    furnish.windows(room, int(rng.integers(1, 4)), dressed=0.75)
    lounge(room)
    if rng.random() < 0.8:
        room.against(storage.bookshelf(rng, palette), clear=0.4)
    if rng.random() < 0.35:
        room.against(storage.bookshelf(rng, palette), clear=0.4)
    if rng.random() < 0.55:
        room.against(storage.cabinet(rng, palette, "sideboard" if rng.random() < 0.6 else "tall"), clear=0.4)
    if room.area > 14 and rng.random() < 0.75:
        dining(room)
    if rng.random() < 0.2:
        work_desk(room)
    if rng.random() < 0.1:
        room.against(fixtures.piano(rng, palette), clear=0.6)
    if rng.random() < 0.3:
        room.against(sofas.sofa(rng, palette), clear=0.4)
    for _ in range(rng.integers(0, 3)):
        room.against(
            lamps.floor_lamp(rng, palette) if rng.random() < 0.5 else props.plant(rng, palette), clear=0.0, gap=0.15
        )
    finish(room, pictures=int(rng.integers(1, 6)), things=int(rng.integers(1, 6)), density=rng.uniform(0.5, 2.5))


def lounge(room: Room) -> None:
    """A sofa at a wall or in the room, a low table before it, armchairs, a television opposite."""
    rng, palette = room.rng, room.palette
    sofa = (
        room.against(sofas.sofa(rng, palette), clear=0.9, gap=0.1)
        if rng.random() < 0.75
        else room.anywhere(sofas.sofa(rng, palette), margin=0.6)
    )
    if sofa is None:
        sofa = room.against(sofas.seat_row(rng, palette, "sofa", 2), clear=0.4)
    if sofa is None:
        return
    table = tables.table(rng, palette, "coffee")
    at = room.place_of(sofa, rng.normal(0, 0.1), -sofa.piece.depth / 2 - table.depth / 2 - rng.uniform(0.3, 0.5))
    centre = room.place_of(sofa, 0, -sofa.piece.depth / 2 - 0.7)
    if rng.random() < 0.6:
        furnish.rug(room, centre, sofa.yaw, rng.uniform(1.6, 2.6), rng.uniform(1.1, 1.9))
    if rng.random() < 0.85:
        room.stand(table, at, sofa.yaw + rng.normal(0, 0.05), keep=False)
    for side in (-1, 1):
        if rng.random() < 0.35:
            chair = seating.chair(rng, palette, "lounge")
            spot = room.place_of(sofa, side * (sofa.piece.width / 2 + 0.3), -sofa.piece.depth / 2 - 0.75)
            room.stand(chair, spot, sofa.yaw + side * np.pi / 2 + np.pi + rng.normal(0, 0.2), keep=False)
        if rng.random() < 0.35:
            end = tables.table(rng, palette, "side") if rng.random() < 0.6 else lamps.floor_lamp(rng, palette)
            room.stand(
                end,
                room.place_of(
                    sofa, side * (sofa.piece.width / 2 + end.width / 2 + 0.06), sofa.piece.depth / 2 - end.depth / 2
                ),
                sofa.yaw,
                keep=False,
            )
    if rng.random() < 0.75:
        room.against(storage.tv_stand(rng, palette), clear=0.3, corner=0.1)
    if rng.random() < 0.3:
        room.anywhere(seating.stool(rng, palette))


def kitchen_room(room: Room) -> None:
    """Rows of cabinets under counters, a refrigerator, an island or a table."""
    rng, palette = room.rng, room.palette
    if not any(w.openings for w in room.walls):
        furnish.doors(room, int(rng.integers(1, 3)))
    rows(room)
    furnish.windows(room, int(rng.integers(1, 3)), dressed=0.35)
    if room.area > 13 and rng.random() < 0.35:
        bar = room.anywhere(kitchen.island(rng, palette), margin=0.8)
        if bar is not None:
            seats = int(rng.integers(0, 4))
            for k in range(seats):
                furnish.chair_at(
                    room,
                    bar,
                    (k - (seats - 1) / 2) * 0.5,
                    -bar.piece.depth / 2,
                    np.pi / 2,
                    lambda: seating.chair(rng, palette, "bar"),
                )
    if rng.random() < 0.85:
        dining(room)
    if rng.random() < 0.3:
        room.against(storage.cabinet(rng, palette, "tall"), clear=0.4)
    if rng.random() < 0.3:
        room.against(fixtures.washer(rng, palette), clear=0.4)
    finish(room, pictures=int(rng.integers(0, 3)), things=int(rng.integers(1, 4)), density=rng.uniform(1.0, 3.5))


def rows(room: Room) -> None:
    """One or two kitchen rows in the longest free stretches of wall, the refrigerator at the end of one."""
    rng, palette = room.rng, room.palette
    spans = sorted(
        ((b - a, k, a, b) for k, wall in enumerate(room.walls) for a, b in room.stretches(wall, 0.0, 2.2)), reverse=True
    )
    placed, cold = 0, False
    fridge = kitchen.refrigerator(rng, palette)
    for length, k, a, b in spans[:5]:
        wall = room.walls[k]
        room_left = min(length - 0.06, rng.uniform(2.0, 4.2))
        with_fridge = placed == 0 and room_left > fridge.width + 1.5
        w = room_left - (fridge.width + 0.04 if with_fridge else 0)
        if w < 1.0 or placed == (1 if room.area < 8 else 2) or (placed and rng.random() < 0.4):
            break
        row = kitchen.kitchen_row(
            rng,
            palette,
            w,
            with_sink=placed == 0 or rng.random() < 0.2,
            with_stove=rng.random() < 0.8,
            upper=rng.random() < 0.75,
        )
        left = rng.random() < 0.5
        start = a + 0.03 if left else b - 0.03 - room_left
        shift = fridge.width + 0.04 if with_fridge and not left else 0.0
        got = room.against(row, clear=0.7, gap=0.01, wall=wall, at=start + shift + w / 2)
        placed += got is not None
        if got is not None and with_fridge:
            at = start + fridge.width / 2 if not left else start + w + 0.04 + fridge.width / 2
            cold = room.against(fridge, clear=0.6, gap=0.03, wall=wall, at=at) is not None
    if not cold:
        room.against(fridge, clear=0.5)


def bathroom(room: Room) -> None:
    """A toilet, a sink with a mirror, a bathtub or shower with a curtain, towels."""
    rng, palette = room.rng, room.palette
    if not any(w.openings for w in room.walls):
        furnish.doors(room, 1)
    tub = rng.random() < 0.75
    if tub:
        piece = bath.bathtub(rng, palette)
        if rng.random() < 0.75:
            piece.attach(bath.shower_curtain(rng, palette, piece.width, room.ceiling), (0, -piece.depth / 2 - 0.05, 0))
            piece.shift((0, 0.06, 0))
            piece.depth += 0.12
        if room.against(piece, clear=0.45, corner=0.85, gap=0.01) is None:
            room.against(bath.bathtub(rng, palette), clear=0.2, corner=1.0, gap=0.01, tries=60)
    if not tub or (room.area > 6 and rng.random() < 0.25):
        room.against(bath.shower(rng, palette, room.ceiling), clear=0.4, corner=1.0, gap=0.01)
    room.against(bath.toilet(rng, palette), clear=0.5, corner=0.1, tries=60)
    for _ in range(1 if rng.random() < 0.85 else 2):
        sink = room.against(bath.sink(rng, palette), clear=0.5, corner=0.15, tries=60)
        if sink is not None and rng.random() < 0.85:
            above(room, sink, openings.mirror(rng, palette, rng.uniform(0.4, max(0.45, sink.piece.width))), 1.05, 2.0)
    if rng.random() < 0.5:
        furnish.windows(room, 1, dressed=0.15, small=rng.random() < 0.7)
    if rng.random() < 0.4:
        room.against(fixtures.washer(rng, palette), clear=0.4)
    if rng.random() < 0.35:
        room.against(storage.cabinet(rng, palette, "small" if rng.random() < 0.6 else "tall"), clear=0.3)
    for _ in range(rng.integers(0, 3)):
        room.hang(openings.towels(rng, palette), low=0.6, high=1.5)
    if rng.random() < 0.6:
        room.against(fixtures.bin_(rng, palette), clear=0.0, gap=0.1)
    if rng.random() < 0.5:
        at = room.origin + room.size / 2
        furnish.rug(room, at, 0.0, rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.6))
    finish(room, pictures=int(rng.integers(0, 2)), things=int(rng.integers(0, 3)), density=rng.uniform(0.5, 2.5))
