"""`make`: one labelled room from a seed."""

import numpy as np

from .._util.words import require_one_of
from ..errors import InputError
from ..scan.cloud import PointCloud
from .camera import FAR, Sensor
from .classes import KINDS
from .grids import average, cubes
from .light import brightness
from .noise import Noise
from .sampling import Samples, sample, within
from .scene import Scene, Surfaces, scene
from .ways import DENSER, MIXED, REACH, WAYS, finished, measured, resolved

DENSE = 3.5
"""Samples on all surfaces for each point of the scan."""


def make(
    seed: int, *, kind: str | None = None, points: int = 100_000, scan: bool = True, way: str = "camera"
) -> PointCloud:
    """A furnished, labelled indoor scene as a scanner would see it; the same arguments give the same bytes.

    >>> room = make(7, kind="bathroom", points=20_000)
    >>> room.coord.shape, bool((room.segment == 16).any())
    ((20000, 3), True)

    Args:
        seed: any integer from 0.
        kind: one of `KINDS`; None draws one.
        points: how many points to keep; a scan that measured fewer has fewer.
        scan: False gives the bare surfaces, evenly sampled from all sides, without noise, holes or light.
        way: of scanning, one of `WAYS`, or "mixed" for one that the seed draws; the room is the same in all. Normals
            are estimated where such scanners give none: phone, laser, frame and sparse.

    Returns:
        Metres, z up, the floor at about 0 and any heading; colours 0-255; normals towards the camera; `segment` the
        id in `CLASSES`, or 20 (`OTHER`) for ceiling and clutter; `instance` one id for each thing, from 0.

    Raises:
        InputError: an unknown kind or way, a negative seed or no points.
    """
    if kind is not None:
        require_one_of("kind", kind, KINDS)
    require_one_of("way", way, (*WAYS, MIXED))
    if seed < 0 or points < 1:
        raise InputError(f"seed {seed} and points {points}: give a seed of at least 0 and at least 1 point.")
    rng = np.random.default_rng(seed)
    drawn = KINDS[rng.integers(len(KINDS))]
    made = scene(rng, kind or drawn)
    surfaces = made.surfaces()
    return scanned(made, surfaces, points, rng, resolved(way, seed)) if scan else bare(surfaces, points, rng)


def bare(surfaces: Surfaces, points: int, rng: np.random.Generator) -> PointCloud:
    """The surfaces themselves, evenly sampled."""
    samples = sample(surfaces.cells, points, rng)
    albedo = painted(surfaces, samples, np.arange(len(samples.cell)), Noise(rng))
    return cloud(
        surfaces, samples.cell, samples.coord, albedo, unit(within(surfaces.cells.normals, samples.cell, samples.place))
    )


def scanned(made: Scene, surfaces: Surfaces, points: int, rng: np.random.Generator, way: str) -> PointCloud:
    """The surfaces as they were measured."""
    dense = sample(surfaces.cells, int(points * DENSE * DENSER.get(way, 1)), rng)
    shine = np.array([m.shine + (0.25 if m.colors.mean() < 0.09 else 0.0) for m in surfaces.materials])[
        surfaces.material
    ]
    sensor = Sensor(dense, surfaces.cells, shine, surfaces.thing, rng, REACH.get(way, FAR))
    fused = measured(way, sensor, made.rooms, points, rng)
    point, coord, eye = fused.point, fused.coord, fused.eye
    cell, place = dense.cell[point], dense.place[point]
    normal = unit(within(surfaces.cells.normals, cell, place))
    normal[((eye - coord) * normal).sum(1) < 0] *= -1
    albedo = painted(surfaces, dense, point, Noise(rng))
    glow = np.array([m.glow for m in surfaces.materials])[surfaces.material[cell]]
    light = brightness(*lights(made, rng), dense, coord, normal, rng)
    light = average(light[:, None], *cubes(coord, 0.07))[:, 0]  # lamps are no points: soft shadows
    color = albedo * (light * (1 - glow) + glow)[:, None] * fused.gain
    color = exposed(color, rng)
    group, size = cubes(coord, rng.uniform(0.02, 0.035))
    blur = rng.uniform(0.2, 0.7)
    color = color * (1 - blur) + average(color, group, size) * blur
    bent = normal + rng.normal(0, rng.uniform(0.03, 0.1), normal.shape)
    normal = unit(bent * (1 - blur) + average(bent, group, size) * blur)
    normal[((eye - coord) * normal).sum(1) < 0] *= -1
    heading = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(heading), np.sin(heading)
    turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])
    found = cloud(surfaces, cell, coord @ turn, np.clip(color, 0, 1), normal @ turn)
    return finished(way, found, eye @ turn, rng)


def exposed(color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, 3) as the camera's chip renders it: automatic exposure, a cast, paler colours, noise."""
    color = color * (rng.uniform(0.28, 0.55) / max(float(color.mean()), 0.05)) * np.exp(rng.normal(0, 0.05, 3))
    grey = color.mean(1, keepdims=True)
    color = grey + (color - grey) * rng.uniform(0.5, 1.05)
    color = 1 - np.exp(-1.6 * np.clip(color, 0, None) ** rng.uniform(0.9, 1.2))  # highlights bend, they do not clip
    return color * rng.uniform(1.05, 1.25) + rng.normal(0, 0.015, color.shape)


def lights(made: Scene, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Where the lamps of the rooms hang and windows let light in, and how strong each is."""
    at, power = [], []
    on = rng.random() < 0.7
    for room in made.rooms:
        for placed in room.placed:
            name = placed.piece.things[0]
            if name == "window" and len(at) < 6:
                inward = np.array([np.sin(placed.yaw), -np.cos(placed.yaw)])
                at.append([*(placed.at[:2] + 0.3 * inward), 1.6])
                power.append(rng.uniform(0.2, 1.0))
        if on or rng.random() < 0.4:
            at.append([*(room.origin + room.size * rng.uniform(0.4, 0.6, 2)), room.ceiling - 0.45])
            power.append(rng.uniform(0.4, 0.9))
    return np.array(at).reshape(-1, 3), np.array(power)


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


def cloud(surfaces: Surfaces, cell: np.ndarray, coord: np.ndarray, color: np.ndarray, normal: np.ndarray) -> PointCloud:
    """The points with the labels of their cells."""
    thing = surfaces.thing[cell]
    return PointCloud(
        coord=coord.astype(np.float64),
        color=(np.clip(color, 0, 1) * 255).astype(np.float32),
        normal=normal.astype(np.float32),
        segment=surfaces.segment[thing],
        instance=thing,
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; zeros become straight up."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 1e-9, vectors / np.maximum(length, 1e-9), [0.0, 0.0, 1.0])
