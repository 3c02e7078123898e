"""Few labels to learn from: scenes and points that a seed draws, or those of ScanNet's own lists."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from .._util.words import option
from ..datasets import Dataset, Scene
from ..datasets.classes import IGNORE
from ..errors import FileError, InputError, cut
from ..io.arrays import loaded
from ..scan.cloud import PointCloud
from ..tasks.fingerprint import input_hash, scene_hash
from .cache import shuffled
from .protocols import Limit, few_scenes

Labeller = Callable[[str, PointCloud], PointCloud]  # from a scene's name and cloud to the cloud with fewer labels


@dataclass(frozen=True)
class Lists:
    """ScanNet's lists for learning from few labels, in a folder: `scenes/1.txt` names 1 % of the scenes, a line each,
    and `points/points20` holds the numbers of 20 vertices of each scene, a dictionary saved with torch. Other
    percentages and numbers likewise; the files may also lie in the folder itself."""

    folder: Path

    def scenes(self, share: float) -> list[str]:
        """Return the names of the list for a share of the scenes, above 0 and below 1, or raise FileError."""
        file = self._file("scenes", f"{100 * share:g}.txt")
        try:
            names = file.read_text(encoding="utf-8").split()
        except (UnicodeDecodeError, OSError) as error:
            raise FileError(f"{file}: is not a list of scenes ({cut(error)}); give one name a line.") from error
        if not names:
            raise FileError(f"{file}: names no scene; give one name a line.")
        return names

    def points(self, count: int) -> Labeller:
        """Return what leaves a scene, given by name and cloud, the labels of its listed points, and no other.

        It, too, raises FileError: where the list lacks the scene, or the scene a point.
        """
        file = self._file("points", f"points{count}")
        rows = _rows(file)

        def left(name: str, cloud: PointCloud) -> PointCloud:
            if name not in rows:
                raise FileError(f"{file}: has no scene {name!r}; give the list that was made for these scenes.")
            if rows[name].max() >= len(cloud):
                raise FileError(
                    f"{file}: has the vertex {rows[name].max()} of {name}, which has {len(cloud)}; give scenes whose "
                    "points are the vertices of the benchmark's files, in their order."
                )
            return _labelled(cloud, rows[name])

        return left

    def _file(self, kind: str, name: str) -> Path:
        places = [self.folder / kind / name, self.folder / name]
        for place in places:
            if place.is_file():
                return place
        cure = f"give {option('lists')} the folder of such lists, or leave it out"
        raise FileError(f"{places[0]}: does not exist; {cure}.")


def lists_of(folder: str | os.PathLike[str] | None) -> Lists | None:
    """Return the lists in a folder, None for None, or raise FileError where there is no such folder."""
    if folder is not None and not Path(folder).is_dir():
        raise FileError(f"{os.fspath(folder)}: is not a folder; give the one with ScanNet's lists of few labels.")
    return None if folder is None else Lists(Path(folder))


def _rows(file: Path) -> dict[str, np.ndarray]:
    try:
        rows = {str(name): np.asarray(value) for name, value in loaded(file).items()}
    except (FileError, AttributeError, TypeError, ValueError) as error:
        raise FileError(f"{file}: is not a list of points ({cut(error)}); get the benchmark's file again.") from error
    for name, each in rows.items():
        if each.ndim != 1 or not len(each) or each.dtype.kind not in "iu" or each.min() < 0:
            raise FileError(f"{file}: has other things than vertices for {name}; get the benchmark's file again.")
    return {name: each.astype(np.int64) for name, each in rows.items()}


def scenes_of(train: Dataset, share: float, seed: int, lists: Lists | None = None) -> Dataset:
    """Return a share of the scenes, above 0 to 1, by a draw or by a list."""
    if lists is None or share == 1:
        return few_scenes(train, share, seed)
    return train.only(lists.scenes(share))


def with_drawn(name: str, cloud: PointCloud, points: int | None, sample: int, seed: int) -> PointCloud:
    """Return the cloud with the labels that a head learns from of a sample so large, `points` of it, and no other; the
    draw does not depend on the name."""
    chosen = shuffled(np.flatnonzero(_segment(cloud) != IGNORE), 0, input_hash(cloud))[:sample]
    if points is not None and points < len(chosen):
        chosen = chosen[shuffled(np.arange(len(chosen)), seed, scene_hash(cloud))[:points]]
    return _labelled(cloud, chosen)


def limited(train: Dataset, limit: Limit, seed: int, *, sample: int = 2000, lists: Lists | None = None) -> Dataset:
    """Return what of the labels is to be learned from, the same that heads on frozen features learn from.

    >>> from msm3d.evaluate import S3DIS
    >>> scan = PointCloud.of({"coord": np.random.default_rng(0).random((99, 3)), "segment": np.arange(99) % 13})
    >>> train = Dataset("mine", "train", S3DIS, (Scene("a", lambda: scan), Scene("b", lambda: scan)))
    >>> [(name, int((cloud.segment != IGNORE).sum())) for name, cloud in limited(train, (0.5, 20), seed=0)]
    [('a', 20)]

    Args:
        train: labelled scenes.
        limit: share of the scenes, and points of each; None for every label.
        seed: of the draw.
        sample: labelled points of a scene that the points are drawn from.
        lists: instead of a draw.

    Raises:
        InputError: the share is out of range, a list is missing or not of these scenes, or, when it is read, a scene
            has no labels.
    """
    share, points = limit
    train = scenes_of(train, share, seed, lists)
    if points is None:
        return train
    drawn = partial(with_drawn, points=points, sample=sample, seed=seed)
    left = drawn if lists is None else lists.points(points)

    def read(scene: Scene) -> PointCloud:
        cloud = scene.read()
        if cloud.segment is None:
            raise InputError(f"{scene.name} has no labels; give scenes with segment.")
        return left(scene.name, cloud)

    scenes = tuple(replace(one, read=partial(read, one)) for one in train.scenes)
    return replace(train, split=f"{train.split}, {points} {'listed ' if lists else ''}points a scene", scenes=scenes)


def _labelled(cloud: PointCloud, rows: np.ndarray) -> PointCloud:
    segment = np.full_like(_segment(cloud), IGNORE)
    segment[rows] = _segment(cloud)[rows]
    return replace(cloud, segment=segment)


def _segment(cloud: PointCloud) -> np.ndarray:
    assert cloud.segment is not None, "labels are asked for before"
    return cloud.segment
