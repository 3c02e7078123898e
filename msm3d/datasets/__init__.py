"""Scans of the benchmarks, from the folders in which people have them: one module per layout, listed in `layouts`."""

import os
from pathlib import Path

from ..errors import FileError
from .batches import Scans as Scans
from .batches import collate as collate
from .layout import Choice as Choice
from .layout import Layout as Layout
from .layout import layouts as layouts
from .layout import register as register
from .layout import unregister as unregister
from .scenes import Dataset as Dataset
from .scenes import FileScan as FileScan
from .scenes import LabelledScan as LabelledScan
from .scenes import Scan as Scan
from .scenes import Scene as Scene


def open_dataset(
    where: str | os.PathLike[str],
    *,
    classes: str | None = None,
    splits: str | os.PathLike[str] | None = None,
    area: int = 5,
) -> tuple[Dataset, Dataset]:
    """Return the split to learn from and the split to test on; scenes are read when their turn comes.

    >>> train, test = open_dataset("rooms:2")
    >>> len(train), test.classes.names[:2]
    (2, ('wall', 'floor'))

    Args:
        where: one of
            a folder in Pointcept's layout, `train/SCENE/coord.npy` and `val/SCENE/…` (ScanNet, rooms; `test` where
            there is no `val`) or `Area_N/ROOM/coord.npy` (S3DIS);
            ScanNet as it is downloaded, `SCENE/SCENE_vh_clean_2.ply` in it, in `scans`, or in `train` and `val`;
            S3DIS as it is downloaded, `Area_N/ROOM/Annotations/*.txt`;
            "rooms:N" or "rooms:N/M", rooms made on the fly.
        classes: "scannet20", "scannet200", "s3dis" or "rooms" instead of what the files suggest.
        splits: folder with ScanNet's lists scannetv2_train.txt and scannetv2_val.txt and table; by default `where`.
        area: of S3DIS, to test on; the others are to learn from.

    Raises:
        InputError: the classes are unknown.
        FileError: there is no such folder, it is in no layout known here, or a list or split is missing.
    """
    choice = Choice(classes=classes, lists=None if splits is None else Path(splits), area=area)
    place = where if isinstance(where, str) else Path(where)
    known = layouts()
    for layout in known:
        if layout.recognise(place):
            return layout.splits(place, choice)
    if not Path(where).is_dir():
        raise FileError(f"{Path(where)}: is not a folder; give a data set's folder, or rooms:60 for synthetic rooms.")
    *examples, last = [layout.example for layout in known if layout.example]
    good = f"{', '.join(examples)} or {last}"
    raise FileError(f"{Path(where)}: holds no data set known here; give a folder with {good}.")
