"""What a data set is: named scans that are read when their turn comes, and the classes of their labels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .._util.words import option
from ..errors import FileError, InputError
from ..scan.cloud import PointCloud
from .classes import IGNORE, ClassList


class Scan(Protocol):
    """A scan that is somewhere else until it is read; anything with these two will do."""

    @property
    def name(self) -> str:
        """The name of the scan, the same on every machine."""
        ...

    @property
    def read(self) -> Callable[[], PointCloud]:
        """The function that returns the cloud."""
        ...


@dataclass(frozen=True)
class Scene:
    """A scan that is somewhere else until `read`."""

    name: str
    """Of a labelled scan unique within its split, and part of file names: letters, digits, `-`, `_` and `.`; of a scan
    on disk to learn from without labels its path below the folder."""
    read: Callable[[], PointCloud] = field(repr=False)
    """Return the cloud; of a labelled scan with `segment`, -1 where nothing is judged, and any `instance`."""
    source: str = ""
    """Where it comes from, of scans from several places that are learned from together."""


FileScan = LabelledScan = Scene  # by what is expected of it


@dataclass(frozen=True)
class Dataset:
    """One split of a data set; iterating reads scene after scene.

    >>> from msm3d.evaluate import SCANNET20
    >>> cloud = PointCloud.of({"coord": np.zeros((2, 3)), "segment": np.array([0, -1])})
    >>> scans = Scene("a", lambda: cloud), Scene("b", lambda: cloud)
    >>> split = Dataset("mine", "train", SCANNET20, scans)
    >>> [(name, len(cloud)) for name, cloud in split], [scene.name for scene in split.only(["b"]).scenes]
    ([('a', 2), ('b', 2)], ['b'])
    """

    name: str  # of the data set, such as "scannet"
    split: str  # such as "train" or "Area 5"
    classes: ClassList  # what the labels mean
    scenes: tuple[Scene, ...]  # in the order of their names

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self.scenes)

    def __iter__(self) -> Iterator[tuple[str, PointCloud]]:
        """Yield name and cloud of each scene."""
        for scene in self.scenes:
            yield scene.name, scene.read()

    def only(self, names: list[str]) -> "Dataset":
        """Return the split with some of its scenes alone, such as an official list of few; other names are refused."""
        known = {scene.name: scene for scene in self.scenes}
        for name in names:
            if name not in known:
                first = self.scenes[0].name
                raise InputError(f"{self.name} {self.split} has no scene {name!r}; give names as {first!r}.")
        return replace(self, scenes=tuple(known[name] for name in sorted(set(names))))


def labelled(file: Path, labels: np.ndarray, classes: ClassList) -> np.ndarray:
    """Return the labels of `file` as int64, or say which of them `classes` does not know."""
    labels = labels.astype(np.int64)
    unknown = np.unique(labels[(labels != IGNORE) & ((labels < 0) | (labels >= len(classes)))])
    if len(unknown):
        some = ", ".join(map(str, unknown[:3])) + (", …" if len(unknown) > 3 else "")
        raise FileError(
            f"{file}: holds the labels {some}, but {classes.name} has 0 to {len(classes) - 1}, and -1 for none; "
            f"pass {option('classes')} as the file was made."
        )
    return labels


def array(file: Path, rows: tuple[str, int] | None, width: int | None) -> np.ndarray:
    """Return the array of an NPY file, never unpickled: as many `rows` as the file of that name has, if it is given,
    and `width` columns, or one value per row for None."""
    if not file.is_file():
        raise FileError(f"{file}: does not exist; check that the scene is complete.")
    try:
        values = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise FileError(f"{file}: is not a readable NPY file ({reason}); make it again.") from error
    if width is None and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    shape = () if width is None else (width,)
    if values.dtype.kind not in "iuf" or values.ndim != 1 + len(shape) or values.shape[1:] != shape:
        needed = "(n,) integers" if width is None else f"(n, {width}) numbers"
        raise FileError(f"{file}: has shape {values.shape} and dtype {values.dtype}; {needed} are needed.")
    if width is None and values.dtype.kind == "f" and not np.array_equal(np.rint(values), values):
        raise FileError(f"{file}: has labels that are not integers; make it again.")
    if rows is not None and len(values) != rows[1]:
        raise FileError(f"{file}: has {len(values)} rows, {rows[0]} has {rows[1]}; make the scene again.")
    return values


def cloud(where: Path, **fields: Any) -> PointCloud:
    """Return a cloud of what files hold; what is wrong with it is said of `where`."""
    try:
        return PointCloud.of({name: value for name, value in fields.items() if value is not None})
    except InputError as error:
        raise FileError(f"{where}: {error}") from error


def folders(where: Path, pattern: str) -> list[Path]:
    """Return the folders of a pattern, in the order of their names."""
    return sorted(path for path in where.glob(pattern) if path.is_dir())
