"""Labelled scans of the benchmarks, from the folders in which people have them."""

import os
import re
from pathlib import Path

from ..errors import FileError, InputError
from . import pointcept, s3dis, scannet, synthetic
from .classes import S3DIS, SCANNET20, SCANNET200, class_list
from .scenes import Dataset as Dataset
from .scenes import Scene as Scene
from .scenes import folders


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
            ScanNet as it is downloaded, `SCENE/SCENE_vh_clean_2.ply` in the folder, in `scans` below it, or in
            `train` and `val`;
            S3DIS as it is downloaded, `Area_N/ROOM/Annotations/*.txt`;
            "rooms:N" or "rooms:N/M", rooms made on the fly.
        classes: "scannet20", "scannet200", "s3dis" or "rooms" instead of what the files suggest.
        splits: folder with ScanNet's lists scannetv2_train.txt and scannetv2_val.txt, and its table of names; by
            default `where`.
        area: of S3DIS, to test on; the others are to learn from.

    Raises:
        InputError: the classes are unknown.
        FileError: there is no such folder, it is in no layout known here, or a list or split is missing.
    """
    if isinstance(where, str) and where.startswith("rooms:"):
        return synthetic.splits(where)
    root = Path(where)
    if not root.is_dir():
        raise FileError(f"{root}: is not a folder; give a data set's folder, or rooms:60 for synthetic rooms.")
    if folders(root, "Area_*"):
        return _areas(root, area)
    if any(root.glob("*/*/coord.npy")):
        return _pointcept(root, classes)
    if any(root.glob(f"*/*{scannet.MESH}")) or any(root.glob(f"*/*/*{scannet.MESH}")):
        return _scannet(root, classes or SCANNET20.name, Path(splits or root))
    raise FileError(
        f"{root}: holds no data set known here; give a folder with train/SCENE/coord.npy, Area_1/ROOM/coord.npy, "
        f"Area_1/ROOM/Annotations or SCENE/SCENE{scannet.MESH}."
    )


def _pointcept(root: Path, name: str | None) -> tuple[Dataset, Dataset]:
    train, test = folders(root / "train", "*"), folders(root / "val", "*") or folders(root / "test", "*")
    for split, scenes in (("train", train), ("val", test)):
        if not scenes:
            raise FileError(
                f"{root / split}: holds no scenes; "
                "move some of the others there (`msm3d rooms -n 10` fills train and val)."
            )
    classes = pointcept.guessed(train[0]) if name is None else class_list(name)
    title = "scannet" if re.fullmatch(r"scene\d{4}_\d{2}", train[0].name) else root.resolve().name
    return (
        Dataset(title, "train", classes, pointcept.scenes(train, classes)),
        Dataset(title, test[0].parent.name, classes, pointcept.scenes(test, classes)),
    )


def _areas(root: Path, area: int) -> tuple[Dataset, Dataset]:
    raw = any(root.glob("Area_*/*/Annotations"))
    rooms = [room for room in folders(root, "Area_*/*") if raw or (room / "coord.npy").exists()]
    rooms = [room for room in rooms if not raw or (room / "Annotations").exists()]
    test = [room for room in rooms if room.parent.name == f"Area_{area}"]
    train = [room for room in rooms if room not in test]
    if not train or not test:
        there = ", ".join(sorted({room.parent.name for room in rooms})) or "no area with rooms"
        raise FileError(f"{root}: has {there}; Area_{area} to test on and others to learn from are needed.")
    make = s3dis.scenes if raw else lambda rooms: pointcept.scenes(rooms, S3DIS, prefix=True)
    return Dataset("s3dis", f"not Area {area}", S3DIS, make(train)), Dataset("s3dis", f"Area {area}", S3DIS, make(test))


def _scannet(root: Path, name: str, lists: Path) -> tuple[Dataset, Dataset]:
    if name not in (SCANNET20.name, SCANNET200.name):
        raise InputError(f"classes is {name!r}; ScanNet's own files have {SCANNET20.name} or {SCANNET200.name}.")
    classes, table = class_list(name), lists / scannet.TABLE
    out = []
    for split in ("train", "val"):
        found = {path.parent.name: path.parent for path in root.glob(f"{split}/*/*{scannet.MESH}")}
        if not found:
            scans = root / "scans" if (root / "scans").is_dir() else root
            found = {path.parent.name: path.parent for path in scans.glob(f"*/*{scannet.MESH}")}
            names = set(scannet.split_names(lists / scannet.SPLITS[split]))
            found = {name: folder for name, folder in found.items() if name in names}
        if not found:
            raise FileError(f"{root}: holds no scan of the split {split}; both train and val are needed.")
        scenes = scannet.scenes([found[name] for name in sorted(found)], classes, table)
        out.append(Dataset("scannet", split, classes, scenes))
    return out[0], out[1]
