"""Content hashes: what a result was measured with, and whether two scenes are the same."""

import hashlib

import numpy as np

from ..scan.cloud import PointCloud
from ..tasks.fingerprint import model_hash as model_hash


def scene_hash(cloud: PointCloud) -> str:
    """Return 64 hexadecimal digits of positions and labels: two scenes with the same ones are the same scene.

    >>> cloud = PointCloud.of({"coord": np.zeros((1, 3)), "segment": np.array([4])})
    >>> scene_hash(cloud)[:8]
    '09ba4ca9'
    """
    return _digest(cloud, ("coord", "segment"))


def input_hash(cloud: PointCloud) -> str:
    """Return 64 hexadecimal digits of all that features and their labels come from."""
    return _digest(cloud, ("coord", "color", "normal", "segment"))


def joined_hash(hashes: list[str]) -> str:
    """Return one hash of several, whatever their order."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def _digest(cloud: PointCloud, fields: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in fields:
        values = getattr(cloud, name)
        digest.update(f"{name} {None if values is None else values.shape} ".encode())
        if values is not None:
            values = values.astype(np.int64) if name == "segment" else values
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
