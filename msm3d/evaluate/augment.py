"""What training changes about a scan: crop, turn, mirror, scale, shake and paint. The input stays as it was."""

from math import cos, pi, sin

import numpy as np
import torch

from ..points import PointCloud

SCALE = 0.1  # largest relative change of size [MSC's and Sonata's configurations, as are the others]
JITTER = 0.005  # metres, standard deviation; cut at twice that
BRIGHTNESS, TINT = 0.2, 0.05  # largest relative gain of all colours together, and of each channel on its own
SHADE, NOISE = 13.0, 6.0  # of 255: largest shift of a channel, standard deviation per point


def augmented(cloud: PointCloud, generator: torch.Generator, crop: int | None = None) -> PointCloud:
    """Return a changed copy: at most `crop` points around one of them, turned about z and so on.

    Args:
        cloud: with colour and normal.
        generator: of everything random.
        crop: most points to keep: those nearest in x and y to one drawn at random. None keeps all.
    """
    assert cloud.color is not None
    assert cloud.normal is not None
    rows = np.arange(len(cloud))
    if crop is not None and crop < len(cloud):
        middle = cloud.coord[int(torch.randint(len(cloud), (), generator=generator)), :2]
        distance = np.square(cloud.coord[:, :2] - middle).sum(1)
        rows = np.sort(np.argpartition(distance, crop - 1)[:crop])
    turn, mirror, gain = _uniform(generator, 1)[0] * pi, _uniform(generator, 2), _uniform(generator, 1)[0] * BRIGHTNESS
    rigid = np.array([[cos(turn), -sin(turn), 0], [sin(turn), cos(turn), 0], [0, 0, 1]])
    rigid = rigid @ np.diag([*np.where(mirror < 0, -1.0, 1.0), 1.0])
    shake = _normal(generator, len(rows), JITTER).clip(-2 * JITTER, 2 * JITTER)
    coord = cloud.coord[rows] @ rigid.T * (1 + SCALE * _uniform(generator, 1)[0]) + shake
    color = cloud.color[rows] * (1 + gain + TINT * _uniform(generator, 3)) + SHADE * _uniform(generator, 3)
    color = (color + _normal(generator, len(rows), NOISE)).clip(0, 255)
    return PointCloud(
        coord=coord,
        color=color.astype(np.float32),
        normal=(cloud.normal[rows] @ rigid.T).astype(np.float32),
        segment=None if cloud.segment is None else cloud.segment[rows],
        instance=None if cloud.instance is None else cloud.instance[rows],
    )


def _uniform(generator: torch.Generator, n: int) -> np.ndarray:
    """Return n numbers within -1 to 1."""
    return torch.rand(n, generator=generator, dtype=torch.float64).numpy() * 2 - 1


def _normal(generator: torch.Generator, n: int, deviation: float) -> np.ndarray:
    """Return (n, 3) normally distributed numbers."""
    return torch.randn((n, 3), generator=generator, dtype=torch.float64).numpy() * deviation
