"""Pointcept's preprocessed layout: a folder per scene, an NPY file per field. `msm3d rooms` writes it too."""

import re
from functools import partial
from pathlib import Path

from .._util.words import option
from ..errors import FileError
from ..io import read_folder
from ..scan.cloud import PointCloud
from . import s3dis
from .classes import S3DIS, ClassList, class_list
from .layout import Choice, Layout, learning_root
from .scenes import Dataset, Scene, array, cloud, folders, labelled

SEGMENTS = {
    "scannet20": ("segment20.npy", "segment.npy"),
    "scannet200": ("segment200.npy", "segment.npy"),
    "s3dis": ("segment.npy",),
    "rooms": ("segment.npy", "segment20.npy"),
}
"""The file of labels for each list of classes; the first that is there is taken."""


def read(folder: Path, classes: ClassList) -> PointCloud:
    """Return the scene in a folder.

    It holds coord.npy (n, 3) metres, color.npy (n, 3) 0-255, normal.npy (n, 3), labels as in `SEGMENTS` (n,) and
    instance.npy (n,), -1 for none. Normals and instances may be missing.
    """
    coord = array(folder / "coord.npy", None, 3)
    rows = ("coord.npy", len(coord))
    names = SEGMENTS[classes.name]
    segment = next((folder / name for name in names if (folder / name).is_file()), None)
    if segment is None:
        there = ", ".join(sorted(path.name for path in folder.glob("segment*.npy"))) or "no labels at all"
        raise FileError(
            f"{folder / names[0]}: does not exist, and there is {there}; labels are needed, "
            f"in a scene of a labelled split and with {option('classes')} as they were made."
        )
    found = {"coord": coord, "color": array(folder / "color.npy", rows, 3)}
    found["segment"] = labelled(segment, array(segment, rows, None), classes)
    for name, width in (("normal", 3), ("instance", None)):
        if (folder / f"{name}.npy").is_file():
            found[name] = array(folder / f"{name}.npy", rows, width)
    return cloud(folder, **found)


def _splits(where: str | Path, choice: Choice) -> tuple[Dataset, Dataset]:
    root = Path(where)
    train, test = folders(root / "train", "*"), folders(root / "val", "*") or folders(root / "test", "*")
    for name, found in (("train", train), ("val", test)):
        if not found:
            raise FileError(
                f"{root / name}: holds no scenes; "
                "move some of the others there (`msm3d rooms -n 10` fills train and val)."
            )
    guessed = "scannet20" if (train[0] / "segment20.npy").is_file() else "rooms"
    classes = class_list(guessed if choice.classes is None else choice.classes)
    title = "scannet" if re.fullmatch(r"scene\d{4}_\d{2}", train[0].name) else root.resolve().name

    def split(scenes: list[Path]) -> Dataset:
        scans = (Scene(scene.name, partial(read, scene, classes)) for scene in scenes)
        return Dataset(title, scenes[0].parent.name, classes, tuple(scans))

    return split(train), split(test)


def _scans(folder: Path, labels: bool) -> list[Scene]:
    """Return all scenes at any depth, but those of S3DIS's area to test on."""
    root = learning_root(folder)
    found = sorted(path.parent for path in root.rglob("coord.npy") if s3dis.TEST_AREA not in path.parts)
    more = ["segment20", "instance"] if labels else []
    return [Scene(path.relative_to(root).as_posix(), partial(read_folder, path, more=more)) for path in found]


AREAS = Layout(
    title="S3DIS in Pointcept's layout",
    example="Area_1/ROOM/coord.npy",
    recognise=lambda where: bool(folders(Path(where), "Area_*")),
    splits=partial(s3dis.by_area, marker="coord.npy", read=partial(read, classes=S3DIS)),
)
LAYOUT = Layout(
    title="Pointcept's layout: ScanNet, rooms",
    example="train/SCENE/coord.npy",
    recognise=lambda where: any(Path(where).glob("*/*/coord.npy")),
    splits=_splits,
    scans=_scans,
)
