"""Scans to learn from: any folder of scans will do, and no label is read unless a run asks for labels."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import FileError, InputError
from ..scan.cloud import PointCloud

ROOMS = 400
"""How many rooms are made where no number is given; seeds count up from 0."""
MESH = "_vh_clean_2.ply"
LIST = "scannetv2_train.txt"
TEST_AREA = "Area_5"


@dataclass(frozen=True)
class FileScene:
    """A scan on disk."""

    name: str
    """Its path below the folder, without what all have in common."""
    read: Callable[[], PointCloud]
    """Return the cloud."""


def scenes(where: str | os.PathLike[str], rooms: Path, *, labels: bool = False) -> list[FileScene]:
    """Return the scans to learn from, in the order of their names: never those that benchmarks test on.

    Args:
        where: a folder of scans in files of `msm3d.io.KINDS`, at any depth; one in Pointcept's layout, of which `train`
            is taken where there is one, and of S3DIS's areas all but the fifth; ScanNet as it is downloaded, with its
            list scannetv2_train.txt; or "rooms" or "rooms:N" for synthetic rooms.
        rooms: the folder to write synthetic rooms to; those that are there already are kept.
        labels: read the labels of scenes in Pointcept's layout, too.

    Raises:
        FileError: there is no such folder, no scan in it, or the list is missing.
        InputError: `where` names no number of rooms.
    """
    if isinstance(where, str) and re.match(r"rooms(:|$)", where) and not os.path.isdir(where):
        from ..rooms import write

        match = re.fullmatch(r"rooms(?::([1-9]\d{0,5}))?", where)
        if match is None:
            raise InputError(f"{where!r} names no rooms; give rooms, or rooms:{ROOMS} for as many.")
        write(rooms, int(match[1] or ROOMS), split="train")
        where = rooms
    folder = Path(where)
    if not folder.is_dir():
        raise FileError(f"{folder}: is not a folder; give one with scans, or rooms:{ROOMS} for synthetic rooms.")
    root = folder / "train" if (folder / "train").is_dir() else folder
    if found := sorted(path.parent for path in root.rglob("coord.npy") if TEST_AREA not in path.parts):
        from ..io import read_folder

        read = partial(read_folder, more=["segment20"] if labels else [])
        return [FileScene(path.relative_to(root).as_posix(), partial(read, path)) for path in found]
    if found := sorted(root.rglob(f"*{MESH}")):
        return _scannet(root, found, listed=root == folder)
    return _files(root)


def _scannet(root: Path, meshes: list[Path], listed: bool) -> list[FileScene]:
    from ..io import read

    names = {path.name.removesuffix(MESH): path for path in meshes}
    if listed:
        if not (root / LIST).is_file():
            raise FileError(f"{root / LIST}: does not exist; it names ScanNet's scans to learn from, copy it there.")
        known = set((root / LIST).read_text(encoding="utf-8").split())
        names = {name: path for name, path in names.items() if name in known}
    if not names:
        raise FileError(f"{root}: holds none of the scans of {LIST}; download them there.")
    return [FileScene(name, partial(read, path)) for name, path in names.items()]


def _files(root: Path) -> list[FileScene]:
    from ..io import KINDS, read

    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in KINDS and path.is_file())
    if not found:
        raise FileError(f"{root}: holds no scans; give a folder of {', '.join(KINDS[:3])}, … files, or rooms:{ROOMS}.")
    return [FileScene(path.relative_to(root).as_posix(), partial(read, path)) for path in found]
