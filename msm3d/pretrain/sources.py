"""Scans to learn from: any folder of scans will do, and no label is read unless a run asks for labels."""

import os
from functools import partial
from pathlib import Path

from ..datasets import FileScan, Scan, layouts
from ..datasets.layout import learning_root
from ..datasets.synthetic import is_rooms, numbers
from ..errors import FileError, InputError

ROOMS = 400  # that are made where no number is given; seeds count up from 0


def scenes(where: str | os.PathLike[str], rooms: Path, *, labels: bool = False) -> list[Scan]:
    """Return the scans to learn from, in the order of their names: never those that benchmarks test on.

    Args:
        where: a folder in a layout of `msm3d.datasets.layouts()`: Pointcept's at any depth, of which `train` is taken
            where there is one; ScanNet as it is downloaded, with its list scannetv2_train.txt; S3DIS, of whose areas
            all but the fifth are taken; else a folder of scans in files of `msm3d.io.KINDS`, at any depth; or "rooms"
            or "rooms:N" for synthetic rooms.
        rooms: the folder to write synthetic rooms to; those that are there already are kept.
        labels: read the labels, too, of scenes in Pointcept's layout or S3DIS's.

    Raises:
        FileError: there is no such folder, no scan in it, or the list is missing.
        InputError: `where` names no number of rooms.
    """
    from ..io import KINDS, read

    if is_rooms(where):
        from ..rooms import write

        cure = f"rooms, or rooms:{ROOMS} for as many"
        train, test = numbers(str(where), cure)
        if test is not None:
            raise InputError(f"{where!r} has rooms to test on; give {cure}.")
        write(rooms, train or ROOMS, split="train")
        where = rooms
    folder = Path(where)
    if not folder.is_dir():
        raise FileError(f"{folder}: is not a folder; give one with scans, or rooms:{ROOMS} for synthetic rooms.")
    for layout in layouts():
        if found := layout.scans(folder, labels):
            return list(found)
    root = learning_root(folder)
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in KINDS and path.is_file())
    if not found:
        raise FileError(f"{root}: holds no scans; give a folder of {', '.join(KINDS[:3])}, … files, or rooms:{ROOMS}.")
    return [FileScan(path.relative_to(root).as_posix(), partial(read, path)) for path in found]
