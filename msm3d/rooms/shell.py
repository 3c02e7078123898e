"""The shell of a room: walls with holes and jambs, skirting, floor and ceiling, each its own thing."""

from itertools import pairwise

import numpy as np

from .layout import Wall
from .materials import Material
from .pieces import Piece
from .room import Room
from .shapes import box, moved, panel


def shell(room: Room) -> list[Piece]:
    """Walls, floor and ceiling as pieces that are already in the room's coordinates."""
    rng, palette = room.rng, room.palette
    paint, accent = palette.wall(), palette.wall()
    which = rng.integers(len(room.walls)) if rng.random() < 0.3 else -1
    skirt = (palette.lacquer() if rng.random() < 0.6 else palette.wood()) if rng.random() < 0.65 else None
    pieces = [
        wall_piece(wall, room.ceiling, accent if k == which else paint, skirt) for k, wall in enumerate(room.walls)
    ]
    floor, ceiling = Piece("floor", 1, 1), Piece("ceiling", 1, 1)
    ground = palette.floor()
    above = palette.plain_wall() if rng.random() < 0.85 else palette.tiling()
    for corner, (w, d) in room.floor_parts():
        low = panel((0, 0, 0), (w, 0, 0), (0, d, 0))
        floor.add(moved(low._replace(uv=low.uv + corner), (*corner, 0.0)), ground)
        high = panel((0, 0, room.ceiling), (0, d, 0), (w, 0, 0))
        ceiling.add(moved(high, (*corner, 0.0)), above)
    if rng.random() < 0.1:
        beam = palette.wood()
        for y in np.arange(0.4, room.size[1] - room.notch[1] - 0.2, rng.uniform(0.6, 1.2)):
            x, at = room.origin[0] + room.size[0] / 2, room.origin[1] + y
            ceiling.add(box((x, at, room.ceiling - 0.07), (room.size[0], 0.12, 0.14)), beam)
    return [*pieces, floor, ceiling]


def wall_piece(wall: Wall, height: float, paint: Material, skirt: Material | None) -> Piece:
    """One wall, cut along the edges of its openings, with the jambs of windows and a skirting board."""
    piece = Piece("wall", wall.length, 0.1)
    edges = sorted(
        {0.0, wall.length, *(np.clip(o.at + s * o.width / 2, 0, wall.length) for o in wall.openings for s in (-1, 1))}
    )
    for a, b in pairwise(edges):
        holes = sorted(
            (o.low, min(o.high, height)) for o in wall.openings if o.at - o.width / 2 < (a + b) / 2 < o.at + o.width / 2
        )
        levels = [0.0, *(z for hole in holes for z in hole), height]
        for z0, z1 in zip(levels[::2], levels[1::2], strict=True):
            if z1 - z0 > 1e-3:
                face = panel((*wall.point(b), z0), (*(wall.point(a) - wall.point(b)), 0), (0, 0, z1 - z0))
                piece.add(face._replace(uv=face.uv * [-1, 1] + [b, z0]), paint)
        if skirt is not None and not any(low < 0.1 for low, _ in holes):
            strip(piece, wall, a, b, skirt)
    for o in wall.openings:
        if o.depth > 0:
            jamb(piece, wall, o.at - o.width / 2, o.at + o.width / 2, o.low, o.high, o.depth, paint)
    return piece


def strip(piece: Piece, wall: Wall, a: float, b: float, material: Material) -> None:
    """A skirting board, 8 cm high."""
    p, along, out = wall.point(a), wall.along * (b - a), wall.inward * 0.014
    face = np.array([*(p + out + along), 0.0])
    piece.add(panel(face, (*-along, 0), (0, 0, 0.08)), material)
    piece.add(panel((*(p + out + along), 0.08), (*-along, 0), (*-out, 0)), material)


def jamb(piece: Piece, wall: Wall, a: float, b: float, z0: float, z1: float, depth: float, material: Material) -> None:
    """The four inner faces of a hole that reaches `depth` into the wall."""
    back = -wall.inward * depth
    left, right, up = (*wall.point(a), z0), (*wall.point(b), z0), (0, 0, z1 - z0)
    width = (*(wall.point(b) - wall.point(a)), 0)
    deep = (*back, 0)
    piece.add(panel(left, up, deep), material)
    piece.add(panel(right, deep, up), material)
    piece.add(panel((*wall.point(a), z1), width, deep), material)
    if z0 > 0.02:
        piece.add(panel(left, deep, width), material)
