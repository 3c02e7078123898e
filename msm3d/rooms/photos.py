"""Photos: what the RGB-D camera saw along its walk, as pictures with depth, pose and camera; and folders of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import DependencyError
from ..lifting.view import View
from .camera import FAR, NEAR, VIEW, Front, Sensor, depth_of
from .noise import Noise
from .sampling import Samples, areas, sample, within
from .scan import Walk, depth_noise
from .scene import Surfaces
from .shading import Exposure, glowing, lit, painted, unit

WIDE, HIGH = 320, 240
"""Pixels of a picture."""
FOCAL = WIDE / (2 * VIEW)
CAMERA = (FOCAL, FOCAL, WIDE / 2 - 0.5, HIGH / 2 - 0.5)
"""fx, fy, cx, cy in pixels, whose centres are whole numbers."""
SPACING = 0.01
"""Metres between the samples that are drawn."""
MOST = 4_000_000
"""Samples of a room; larger ones have them further apart."""
SIGHT = 30.0
"""Metres that are in the picture, if not in its depth."""
ACCURACY = 0.001
"""Standard deviation of the depth at 1 m, metres."""
WIDEST = 7
"""Pixels that a sample covers at most, along a side."""
THROUGH = 0.08
"""Metres by which a pixel lies behind most of its neighbours before it counts as a gap between samples."""


NOTHING = np.iinfo(np.int64).max
"""The key of a pixel that shows nothing."""


class Setting(NamedTuple):
    """A scanned scene, and all that its pictures need to look as the scan does."""

    surfaces: Surfaces
    dense: Samples
    """The samples that were scanned, which cast shadows."""
    noise: Noise
    """Of the paint."""
    lamps: tuple[np.ndarray, np.ndarray]
    exposure: Exposure
    turn: np.ndarray
    """(3, 3) by which rows are multiplied, to the heading of the scan."""
    walk: Walk
    gains: np.ndarray
    """(v, 3) of the walk's views."""


class Shot(NamedTuple):
    """What one picture shows, pixel by pixel."""

    pixel: np.ndarray
    """(k,) ascending, of those that show something."""
    point: np.ndarray
    """(k,) the sample in each."""
    depth: np.ndarray
    """(k,) metres ahead."""
    coord: np.ndarray
    """(k, 3) metres."""


def views(setting: Setting, frames: int, rng: np.random.Generator) -> list[View]:
    """What the camera saw at `frames` stops, evenly along the walk, or at all if there are fewer."""
    surfaces, walk = setting.surfaces, setting.walk
    stops = np.unique(np.linspace(0, len(walk.eyes) - 1, frames).round().astype(int))
    count = int(min(areas(surfaces.cells).sum() / SPACING**2, MOST))
    samples = sample(surfaces.cells, count, rng)
    sensor = Sensor(samples, surfaces.cells, np.zeros(len(surfaces.thing)), surfaces.thing, rng, SIGHT)
    shots = [shot(sensor, walk.eyes[stop], walk.axes[stop]) for stop in stops]
    ends = np.cumsum([0, *(len(one.pixel) for one in shots)])
    point, coord = (np.concatenate([getattr(one, name) for one in shots]) for name in ("point", "coord"))
    of = np.repeat(np.arange(len(stops)), np.diff(ends))
    cell = samples.cell[point]
    normal = unit(within(surfaces.cells.normals, cell, samples.place[point]))
    normal[((walk.eyes[stops][of] - coord) * normal).sum(1) < 0] *= -1
    albedo = painted(surfaces, samples, point, setting.noise)
    color = lit(albedo, glowing(surfaces, cell), coord, normal, setting.lamps, setting.dense, rng)
    color = setting.exposure.render(color * setting.gains[stops][of], rng)
    color = (np.clip(color, 0, 1) * 255).round().astype(np.uint8)
    return [
        view(one, color[a:b], setting, stop, rng) for one, a, b, stop in zip(shots, ends, ends[1:], stops, strict=False)
    ]


def view(taken: Shot, color: np.ndarray, setting: Setting, stop: int, rng: np.random.Generator) -> View:
    """The picture of a shot, its depth as the sensor measures it, and the pose in the axes of the scan."""
    image, depth = np.zeros((HIGH * WIDE, 3), np.uint8), np.zeros(HIGH * WIDE)
    image[taken.pixel] = color
    noisy = taken.depth + rng.standard_normal(len(taken.depth)) * depth_noise(taken.depth, ACCURACY)
    depth[taken.pixel] = np.where((noisy > NEAR) & (noisy < FAR), noisy, 0)
    pose = np.eye(4)
    pose[:3, :3] = setting.turn.T @ setting.walk.axes[stop]
    pose[:3, 3] = setting.walk.eyes[stop] @ setting.turn
    return View(pose=pose, camera=CAMERA, image=image.reshape(HIGH, WIDE, 3), depth=depth.reshape(HIGH, WIDE))


