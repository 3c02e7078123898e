"""A piece: one thing, or several that go together, as surfaces with materials and labels in its own frame."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .materials import Material
from .shapes import Cells, moved


class Part(NamedTuple):
    """A surface of one material that belongs to one thing of the piece."""

    cells: Cells
    material: Material
    thing: int


class Top(NamedTuple):
    """A level rectangle on which things can stand: centre, extent and height in the piece's frame, metres."""

    x: float
    y: float
    width: float
    depth: float
    z: float
    headroom: float = 1.0


class Piece:
    """Something that is put into a room.

    Its frame: x to the right, the back at `+depth / 2`, the front at `-depth / 2`, z up from the floor.

    >>> from msm3d.rooms.shapes import box
    >>> lid = Piece("table", 1.0, 0.5)
    >>> lid.add(box((0, 0, 0.7), (1.0, 0.5, 0.04)), Material(np.ones((2, 3))))
    >>> lid.things, lid.height
    (['table'], 0.72)
    """

    def __init__(self, label: str, width: float, depth: float):
        self.width, self.depth = float(width), float(depth)
        self.things = [label]
        self.parts: list[Part] = []
        self.tops: list[Top] = []

    @property
    def height(self) -> float:
        """Highest point, metres."""
        return round(max(float(part.cells.corners[..., 2].max()) for part in self.parts), 6)

    def add(self, cells: Cells, material: Material, tint: float | None = None, thing: int = 0) -> None:
        """Add a surface; `tint` in 0..1 sets its shade where the material has several."""
        if tint is not None:
            cells = cells._replace(tint=np.full(len(cells.tint), tint))
        self.parts.append(Part(cells, material, thing))

    def name(self, label: str) -> int:
        """A new thing inside of this piece, for `add(..., thing=...)`."""
        self.things.append(label)
        return len(self.things) - 1

    def attach(self, other: "Piece", at: ArrayLike = (0.0, 0.0, 0.0), yaw: float = 0.0, tilt: float = 0.0) -> None:
        """Take over another piece with all of its things, turned and shifted."""
        first = len(self.things)
        self.things += other.things
        self.parts += [Part(moved(p.cells, at, yaw, tilt), p.material, p.thing + first) for p in other.parts]

    def shift(self, offset: ArrayLike) -> None:
        """Move everything added so far within the piece's frame."""
        self.parts = [part._replace(cells=moved(part.cells, offset)) for part in self.parts]

    def surface(
        self, width: float, depth: float, z: float, x: float = 0.0, y: float = 0.0, headroom: float = 1.0
    ) -> None:
        """Declare that things can stand on this rectangle."""
        self.tops.append(Top(x, y, width, depth, z, headroom))
