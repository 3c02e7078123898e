"""Layouts: how people keep data sets on disk, each declared in a module of its own and listed here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .._util.plugins import installed, tell_unusable
from ..errors import InputError, quoted
from .scenes import Dataset, Scan


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What else `open_dataset` is asked for."""

    classes: str | None = None  # name of the classes instead of what the files suggest
    lists: Path | None = None  # folder of the lists of scans; None is the data set's own
    area: int = 5  # the area of S3DIS to test on


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which people have a data set.

    >>> from msm3d.datasets import open_dataset
    >>> from msm3d.datasets.classes import S3DIS
    >>> def rooms(where, choice):
    ...     return Dataset("mine", "train", S3DIS, ()), Dataset("mine", "test", S3DIS, ())
    >>> mine = register(Layout(title="mine", recognise=lambda where: where == "mine:all", splits=rooms))
    >>> open_dataset("mine:all")[1].split
    'test'
    >>> unregister(mine)
    """

    title: str
    """Such as "ScanNet as it is downloaded"."""
    example: str = ""
    """The path below the data set's folder by which it is recognised, such as `SCENE/SCENE_vh_clean_2.ply`."""
    recognise: Callable[[str | Path], bool]
    """Whether this is such a data set: a folder, which need not exist, or the text that was given."""
    splits: Callable[[str | Path, Choice], tuple[Dataset, Dataset]]
    """Return the labelled split to learn from and the one to test on; called for what was recognised."""
    scans: Callable[[Path, bool], Sequence[Scan]] = lambda folder, labels: ()
    """Return the scans below a folder to learn from without labels, or with them where there are some and the second
    argument asks for them: none where there are none, and never those that the benchmark tests on."""


_REGISTERED: list[Layout] = []


def register(layout: Layout) -> Layout:
    """Make a layout known to this process, tried before those of msm3d; raise InputError if it is not a `Layout`.

    A package that is to be found in every process names its layout in an entry point of the group `msm3d.datasets`.
    """
    if not isinstance(layout, Layout):
        raise InputError(f"{quoted(layout)} is not a layout; give a msm3d.datasets.Layout.")
    _REGISTERED.insert(0, layout)
    return layout


def unregister(layout: Layout) -> None:
    """Undo `register`."""
    _REGISTERED.remove(layout)


def layouts() -> list[Layout]:
    """Return all layouts in the order in which they are tried: registered, of installed packages, of msm3d."""
    from . import pointcept, s3dis, scannet, synthetic

    own = [synthetic.LAYOUT, s3dis.LAYOUT, pointcept.AREAS, pointcept.LAYOUT, scannet.LAYOUT]
    return [*_REGISTERED, *_of_packages(), *own]


@cache
def _of_packages() -> list[Layout]:
    """Return what installed packages offer, but warn of what cannot be used."""
    good = []
    for entry in installed("msm3d.datasets"):
        try:
            found, reason = entry.load(), f"{entry.value} is not a msm3d.datasets.Layout"
        except Exception as error:  # anything may happen in others' code
            found, reason = None, error
        if isinstance(found, Layout):
            good.append(found)
        else:
            tell_unusable("data set", entry, reason)
    return good


def learning_root(folder: Path) -> Path:
    """Return the folder of the scans to learn from: `train` where there is one."""
    return folder / "train" if (folder / "train").is_dir() else folder
