"""Pointcept's preprocessed layout: a folder per scene, an NPY file per field. `msm3d rooms` writes it too."""

from functools import partial
from pathlib import Path

from .._util.words import option
from ..errors import FileError
from ..scan.cloud import PointCloud
from .classes import ClassList, class_list
from .scenes import Scene, array, cloud, labelled

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

    Raises:
        FileError: a file is missing, has a wrong shape or length, or holds unknown labels.
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
    optional = {
        name: array(folder / f"{name}.npy", rows, width)
        for name, width in (("normal", 3), ("instance", None))
        if (folder / f"{name}.npy").is_file()
    }
    return cloud(
        folder,
        coord=coord,
        color=array(folder / "color.npy", rows, 3),
        segment=labelled(segment, array(segment, rows, None), classes),
        **optional,
    )


def scenes(folders: list[Path], classes: ClassList, prefix: bool = False) -> tuple[Scene, ...]:
    """Return the scenes in some folders, named by them, or by the folder above as well with `prefix`."""
    names = [f"{folder.parent.name}-{folder.name}" if prefix else folder.name for folder in folders]
    return tuple(Scene(name, partial(read, folder, classes)) for name, folder in zip(names, folders, strict=True))


def guessed(folder: Path) -> ClassList:
    """Return the classes that a scene's files suggest: those of segment20.npy, else the 20 of rooms."""
    return class_list("scannet20" if (folder / "segment20.npy").is_file() else "rooms")
