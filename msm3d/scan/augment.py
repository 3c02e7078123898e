"""What training changes about a scan: turn, mirror, lean, scale, shake and paint. The input stays as it was."""

from dataclasses import dataclass, replace
from math import cos, pi, sin

import numpy as np
import torch

from ..errors import require
from .cloud import PointCloud
from .normals import GREY


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """How much a scan may change, beside any turn about z and mirrors in x and y; MSC's and Sonata's by default."""

    lean: float = 0.0  # largest angle between z and the scene's up, radians
    scale: float = 0.1  # largest relative change of size
    jitter: float = 0.005  # metres, standard deviation of each point's place; cut at twice that
    brightness: float = 0.2  # largest relative gain of all colours together
    tint: float = 0.05  # largest relative gain of each channel on its own
    shade: float = 13.0  # of 255: largest shift of a channel
    noise: float = 6.0  # of 255: standard deviation of each point's colour
    contrast: float = 0.0  # largest relative change of colours' distance from their mean, and of their hue's from grey
    gamma: float = 0.0  # largest change of the logarithm of the exponent of the colours, as cameras differ in it
    grey: float = 0.0  # how often colours lose their hue
    swap: float = 0.0  # how often the channels change places
    no_color: float = 0.0  # how often a scan is as one without colours: all neutral grey
    no_normal: float = 0.0  # how often a scan is as one whose normals are unknown: all zero
    tremble: float = 0.0  # standard deviation added to each component of a normal, whose length is then 1 again

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            most = 1.0 if name in ("scale", "grey", "swap", "no_color", "no_normal") else float("inf")
            require(name, value, 0 <= value <= most, f"within 0 to {most:g}")


def augmented(cloud: PointCloud, generator: torch.Generator, strength: Augmentation = Augmentation()) -> PointCloud:
    """Return a changed copy of a cloud with colour and normal; row i is still the same point."""
    assert cloud.color is not None
    assert cloud.normal is not None
    n = len(cloud)
    turn, mirror = _uniform(generator, 1)[0] * pi, _uniform(generator, 2)
    gain = _uniform(generator, 1)[0] * strength.brightness
    rigid = np.array([[cos(turn), -sin(turn), 0], [sin(turn), cos(turn), 0], [0, 0, 1]])
    rigid = rigid @ np.diag([*np.where(mirror < 0, -1.0, 1.0), 1.0])
    if strength.lean:
        rigid = _leaning(*_uniform(generator, 2) * strength.lean) @ rigid
    shake = _normal(generator, n, strength.jitter).clip(-2 * strength.jitter, 2 * strength.jitter)
    size = 1 + strength.scale * _uniform(generator, 1)[0]
    viewpoint = None if cloud.viewpoint is None else cloud.viewpoint @ rigid.T * size
    coord = cloud.coord @ rigid.T * size + shake
    color = cloud.color * (1 + gain + strength.tint * _uniform(generator, 3)) + strength.shade * _uniform(generator, 3)
    if strength.contrast:
        mean, some = color.mean(), _uniform(generator, 2) * strength.contrast
        color = mean + (color - mean) * (1 + some[0])
        grey = color.mean(1, keepdims=True)
        color = grey + (color - grey) * (1 + some[1])
    if strength.gamma:
        color = 255 * (color.clip(0, 255) / 255) ** np.exp(_uniform(generator, 1)[0] * strength.gamma)
    color = color + _normal(generator, n, strength.noise)
    if _happens(generator, strength.grey):
        color = np.repeat(color.mean(1, keepdims=True), 3, 1)
    if _happens(generator, strength.swap):
        color = color[:, torch.randperm(3, generator=generator).numpy()]
    if _happens(generator, strength.no_color):
        color = np.full_like(color, GREY)
    normal = cloud.normal @ rigid.T
    if strength.tremble:
        normal = normal + _normal(generator, n, strength.tremble)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True).clip(1e-6)
    if _happens(generator, strength.no_normal):
        normal = np.zeros_like(normal)
    color, normal = color.clip(0, 255).astype(np.float32), normal.astype(np.float32)
    return replace(cloud, coord=coord, color=color, normal=normal, viewpoint=viewpoint)


def cropped(cloud: PointCloud, points: int | None, generator: torch.Generator) -> PointCloud:
    """Return the `points` of a cloud that are nearest in x and y to one drawn at random; None keeps all."""
    if points is None or points >= len(cloud):
        return cloud
    return cloud.take(around(cloud, int(torch.randint(len(cloud), (), generator=generator)), points))


def around(cloud: PointCloud, row: int, points: int) -> np.ndarray:
    """Return the rows, ascending, of the `points` of a cloud that are nearest in x and y to the one in `row`."""
    if points >= len(cloud):
        return np.arange(len(cloud))
    distance = np.square(cloud.coord[:, :2] - cloud.coord[row, :2]).sum(1)
    return np.sort(np.argpartition(distance, points - 1)[:points])


def _leaning(x: float, y: float) -> np.ndarray:
    """Return the rotation about x by `x` after that about y by `y`, radians."""
    about_x = np.array([[1, 0, 0], [0, cos(x), -sin(x)], [0, sin(x), cos(x)]])
    return about_x @ np.array([[cos(y), 0, sin(y)], [0, 1, 0], [-sin(y), 0, cos(y)]])


def _happens(generator: torch.Generator, probability: float) -> bool:
    return bool(probability) and float(torch.rand((), generator=generator)) < probability


def _uniform(generator: torch.Generator, n: int) -> np.ndarray:
    """Return n numbers within -1 to 1."""
    return torch.rand(n, generator=generator, dtype=torch.float64).numpy() * 2 - 1


def _normal(generator: torch.Generator, n: int, deviation: float) -> np.ndarray:
    """Return (n, 3) normally distributed numbers."""
    return torch.randn((n, 3), generator=generator).numpy() * deviation
