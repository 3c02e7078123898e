"""`make`: one labelled room from a seed."""

import numpy as np

from .._util.words import require_one_of
from ..errors import InputError, quoted
from ..lifting.view import View
from ..scan.cloud import PointCloud
from .camera import FAR, Sensor
from .classes import KINDS
from .grids import average, cubes
from .noise import Noise
from .photos import Setting, views
from .sampling import sample, within
from .scene import Scene, Surfaces, scene
from .shading import Exposure, glowing, lit, painted, unit
from .ways import DENSER, MIXED, REACH, WALKED, WAYS, finished, measured, resolved

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
    made, rng = furnished(seed, kind, points, way)
    surfaces = made.surfaces()
    return scanned(made, surfaces, points, rng, resolved(way, seed))[0] if scan else bare(surfaces, points, rng)


def photographed(
    seed: int, frames: int, *, kind: str | None = None, points: int = 100_000, way: str = "camera"
) -> tuple[PointCloud, list[View]]:
    """Return the room that `make` makes, to the byte, and what its RGB-D camera saw along the walk.

    >>> room, views = photographed(7, 2, points=3000)
    >>> len(room), [view.image.shape for view in views]
    (3000, [(240, 320, 3), (240, 320, 3)])

    Args:
        seed: as for `make`; likewise `kind` and `points`.
        frames: how many, evenly along the walk; at most as many as it has, about 30 in a room.
        kind: see `seed`.
        points: see `seed`.
        way: of scanning, one with a walk: camera, mesh, phone or sparse.

    Returns:
        The cloud, and views with image (240, 320, 3), depth (240, 320) in metres, 0 where the sensor does not reach,
        pose in the axes of the cloud, and camera. Colours are as bright as each view was exposed.

    Raises:
        InputError: as `make`; a way without a walk; or no frames.
    """
    require_one_of("way", way, WALKED)
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise InputError(f"frames is {quoted(frames)}; give a whole number from 1 on.")
    made, rng = furnished(seed, kind, points, way)
    cloud, setting = scanned(made, made.surfaces(), points, rng, way)
    assert setting is not None, "there was a walk"
    return cloud, views(setting, frames, np.random.default_rng([seed, 2]))


def furnished(seed: int, kind: str | None, points: int, way: str) -> tuple[Scene, np.random.Generator]:
    """The scene of a seed, and the generator that goes on with it; raises InputError where `make` does."""
    if kind is not None:
        require_one_of("kind", kind, KINDS)
    require_one_of("way", way, (*WAYS, MIXED))
    if seed < 0 or points < 1:
        raise InputError(f"seed {seed} and points {points}: give a seed of at least 0 and at least 1 point.")
    rng = np.random.default_rng(seed)
    drawn = KINDS[rng.integers(len(KINDS))]
    return scene(rng, kind or drawn), rng


def bare(surfaces: Surfaces, points: int, rng: np.random.Generator) -> PointCloud:
    """The surfaces themselves, evenly sampled."""
    samples = sample(surfaces.cells, points, rng)
    albedo = painted(surfaces, samples, np.arange(len(samples.cell)), Noise(rng))
    return cloud(
        surfaces, samples.cell, samples.coord, albedo, unit(within(surfaces.cells.normals, samples.cell, samples.place))
    )


def scanned(
    made: Scene, surfaces: Surfaces, points: int, rng: np.random.Generator, way: str
) -> tuple[PointCloud, Setting | None]:
    """The surfaces as they were measured, and of a walk what its pictures need."""
    dense = sample(surfaces.cells, int(points * DENSE * DENSER.get(way, 1)), rng)
    shine = np.array([m.shine + (0.25 if m.colors.mean() < 0.09 else 0.0) for m in surfaces.materials])[
        surfaces.material
    ]
    sensor = Sensor(dense, surfaces.cells, shine, surfaces.thing, rng, REACH.get(way, FAR))
    fused, walked = measured(way, sensor, made.rooms, points, rng)
    point, coord, eye = fused.point, fused.coord, fused.eye
    cell, place = dense.cell[point], dense.place[point]
    normal = unit(within(surfaces.cells.normals, cell, place))
    normal[((eye - coord) * normal).sum(1) < 0] *= -1
    noise = Noise(rng)
    albedo = painted(surfaces, dense, point, noise)
    lamps = lights(made, rng)
    color = lit(albedo, glowing(surfaces, cell), coord, normal, lamps, dense, rng) * fused.gain
    exposure = Exposure.drawn(color, rng)
    color = exposure.render(color, rng)
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
    found = finished(way, found, eye @ turn, rng)
    if walked is None:
        return found, None
    return found, Setting(surfaces, dense, noise, lamps, exposure, turn, walked, fused.gains)


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