def shot(sensor: Sensor, eye: np.ndarray, axes: np.ndarray) -> Shot:
    """What is in the picture from `eye` with the axes of `directed`: in each pixel the nearest sample's surface."""
    front = sensor.front(eye, axes, WIDE, HIGH)
    image = filled(drawn(front, sensor.spacing)).ravel()
    pixel = np.flatnonzero(image != NOTHING)
    point, depth = image[pixel] & 0xFFFFFFFF, depth_of(image[pixel]).astype(float)
    column, row = pixel % WIDE, pixel // WIDE
    ray = np.stack([(column - CAMERA[2]) / FOCAL, (row - CAMERA[3]) / FOCAL, np.ones(len(pixel))], 1) @ axes.T
    normal = sensor.normal[sensor.cell[point]].astype(float)
    with np.errstate(all="ignore"):  # of a surface seen from its edge
        exact = ((sensor.coord[point] - eye) * normal).sum(1) / (ray * normal).sum(1)
    # where the pixel's own ray meets the sample's plane, unless that is beyond the pixel's surroundings
    depth = np.where(np.abs(exact - depth) < 0.05 * depth, exact, depth)
    return Shot(pixel, point, depth, eye + ray * depth[:, None])


def drawn(front: Front, spacing: float) -> np.ndarray:
    """(h, w) keys, depth above and sample below: each sample in its pixel, and around it where nothing else is near.

    Close to the camera samples lie `spacing` metres and so several pixels apart; each fills a square as wide as that.
    """
    code = (front.z.view(np.int32).astype(np.int64) << 32) | front.point
    key, wider = np.full((2, WIDE * HIGH), NOTHING)
    np.minimum.at(key, front.pixel, code)
    size = np.minimum(np.ceil(1.5 * spacing * FOCAL / front.z), WIDEST).astype(np.int64)
    row, column = np.divmod(front.pixel, WIDE)
    for side in range(2, WIDEST + 1):
        rows = np.flatnonzero(size == side)
        for down, right in np.ndindex(side, side):
            y, x = row[rows] + down - side // 2, column[rows] + right - side // 2
            inside = (y >= 0) & (y < HIGH) & (x >= 0) & (x < WIDE)
            np.minimum.at(wider, (y * WIDE + x)[inside], code[rows][inside])
    gap = (key == NOTHING) | (depth_of(wider) < depth_of(key) - THROUGH)
    return np.where(gap, wider, key).reshape(HIGH, WIDE)


def filled(key: np.ndarray) -> np.ndarray:
    """(h, w) keys, depth above and sample below, without the gaps through which what is behind would show."""
    for _ in range(2):
        padded, (high, wide) = np.pad(key, 1, mode="reflect"), key.shape
        around = np.array([padded[i : i + high, j : j + wide] for i, j in np.ndindex(3, 3) if (i, j) != (1, 1)])
        limit = np.where(key == NOTHING, np.inf, depth_of(key)) - THROUGH
        nearer = depth_of(around) < limit  # never where there is nothing, which is NaN
        key = np.where(nearer.sum(0) >= 5, np.where(nearer, around, NOTHING).min(0), key)
    return key


def save(folder: Path, taken: Sequence[View]) -> None:
    """Write views into a new folder, in ScanNet's layout: color, depth (millimetres), pose and intrinsic."""
    from PIL import Image

    for name in ("color", "depth", "pose", "intrinsic"):
        (folder / name).mkdir(parents=True)
    for number, one in enumerate(taken):
        assert one.image is not None
        assert one.depth is not None
        Image.fromarray(one.image).save(folder / "color" / f"{number}.png")
        Image.fromarray(np.rint(one.depth * 1000).astype(np.uint16)).save(folder / "depth" / f"{number}.png")
        np.savetxt(folder / "pose" / f"{number}.txt", one.pose, "%.9f")
    fx, fy, cx, cy = CAMERA
    for name in ("color", "depth"):
        matrix = [[fx, 0, cx, 0], [0, fy, cy, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        np.savetxt(folder / "intrinsic" / f"intrinsic_{name}.txt", matrix, "%.9f")


def require_pictures() -> None:
    """Raise DependencyError, before any work is done, where pictures cannot be written."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise DependencyError('writing frames needs Pillow; type: pip install "msm3d[mesh]".') from error
