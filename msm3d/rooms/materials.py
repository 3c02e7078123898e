"""Materials, and the palette of one room: which woods, fabrics, paints and stones its things are made of."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import patterns
from .noise import Noise

Pattern = Callable[[np.ndarray, np.ndarray, Noise], np.ndarray]


@dataclass(frozen=True, eq=False, slots=True)
class Material:
    """A ramp of colours, a pattern over it, and how the depth sensor sees it."""

    colors: np.ndarray
    """(k, 3) in 0..1, k >= 2."""
    pattern: Pattern = patterns.plain
    scale: float = 1.0
    """Metres of surface in one unit of the pattern."""
    angle: float = 0.0
    """Radians by which the pattern is turned."""
    shine: float = 0.0
    """0..1: the chance that the sensor gets no depth off it at a moderate angle; mirrors and glass are near 1."""
    glow: float = 0.0
    """0..1: how far it is bright by itself: lamps, screens, window panes."""

    def paint(self, uv: np.ndarray, tint: np.ndarray, noise: Noise) -> np.ndarray:
        """Colours (n, 3) in 0..1 of points with texture coordinates `uv` in metres."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        turned = (uv @ np.array([[c, s], [-s, c]])) / self.scale
        where = np.clip(self.pattern(turned, tint, noise), 0, 0.9999) * (len(self.colors) - 1)
        first = where.astype(np.int64)
        part = (where - first)[:, None]
        return self.colors[first] * (1 - part) + self.colors[first + 1] * part


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Red, green and blue in 0..1.

    >>> hsv(0.0, 1.0, 0.5).tolist()
    [0.5, 0.0, 0.0]
    """
    channel = np.array([5.0, 3.0, 1.0]) + hue * 6
    ramp = np.clip(np.minimum(channel % 6, 4 - channel % 6), 0, 1)
    return value - value * saturation * ramp


class Palette:
    """Draws materials that go together in one room."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.woods = [hsv(rng.uniform(0.03, 0.12), rng.uniform(0.15, 0.7), rng.uniform(0.2, 0.9)) for _ in range(2)]
        self.accents = [hsv(rng.random(), rng.uniform(0.15, 0.8), rng.uniform(0.2, 0.9)) for _ in range(3)]
        self.paints = [
            hsv(rng.random(), rng.choice([0.06, 0.16, 0.45], p=[0.5, 0.3, 0.2]) * rng.random(), rng.uniform(0.6, 0.97))
            for _ in range(2)
        ]

    def color(self) -> np.ndarray:
        """A colour of the room, or sometimes any colour, or a grey."""
        rng, draw = self.rng, self.rng.random()
        if draw < 0.35:
            return self.near(self.accents[rng.integers(3)])
        if draw < 0.65:
            return np.clip(np.full(3, rng.uniform(0.06, 0.95)) + rng.normal(0, 0.02, 3), 0, 1)
        return hsv(rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.15, 0.95))

    def near(self, color: np.ndarray, spread: float = 0.05) -> np.ndarray:
        """A colour like the one given."""
        return np.clip(
            color * self.rng.uniform(1 - 3 * spread, 1 + 3 * spread) + self.rng.normal(0, spread / 2, 3), 0, 1
        )

    def ramp(self, color: np.ndarray, contrast: float = 0.25) -> np.ndarray:
        """Two shades of a colour."""
        return np.stack([color, np.clip(color * (1 - contrast), 0, 1)])

    def wood(self, pattern: Pattern | None = None) -> Material:
        """Furniture wood, mostly one of the room's two."""
        rng = self.rng
        base = self.near(self.woods[int(rng.random() < 0.3)])
        if rng.random() < 0.15:
            base = hsv(rng.uniform(0.02, 0.13), rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.95))
        ramp = self.ramp(base, rng.uniform(0.15, 0.5))
        return Material(
            ramp, pattern or patterns.wood, rng.uniform(0.5, 1.6), rng.choice([0, np.pi / 2]), rng.uniform(0, 0.12)
        )

    def lacquer(self) -> Material:
        """Painted wood or laminate."""
        base = self.near(self.paints[0], 0.08) if self.rng.random() < 0.4 else self.color()
        return Material(self.ramp(base, 0.08), shine=self.rng.uniform(0.02, 0.2))

    def body(self) -> Material:
        """What cupboards, desks and shelves are made of."""
        return self.wood() if self.rng.random() < 0.55 else self.lacquer()

    def fabric(self) -> Material:
        """Upholstery, bedding, curtains."""
        rng = self.rng
        base = self.color()
        other = self.color() if rng.random() < 0.6 else np.clip(base * rng.uniform(0.4, 1.6), 0, 1)
        names = ("weave", "weave", "weave", "stripes", "plaid", "blotches", "dots", "checker", "plain")
        name = names[rng.integers(len(names))]
        colors = (
            self.ramp(base, rng.uniform(0.15, 0.4))
            if name in ("weave", "plain")
            else np.stack([base, self.near((base + other) / 2), other])
        )
        scale = {
            "stripes": rng.uniform(0.2, 0.8),
            "plaid": rng.uniform(0.4, 1.2),
            "checker": rng.uniform(0.05, 0.25),
        }.get(name, rng.uniform(0.6, 1.8))
        return Material(colors, getattr(patterns, name), scale, rng.choice([0, np.pi / 2, 0.7]))

    def leather(self) -> Material:
        """Smooth upholstery."""
        base = self.near(hsv(self.rng.uniform(0, 0.1), self.rng.uniform(0, 0.7), self.rng.uniform(0.1, 0.85)))
        return Material(self.ramp(base, 0.2), patterns.worn, 0.4, shine=self.rng.uniform(0.02, 0.15))

    def upholstery(self) -> Material:
        """Fabric, or sometimes leather."""
        return self.fabric() if self.rng.random() < 0.75 else self.leather()

    def metal(self) -> Material:
        """Steel, chrome, brass or black tube."""
        rng = self.rng
        base = np.full(3, rng.uniform(0.45, 0.85)) if rng.random() < 0.6 else np.full(3, rng.uniform(0.04, 0.2))
        if rng.random() < 0.12:
            base = hsv(0.12, 0.5, rng.uniform(0.5, 0.8))
        return Material(self.ramp(self.near(base), 0.3), patterns.worn, 0.2, shine=rng.uniform(0.1, 0.55))

    def plastic(self) -> Material:
        """Moulded plastic of any colour."""
        return Material(self.ramp(self.color(), 0.06), shine=self.rng.uniform(0.0, 0.15))

    def dark(self) -> Material:
        """Black plastic, as of a screen's frame; depth sensors often miss it."""
        return Material(self.ramp(np.full(3, self.rng.uniform(0.03, 0.14)), 0.2), shine=self.rng.uniform(0.1, 0.35))

    def ceramic(self) -> Material:
        """Sanitary ware: mostly white, at times coloured."""
        rng = self.rng
        base = (
            np.full(3, rng.uniform(0.75, 0.97))
            if rng.random() < 0.65
            else hsv(rng.random(), rng.uniform(0.05, 0.5), rng.uniform(0.3, 0.95))
        )
        return Material(self.ramp(self.near(base, 0.02), 0.08), shine=rng.uniform(0.05, 0.3))

    def stone(self) -> Material:
        """Work tops and sills."""
        rng = self.rng
        pattern = (patterns.marble, patterns.speckle, patterns.worn, patterns.plain)[rng.integers(4)]
        base, other = self.near(np.full(3, rng.uniform(0.1, 0.95))), self.color()
        return Material(
            np.stack([base, (base * 0.6 + other * 0.4), other * 0.7]),
            pattern,
            rng.uniform(0.4, 1.2),
            shine=rng.uniform(0.05, 0.3),
        )

    def glass(self) -> Material:
        """Panes: little depth comes back."""
        tone = self.rng.uniform(0.3, 0.95)
        return Material(
            self.ramp(np.array([0.9, 0.97, 1.0]) * tone, 0.2), patterns.worn, 0.8, shine=self.rng.uniform(0.7, 0.97)
        )

    def books(self) -> Material:
        """The backs of books: eight colours."""
        return Material(np.stack([self.color() for _ in range(8)]), patterns.many)

    def picture(self) -> Material:
        """A painting, print or photograph."""
        rng = self.rng
        colors = np.stack([self.color() for _ in range(rng.integers(3, 6))])
        names = (patterns.scene, patterns.scene, patterns.blotches, patterns.marble, patterns.stripes, patterns.text)
        return Material(colors, names[rng.integers(len(names))], rng.uniform(0.5, 1.2), shine=rng.uniform(0, 0.3))

    def paper(self) -> Material:
        """Printed pages."""
        tone = np.full(3, self.rng.uniform(0.7, 0.97))
        return Material(np.stack([tone, tone * 0.95, tone * 0.2]), patterns.text)

    def cardboard(self) -> Material:
        """Packing boxes."""
        return Material(
            self.ramp(hsv(0.09, self.rng.uniform(0.2, 0.5), self.rng.uniform(0.4, 0.8)), 0.15), patterns.worn, 0.3
        )

    def leaves(self) -> Material:
        """Foliage."""
        base = hsv(self.rng.uniform(0.18, 0.42), self.rng.uniform(0.3, 0.8), self.rng.uniform(0.2, 0.6))
        return Material(self.ramp(base, 0.5), patterns.weave)

    def lamp(self) -> Material:
        """A shade that is lit, or not."""
        lit = self.rng.random() < 0.6
        base = hsv(self.rng.uniform(0.08, 0.16), self.rng.uniform(0, 0.35), 0.95) if lit else self.color()
        return Material(self.ramp(base, 0.1), glow=0.7 if lit else 0.0)

    def screen(self) -> Material:
        """A monitor or television: dark, or showing something."""
        if self.rng.random() < 0.5:
            return self.dark()
        colors = np.stack([self.color() for _ in range(3)])
        return Material(colors, patterns.text if self.rng.random() < 0.6 else patterns.scene, 0.7, shine=0.3, glow=0.6)

    def tiling(self) -> Material:
        """Wall or floor tiles with grout."""
        rng = self.rng
        base = self.near(self.paints[1]) if rng.random() < 0.5 else self.color()
        grout = np.clip(base * rng.choice([0.6, 0.75, 1.25]), 0, 1)
        pattern = (patterns.tiles, patterns.tiles, patterns.bricks, patterns.checker)[rng.integers(4)]
        colors = np.stack([base, np.clip(base * 0.9, 0, 1), grout if pattern is not patterns.checker else self.color()])
        return Material(
            colors,
            pattern,
            rng.uniform(0.1, 0.6),
            rng.choice([0, np.pi / 4], p=[0.85, 0.15]),
            shine=rng.uniform(0.02, 0.2),
        )

    def floor(self) -> Material:
        """Boards, parquet, tiles, carpet, stone or linoleum."""
        rng, draw = self.rng, self.rng.random()
        if draw < 0.3:
            wood = self.wood(patterns.planks)
            return Material(wood.colors, patterns.planks, rng.uniform(0.7, 1.4), wood.angle, wood.shine)
        if draw < 0.38:
            return self.wood(patterns.herringbone)
        if draw < 0.58:
            return self.tiling()
        if draw < 0.82:
            return Material(self.ramp(self.color(), rng.uniform(0.2, 0.6)), patterns.carpet, rng.uniform(0.7, 1.5))
        return self.stone() if draw < 0.9 else self.plain_wall()

    def plain_wall(self) -> Material:
        """Paint or plaster, mostly pale."""
        base = self.near(self.paints[self.rng.integers(2)], 0.03) if self.rng.random() < 0.88 else self.color()
        return Material(self.ramp(base, self.rng.uniform(0.03, 0.15)), patterns.worn, self.rng.uniform(0.8, 2.5))

    def wall(self) -> Material:
        """Paint, at times wallpaper, panelling, brick or concrete."""
        rng, draw = self.rng, self.rng.random()
        if draw < 0.75:
            return self.plain_wall()
        if draw < 0.87:
            paper = self.fabric()
            soft = paper.colors * 0.35 + self.paints[0] * 0.65
            return Material(soft, paper.pattern, paper.scale)
        if draw < 0.94:
            base = hsv(rng.uniform(0, 0.08), rng.uniform(0, 0.6), rng.uniform(0.3, 0.85))
            return Material(np.stack([base, base * 0.7, np.full(3, 0.7)]), patterns.bricks, 0.25)
        return self.wood(patterns.planks)
