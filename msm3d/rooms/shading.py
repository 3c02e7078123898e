"""How surfaces look: the paint of their materials, the light on them, and how a camera renders both."""

from typing import NamedTuple

import numpy as np

from .grids import average, cubes
from .light import brightness
from .noise import Noise
from .sampling import Samples, within
from .scene import Surfaces


def painted(surfaces: Surfaces, samples: Samples, point: np.ndarray, noise: Noise) -> np.ndarray:
    """(k, 3) colours in 0..1 of the materials at some of the samples."""
    cell = samples.cell[point]
    uv = within(surfaces.cells.uv, cell, samples.place[point])
    tint, number = surfaces.cells.tint[cell], surfaces.material[cell]
    order = np.argsort(number, kind="stable")
    edges = np.searchsorted(number[order], np.arange(len(surfaces.materials) + 1))
    colors = np.empty((len(point), 3))
    for material, a, b in zip(surfaces.materials, edges[:-1], edges[1:], strict=True):
        rows = order[a:b]
        colors[rows] = material.paint(uv[rows], tint[rows], noise)
    return colors


def lit(
    albedo: np.ndarray,
    glow: np.ndarray,
    coord: np.ndarray,
    normal: np.ndarray,
    lamps: tuple[np.ndarray, np.ndarray],
    dense: Samples,
    rng: np.random.Generator,
) -> np.ndarray:
    """(n, 3) what painted points send out that glow (n,) by themselves, under lamps as `lights` gives them."""
    light = brightness(*lamps, dense, coord, normal, rng)
    light = average(light[:, None], *cubes(coord, 0.07))[:, 0]  # lamps are no points: soft shadows
    return albedo * (light * (1 - glow) + glow)[:, None]


def glowing(surfaces: Surfaces, cell: np.ndarray) -> np.ndarray:
    """(n,) how much each cell's material shines by itself, 0..1."""
    return np.array([m.glow for m in surfaces.materials])[surfaces.material[cell]]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; zeros become straight up."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 1e-9, vectors / np.maximum(length, 1e-9), [0.0, 0.0, 1.0])


class Exposure(NamedTuple):
    """How a camera's chip renders a scene: automatic exposure, a cast, paler colours, noise."""

    gain: float
    cast: np.ndarray
    pale: float
    bend: float
    bright: float

    @classmethod
    def drawn(cls, color: np.ndarray, rng: np.random.Generator) -> "Exposure":
        """The exposure that suits colours (n, 3)."""
        gain = rng.uniform(0.28, 0.55) / max(float(color.mean()), 0.05)
        cast = np.exp(rng.normal(0, 0.05, 3))
        return cls(gain, cast, rng.uniform(0.5, 1.05), rng.uniform(0.9, 1.2), rng.uniform(1.05, 1.25))

    def render(self, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(n, 3) as it comes out, about 0..1."""
        color = color * self.gain * self.cast
        grey = color.mean(1, keepdims=True)
        color = grey + (color - grey) * self.pale
        color = 1 - np.exp(-1.6 * np.clip(color, 0, None) ** self.bend)  # highlights bend, they do not clip
        return color * self.bright + rng.normal(0, 0.015, color.shape)
