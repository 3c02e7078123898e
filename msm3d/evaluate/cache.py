"""Features on disk: a sample of each scene's labelled points, computed once, read memory-mapped."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._util.atomic import refusals, replacing
from ..datasets.classes import IGNORE
from ..errors import InputError
from ..scan.cloud import PointCloud
from .features import Features
from .hashes import input_hash


@dataclass(frozen=True, eq=False)
class Sample:
    """Labelled points of one scene, in random order: the first k are a sample as well."""

    features: np.ndarray
    """(k, c) float16, memory-mapped."""
    labels: np.ndarray
    """(k,) int64, without any -1."""


class FeatureCache:
    """A folder of samples, which a second run, or one that was interrupted, goes on with.

    A sample is drawn uniformly from the labelled points of its scene, without replacement, by a generator that is
    seeded with `seed` and the scene's content: it depends on neither the order of the scenes nor on the features.
    300 scenes of 2,000 points and 928 channels take 1.1 GB on disk, and in memory what is being read of them.

    Files are named SCENE.FEATURES.CONTENT.pPOINTS.sSEED.npy, with hashes of what made the features and of the scan,
    so that nothing stale is ever read; they are written whole or not at all.

    Args:
        folder: where to keep them; made if it is not there.
        features: what makes them.
        points: how many per scene; scenes with fewer labelled points give all of these.
        seed: of the draw.

    Raises:
        InputError: `points` is not positive, or there is a file in the folder's place.
    """

    def __init__(
        self, folder: str | os.PathLike[str], features: Features, *, points: int = 2000, seed: int = 0
    ) -> None:
        if points < 1:
            raise InputError(f"points is {points}; give at least 1 point per scene.")
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; give a folder for the features.")
        with refusals(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self.features, self.points, self.seed = features, points, seed

    def sample(self, name: str, cloud: PointCloud) -> Sample:
        """Return the sample of a scene, computed unless it is there already.

        Raises:
            InputError: the cloud has no labels, or none but -1.
        """
        path, labels_path = self._paths(name, cloud)
        chosen = self._chosen(name, cloud)
        assert cloud.segment is not None
        found = self._read(path, labels_path, len(chosen))
        if found is None:
            rows, owner = self.features(cloud)
            for target, values in ((labels_path, cloud.segment[chosen].astype(np.int64)), (path, rows[owner[chosen]])):
                with replacing(target) as partial, partial.open("wb") as file:
                    np.save(file, values)
            found = self._read(path, labels_path, len(chosen))
        assert found is not None, "what was just written can be read"
        return found

    def _paths(self, name: str, cloud: PointCloud) -> tuple[Path, Path]:
        safe = re.sub(r"[^\w.-]", "_", name)
        stem = f"{safe}.{self.features.hash}.{input_hash(cloud)[:20]}.p{self.points}.s{self.seed}"
        return self.folder / f"{stem}.npy", self.folder / f"{stem}.labels.npy"

    def _chosen(self, name: str, cloud: PointCloud) -> np.ndarray:
        """Return the points of the sample, in random order."""
        if cloud.segment is None:
            raise InputError(f"{name} has no labels; give scenes with segment.")
        labelled = np.flatnonzero(cloud.segment != IGNORE)
        if not len(labelled):
            raise InputError(f"{name} has no labelled point, all of its labels are {IGNORE}; leave the scene out.")
        return shuffled(labelled, self.seed, input_hash(cloud))[: self.points]

    def _read(self, path: Path, labels_path: Path, n: int) -> Sample | None:
        """Return what is there, or None unless it is whole."""
        try:
            features, labels = np.load(path, mmap_mode="r"), np.load(labels_path)
        except (OSError, ValueError, EOFError):
            return None
        width = max(block.stop for block in self.features.blocks.values())
        good = features.shape == (n, width) and features.dtype == np.float16 and labels.shape == (n,)
        return Sample(features, labels) if good else None


def shuffled(values: np.ndarray, seed: int, key: str) -> np.ndarray:
    """Return `values` in an order that `seed` and the hexadecimal `key` decide.

    >>> shuffled(np.arange(5), 0, "a1").tolist() == shuffled(np.arange(5), 0, "a1").tolist()
    True
    """
    return np.random.default_rng([seed, int(key[:16], 16)]).permutation(values)
