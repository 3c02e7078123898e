"""A room: its walls, what has been placed, and the ways to place a piece."""

import numpy as np

from .layout import Footprint, Opening, Placed, Wall, overlap
from .materials import Palette
from .pieces import Piece, Top
from .shapes import rotation


class Room:
    """One room: a rectangle, perhaps with one corner cut out, its walls and what has been placed.

    Args:
        origin: lower left corner, metres.
        size: extent in x and y, metres.
        ceiling: height, metres.
        notch: extent of the corner that is cut out at (max x, max y), or zeros.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        palette: Palette,
        origin: np.ndarray,
        size: np.ndarray,
        ceiling: float,
        notch: tuple[float, float] = (0.0, 0.0),
    ):
        self.rng, self.palette, self.ceiling = rng, palette, float(ceiling)
        self.origin, self.size, self.notch = np.asarray(origin, float), np.asarray(size, float), notch
        w, d = self.size
        a, b = notch
        outline = (
            [(0, 0), (w, 0), (w, d - b), (w - a, d - b), (w - a, d), (0, d)]
            if a > 0
            else [(0, 0), (w, 0), (w, d), (0, d)]
        )
        points = np.array(outline) + self.origin
        self.walls = [Wall(p, q) for p, q in zip(points, np.roll(points, -1, 0), strict=True)]
        self.placed: list[Placed] = []
        self.kept: list[Footprint] = []
        """Floor in front of cupboards and beds, where only what belongs to them may stand."""
        self.exits: list[Footprint] = []
        """Floor in front of doors and windows, where nothing may stand."""
        if a > 0:
            x, y = self.origin + self.size - np.array(notch) / 2
            self.pillar = Footprint(x, y, a / 2, b / 2, 0.0, 0.0, 9.0)
        else:
            self.pillar = None

    @property
    def area(self) -> float:
        """Square metres of floor."""
        return float(np.prod(self.size) - np.prod(self.notch))

    def floor_parts(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The floor as rectangles: corner and extent."""
        (w, d), (a, b) = self.size, self.notch
        if a == 0:
            return [(self.origin, self.size)]
        return [(self.origin, np.array([w, d - b])), (self.origin + np.array([0, d - b]), np.array([w - a, b]))]

    def inside(self, footprint: Footprint, margin: float = 0.0) -> bool:
        """Whether a block lies within the walls."""
        corners = footprint.corners() - self.origin
        if (corners < margin - 1e-6).any() or (corners > self.size - margin + 1e-6).any():
            return False
        return self.pillar is None or not overlap(footprint, self.pillar)

    def free(self, footprint: Footprint, *, pad: float = 0.0, keep: bool = True, ignore: Piece | None = None) -> bool:
        """Whether a block can stand here: within the walls, `pad` off other things, off the floor to be kept."""
        if not self.inside(footprint):
            return False
        wide = footprint._replace(half_width=footprint.half_width + pad, half_depth=footprint.half_depth + pad)
        others = [p.footprint for p in self.placed if p.footprint is not None and p.piece is not ignore]
        others += self.exits
        return not any(overlap(wide, other) for other in (others + self.kept if keep else others))

    def put(
        self, piece: Piece, at: np.ndarray, yaw: float, *, z: float = 0.0, footprint: Footprint | None = None
    ) -> Placed:
        """Place without asking."""
        placed = Placed(piece, np.array([at[0], at[1], z]), yaw, footprint)
        self.placed.append(placed)
        return placed

    def stand(
        self,
        piece: Piece,
        at: np.ndarray,
        yaw: float,
        *,
        pad: float = 0.02,
        keep: bool = True,
        ignore: Piece | None = None,
    ) -> Placed | None:
        """Place on the floor if there is room, `pad` metres of air around it."""
        block = Footprint(at[0], at[1], piece.width / 2, piece.depth / 2, yaw, 0.0, piece.height)
        return (
            self.put(piece, at, yaw, footprint=block) if self.free(block, pad=pad, keep=keep, ignore=ignore) else None
        )

    def against(
        self,
        piece: Piece,
        *,
        clear: float = 0.5,
        gap: float = 0.03,
        corner: float = 0.3,
        tries: int = 24,
        wall: Wall | None = None,
        at: float | None = None,
    ) -> Placed | None:
        """Place with the back to a wall, `clear` metres in front of it kept free; None where nothing fits.

        `corner` is the chance to go right into a corner; `wall` and `at` fix the place.
        """
        rng = self.rng
        for _ in range(tries if at is None else 1):
            chosen = wall or self.walls[rng.choice(len(self.walls), p=self._lengths())]
            spare = chosen.length - piece.width - 0.04
            if spare < 0:
                continue
            t = (
                at
                if at is not None
                else piece.width / 2
                + 0.02
                + (rng.choice([0.0, spare]) if rng.random() < corner else rng.uniform(0, spare))
            )
            if chosen.blocked(t, piece.width, 0.0, piece.height):
                continue
            off = gap * rng.uniform(0.2, 1.0)
            spot = chosen.point(t, piece.depth / 2 + off)
            front = chosen.point(t, piece.depth + off + clear / 2)
            kept = Footprint(front[0], front[1], piece.width / 2, clear / 2, chosen.yaw)
            solid = [p.footprint for p in self.placed if p.footprint is not None]
            if clear and any(overlap(kept, other) for other in solid):
                continue
            placed = self.stand(piece, spot, chosen.yaw + rng.uniform(-1, 1) * off / piece.width, pad=0.01)
            if placed is not None:
                if clear:
                    self.kept.append(kept)
                chosen.hung.append((t - piece.width / 2, t + piece.width / 2, 0.0, piece.height))
                return placed
        return None

    def _lengths(self) -> np.ndarray:
        lengths = np.array([wall.length for wall in self.walls])
        return lengths / lengths.sum()

    def anywhere(
        self, piece: Piece, *, tries: int = 24, margin: float = 0.3, turn: float | None = None
    ) -> Placed | None:
        """Place somewhere on the floor, `margin` metres off the walls, mostly parallel to them."""
        rng = self.rng
        for _ in range(tries):
            yaw = turn if turn is not None else rng.integers(4) * np.pi / 2 + rng.normal(0, 0.05)
            c, s = abs(np.cos(yaw)), abs(np.sin(yaw))
            reach = np.array([c * piece.width + s * piece.depth, s * piece.width + c * piece.depth]) / 2
            low, high = self.origin + reach + margin, self.origin + self.size - reach - margin
            if (high <= low).any():
                low, high = self.origin + 0.1, self.origin + self.size - 0.1
            placed = self.stand(piece, rng.uniform(low, high), float(yaw), pad=0.05)
            if placed is not None:
                return placed
        return None

    def hang(
        self,
        piece: Piece,
        *,
        low: float,
        high: float,
        tries: int = 16,
        wall: Wall | None = None,
        at: float | None = None,
    ) -> tuple[Wall, float] | None:
        """Fix to a wall, between two heights, where nothing else is."""
        rng = self.rng
        for _ in range(tries if at is None else 1):
            chosen = wall or self.walls[rng.choice(len(self.walls), p=self._lengths())]
            spare = chosen.length - piece.width - 0.1
            if spare < 0:
                continue
            t = at if at is not None else piece.width / 2 + 0.05 + rng.uniform(0, spare)
            if chosen.blocked(t, piece.width, low, high):
                continue
            chosen.hung.append((t - piece.width / 2 - 0.03, t + piece.width / 2 + 0.03, low, high))
            self.put(piece, chosen.point(t, 0.003), chosen.yaw)
            return chosen, t
        return None

    def opening(
        self,
        width: float,
        low: float,
        high: float,
        depth: float,
        *,
        wall: Wall | None = None,
        at: float | None = None,
        tries: int = 24,
    ) -> tuple[Wall, Opening] | None:
        """Cut a hole into a wall; nothing may hang there and, for a door, the floor before it becomes kept floor."""
        rng = self.rng
        for _ in range(tries if at is None else 1):
            chosen = wall or self.walls[rng.choice(len(self.walls), p=self._lengths())]
            if (chosen.shared and at is None) or chosen.length < width + 0.4:
                continue
            t = at if at is not None else rng.uniform(width / 2 + 0.15, chosen.length - width / 2 - 0.15)
            if chosen.blocked(t, width + 0.2, 0.0, self.ceiling):
                continue
            hole = Opening(float(t), width, low, high, depth)
            chosen.openings.append(hole)
            return chosen, hole
        return None

    def stretches(self, wall: Wall, low: float, high: float) -> list[tuple[float, float]]:
        """Free lengths of a wall between two heights, longest first, as (from, to)."""
        holes = [
            (o.at - o.width / 2 - 0.1, o.at + o.width / 2 + 0.1) for o in wall.openings if o.low < high and o.high > low
        ]
        holes += [(a, b) for a, b, z0, z1 in wall.hung if z0 < high and z1 > low]
        free, edge = [], 0.0
        for a, b in sorted([*holes, (wall.length, wall.length)]):
            if a - edge > 0.1:
                free.append((edge, a))
            edge = max(edge, b)
        return sorted(free, key=lambda span: span[0] - span[1])

    def keep(self, wall: Wall, at: float, width: float, deep: float) -> None:
        """Keep the floor in front of a stretch of wall free."""
        x, y = wall.point(at, deep / 2)
        self.exits.append(Footprint(x, y, width / 2, deep / 2, wall.yaw))

    def place_of(self, placed: Placed, x: float, y: float) -> np.ndarray:
        """Room coordinates (2,) of a point in a placed piece's frame."""
        return (rotation(placed.yaw) @ [x, y, 0.0])[:2] + placed.at[:2]

    def on_top(self, base: Placed, top: Top, pieces: list[Piece], *, turn: float = 0.3) -> None:
        """Stand small pieces on a top of a placed one, off each other; those that do not fit are left out."""
        rng, taken = self.rng, []
        for piece in pieces:
            if piece.height > top.headroom:
                continue
            w, d = piece.width / 2, piece.depth / 2
            for _ in range(8):
                if top.width < 2 * w or top.depth < 2 * d:
                    break
                x, y = rng.uniform(-1, 1) * (top.width / 2 - w), rng.uniform(-1, 1) * (top.depth / 2 - d)
                block = Footprint(x, y, w, d, 0.0)
                if any(overlap(block, other) for other in taken):
                    continue
                taken.append(block)
                at = self.place_of(base, top.x + x, top.y + y)
                self.put(piece, at, base.yaw + rng.normal(0, turn), z=base.at[2] + top.z)
                break
