"""Features on disk: a sample of each scene's labelled points, computed once, read memory-mapped."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._util.atomic import refusals, replacing
from ..errors import InputError
from ..scan.cloud import PointCloud
from ..tasks import Task
from ..tasks import task as by_name
from ..tasks.fingerprint import input_hash
from .features import Features, of_scene


@dataclass(frozen=True, eq=False)
class Examples:
    """What a head learns of one scene, in random order: the first k are a sample as well."""

    features: np.ndarray  # (k, c) float16, memory-mapped
    targets: np.ndarray  # (k, ...) what the task asks for; of a segmentation (k,) int64 labels, without any -1

    @property
    def labels(self) -> np.ndarray:
        """The targets of a segmentation."""
        return self.targets


class FeatureCache:
    """A folder of samples, which a second run, or one that was interrupted, goes on with.

    A sample is drawn uniformly from the labelled points of its scene, without replacement, by a generator that is
    seeded with `seed` and the scene's content: it depends on neither the order of the scenes nor on the features.
    300 scenes of 2,000 points and 928 channels take 1.1 GB on disk, and in memory what is being read of them.

    Files are named SCENE.FEATURES.CONTENT.pPOINTS.sSEED.npy, with hashes of what made the features and of the scan,
    so that nothing stale is ever read; they are written whole or not at all. Those of another task than a segmentation
    have its name in theirs. Scenes with fewer labelled points than `points` give all of these.

    Raises:
        InputError: `points` is not positive, or there is a file in the folder's place.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        features: Features,
        *,
        points: int = 2000,
        seed: int = 0,
        task: str | Task = "segmentation",
    ) -> None:
        if points < 1:
            raise InputError(f"points is {points}; give at least 1 point per scene.")
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; give a folder for the features.")
        with refusals(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self.features, self.points, self.seed, self.task = features, points, seed, by_name(task)

    def sample(self, name: str, cloud: PointCloud) -> Examples:
        """Return the sample of a scene, computed unless it is there already.

        Raises:
            InputError: the cloud lacks what the task needs, or has no labels but -1.
        """
        labelled, content = self.task.chosen(name, cloud), input_hash(cloud, self.task.needs)
        safe = re.sub(r"[^\w.-]", "_", name)
        stem = f"{safe}.{self.features.hash}.{content[:20]}.p{self.points}.s{self.seed}"
        stem += "" if self.task.name == "segmentation" else f".{self.task.name}"
        paths = self.folder / f"{stem}.labels.npy", self.folder / f"{stem}.npy"
        found = _read(*paths)
        if found is None:
            chosen = shuffled(labelled, self.seed, content)[: self.points]
            rows, targets = self.task.examples(*of_scene(self.features, name, cloud), cloud, chosen)
            for path, values in zip(paths, (targets, rows), strict=True):
                with replacing(path) as partial, partial.open("wb") as file:
                    np.save(file, values)
            found = _read(*paths)
        assert found is not None, "what was just written can be read"
        return found


def _read(targets_path: Path, path: Path) -> Examples | None:
    """Return what is there, or None unless it is whole."""
    try:
        features, targets = np.load(path, mmap_mode="r"), np.load(targets_path)
    except (OSError, ValueError, EOFError):
        return None
    good = features.ndim == 2 and features.dtype == np.float16 and len(features) == len(targets) > 0
    return Examples(features, targets) if good else None


def shuffled(values: np.ndarray, seed: int, key: str) -> np.ndarray:
    """Return `values` in an order that `seed` and the hexadecimal `key` decide."""
    return np.random.default_rng([seed, int(key[:16], 16)]).permutation(values)
