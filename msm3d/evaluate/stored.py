"""Features that are there already, such as lifted ones: a file for each scene; and several features side by side."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets import Dataset, Scene
from ..datasets.classes import IGNORE
from ..errors import FileError, InputError
from ..io import WRITERS, results
from ..scan.cloud import PointCloud
from .features import Features, finite, of_scene

COUNTS = ".count.npy"
"""The end of the name of a file beside features, with how many frames saw each point (n,)."""


class StoredFeatures:
    """Features in a folder: a file for each scene, named after it, of a kind that `msm3d extract` writes.

    >>> import tempfile
    >>> cloud = PointCloud(coord=np.zeros((3, 3)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "room-1.npy"), np.ones((3, 5), np.float32))
    ...     stored = StoredFeatures(folder, "lifted")
    ...     stored.blocks, stored.of_scene("room-1", cloud)[0].shape
    ({'lifted': slice(0, 5, None)}, (3, 5))

    Row i belongs to point i of the scene. The files may lie in folders below, such as train and val.

    Args:
        folder: of the files; beside NAME.npy, NAME.count.npy may say how many frames saw each point.
        name: for reports; that of the folder by default.

    Raises:
        FileError: there is no such folder, it has no features, or two files of one name.
    """

    levels = False

    def __init__(self, folder: str | os.PathLike[str], name: str | None = None) -> None:
        self.folder = Path(folder)
        self.name = name or self.folder.resolve().name
        if not self.folder.is_dir():
            raise FileError(f"{self.folder}: is not a folder; give one with a file of features for each scene.")
        self._files: dict[str, Path] = {}
        for file in sorted(self.folder.rglob("*")):
            if file.suffix.lower() in WRITERS.suffixes() and file.is_file() and not file.name.endswith(COUNTS):
                if file.stem in self._files:
                    raise FileError(f"{file}: is of the same scene as {self._files[file.stem]}; take one away.")
                self._files[file.stem] = file
        if not self._files:
            raise FileError(f"{self.folder}: holds no features; write them with msm3d lift or msm3d extract.")
        first = next(iter(self._files.values()))
        self.channels = results.features(first).shape[1]
        self.blocks = {self.name: slice(0, self.channels)}
        state = [(name, file.stat().st_size, file.stat().st_mtime_ns) for name, file in self._files.items()]
        self.hash = hashlib.sha256(repr(state).encode()).hexdigest()[:20]
        self._made_by = results.metadata(first)

    def __call__(self, cloud: PointCloud) -> tuple[np.ndarray, np.ndarray]:
        """Raise InputError: a cloud does not say which scene it is; `of_scene` is told."""
        raise InputError(f"{self.name} is stored by scene; give the scene's name, as probe does.")

    def of_scene(self, name: str, cloud: PointCloud) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows (n, c) float16 of a scene, and 0 to n - 1; raise FileError where they are not of it."""
        file = self._file(name)
        found = results.features(file)
        if found.shape != (len(cloud), self.channels):
            rows, channels = found.shape
            raise FileError(
                f"{file}: has {rows} rows of {channels} channels, where {name} has {len(cloud)} points and others "
                f"{self.channels} channels; make it again."
            )
        return finite(self.name, np.asarray(found, dtype=np.float32)), np.arange(len(cloud))

    def describe(self) -> dict[str, Any]:
        """Return name, width, and what the first file says of its making."""
        return {"name": self.name, "channels": self.channels, "stored": len(self._files), "made_by": self._made_by}

    def seen(self, split: Dataset) -> Dataset:
        """Return the split with labels only for points that frames saw: others are neither learned from nor judged.

        This is how features of images have been published [Lexicon3D]; the scores are those of the points in sight.
        """
        scenes = (replace(scene, read=partial(self._in_sight, scene)) for scene in split.scenes)
        return replace(split, scenes=tuple(scenes))

    def _in_sight(self, scene: Scene) -> PointCloud:
        cloud, file = scene.read(), self._file(scene.name)
        counts = file.with_name(f"{file.stem}{COUNTS}")
        try:
            count = np.load(counts, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise FileError(
                f"{counts}: is missing or damaged, and says which points are seen; run msm3d lift again."
            ) from error
        if count.shape != (len(cloud),):
            raise FileError(
                f"{counts}: has shape {count.shape}, {scene.name} has {len(cloud)} points; run msm3d lift again."
            )
        if cloud.segment is None:
            return cloud
        return replace(cloud, segment=np.where(count > 0, cloud.segment, IGNORE))

    def _file(self, name: str) -> Path:
        if name not in self._files:
            some = ", ".join(list(self._files)[:3])
            raise FileError(f"{self.folder}: has no features of {name}, but of {some}; make a file for each scene.")
        return self._files[name]


class JoinedFeatures:
    """Several features side by side: the columns of a row are those of each, and so are the blocks.

    >>> from .features import RawFeatures
    >>> both = JoinedFeatures([RawFeatures(), RawFeatures()])
    >>> both.name, list(both.blocks.values())
    ('raw input + raw input', [slice(0, 7, None), slice(7, 14, None)])

    Args:
        parts: two or more features.
        name: for reports; those of the parts with a plus by default.
    """

    levels = False

    def __init__(self, parts: Sequence[Features], name: str | None = None) -> None:
        if len(parts) < 2:
            raise InputError(f"parts has {len(parts)} of features; give two or more to join.")
        self.parts, self.name = list(parts), name or " + ".join(part.name for part in parts)
        self.hash = hashlib.sha256(" ".join(part.hash for part in parts).encode()).hexdigest()[:20]
        self.blocks, start = dict[str, slice](), 0
        for number, part in enumerate(self.parts):
            for called, columns in part.blocks.items():
                self.blocks[f"{number}: {called}"] = slice(start + columns.start, start + columns.stop)
            start = max(columns.stop for columns in self.blocks.values())
        self.channels = start

    def __call__(self, cloud: PointCloud) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows (n, c) float16, and 0 to n - 1."""
        return self.of_scene("", cloud)

    def of_scene(self, name: str, cloud: PointCloud) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows (n, c) float16 of a scene, and 0 to n - 1."""
        found = [of_scene(part, name, cloud) for part in self.parts]
        return np.concatenate([rows[owner] for rows, owner in found], 1), np.arange(len(cloud))

    def describe(self) -> dict[str, Any]:
        """Return name, width and the parts."""
        parts = [part.describe() for part in self.parts]
        return {"name": self.name, "channels": self.channels, "parts": parts}
