"""A scene: rooms, what stands in them, and all of their surfaces as one list of cells."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from . import furnish, homes, kinds
from .classes import segment_id
from .layout import Placed, Wall
from .materials import Material, Palette
from .room import Room
from .shapes import Cells, join, moved
from .shell import shell

WALL = 0.12
"""Thickness of a wall between two rooms, metres."""


class Surfaces(NamedTuple):
    """All cells of a scene, with what they belong to."""

    cells: Cells
    material: np.ndarray
    """(m,) index into `materials`."""
    thing: np.ndarray
    """(m,) instance id, counted from 0."""
    segment: np.ndarray
    """(t,) segment id of each instance."""
    materials: list[Material]


@dataclass(slots=True)
class Scene:
    """Furnished rooms."""

    kind: str
    rooms: list[Room]

    def placed(self) -> list[Placed]:
        """Everything that was placed, room by room."""
        return [placed for room in self.rooms for placed in room.placed]

    def surfaces(self) -> Surfaces:
        """Walls, floors, ceilings and all things as cells in metres."""
        cells: list[Cells] = []
        material: list[np.ndarray] = []
        thing: list[np.ndarray] = []
        segment: list[int] = []
        index: dict[int, int] = {}
        materials: list[Material] = []
        still = [(piece, None) for room in self.rooms for piece in shell(room)]
        for piece, placed in still + [(placed.piece, placed) for placed in self.placed()]:
            whole = join([part.cells for part in piece.parts])
            cells.append(whole if placed is None else moved(whole, placed.at, placed.yaw))
            for part in piece.parts:
                number = index.setdefault(id(part.material), len(materials))
                if number == len(materials):
                    materials.append(part.material)
                m = len(part.cells.tint)
                material.append(np.full(m, number))
                thing.append(np.full(m, len(segment) + part.thing))
            segment += [segment_id(label) for label in piece.things]
        return Surfaces(join(cells), np.concatenate(material), np.concatenate(thing), np.array(segment), materials)


def scene(rng: np.random.Generator, kind: str) -> Scene:
    """A furnished scene of one of `KINDS`.

    >>> made = scene(np.random.default_rng(0), "office")
    >>> any("desk" in placed.piece.things for placed in made.placed())
    True
    """
    if kind == "studio":
        return Scene(kind, studio(rng))
    recipe, xs, ys = kinds.RECIPES[kind]
    palette = Palette(rng)
    size = np.array([rng.uniform(*xs), rng.uniform(*ys)])
    notch = (0.0, 0.0)
    if rng.random() < 0.25 and kind != "corridor":
        notch = (rng.uniform(0.08, 0.3) * size[0], rng.uniform(0.08, 0.3) * size[1])
    room = Room(rng, palette, np.zeros(2), size, rng.uniform(2.35, 3.1), notch)
    recipe(room)
    return Scene(kind, [room])


def studio(rng: np.random.Generator) -> list[Room]:
    """A small flat: living room and kitchen on one side, bedroom and bathroom on the other, with open doors."""
    main = np.array([rng.uniform(3.4, 4.6), rng.uniform(4.6, 6.2)])
    side = rng.uniform(2.5, 3.4)
    split = main[1] * rng.uniform(0.52, 0.64)
    x = main[0] + WALL
    ceiling = rng.uniform(2.4, 2.8)
    plan = [
        (np.zeros(2), main, living_and_kitchen),
        (np.array([x, 0.0]), np.array([side, split - WALL / 2]), homes.bedroom),
        (
            np.array([x, split + WALL / 2]),
            np.array([side * rng.uniform(0.75, 1.0), main[1] - split - WALL / 2]),
            homes.bathroom,
        ),
    ]
    palette = Palette(rng)
    rooms = [
        Room(rng, palette if rng.random() < 0.5 else Palette(rng), origin, size, ceiling) for origin, size, _ in plan
    ]
    middle = rooms[0].walls[1]
    middle.shared = True
    for room in rooms[1:]:
        room.walls[3].shared = True
        join_rooms(rng, rooms[0], middle, room, room.walls[3])
    for room, (_, _, recipe) in zip(rooms, plan, strict=True):
        recipe(room)
    return rooms


def join_rooms(rng: np.random.Generator, one: Room, wall: Wall, two: Room, other: Wall) -> None:
    """A doorway through two walls that stand back to back; the leaf opens into the second room."""
    w, h = rng.uniform(0.75, 0.9), rng.uniform(1.98, 2.1)
    at = float(rng.uniform(w / 2 + 0.15, other.length - w / 2 - 0.15))
    here = float((other.point(at) - wall.start) @ wall.along)
    first = one.opening(w, 0.0, h, WALL, wall=wall, at=here)
    second = two.opening(w, 0.0, h, 0.0, wall=other, at=at)
    if first is not None and second is not None:
        furnish.hang_door(one, *first, leaf=False)
        furnish.hang_door(two, *second)


def living_and_kitchen(room: Room) -> None:
    """A kitchen row in a living room."""
    furnish.doors(room, 1)
    homes.rows(room)
    homes.living(room)
