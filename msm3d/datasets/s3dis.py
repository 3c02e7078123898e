"""S3DIS as it is downloaded: a folder per room, a text file per object."""

from functools import partial
from pathlib import Path

import numpy as np

from ..errors import FileError
from ..io import text
from ..scan.cloud import PointCloud
from .classes import S3DIS
from .scenes import Scene, cloud

CLUTTER = S3DIS.names.index("clutter")
STAIRS = "stairs"
"""A name in some rooms that is not a class of the benchmark; counted as clutter, as everybody does [Pointcept]."""


def read(room: Path) -> PointCloud:
    """Return the room in a folder `Area_N/name_N`.

    `Annotations/*.txt` hold an object each, named by its class, with lines x y z r g b in metres and 0-255. Objects
    are numbered in the order of their files' names; rooms are not turned to any axis. There are no normals.

    Raises:
        FileError: there are no such files, or one of them has an unknown name or a line that is not six numbers.
    """
    files = sorted((room / "Annotations").glob("*.txt"))
    if not files:
        raise FileError(f"{room / 'Annotations'}: holds no .txt files; give the rooms of Stanford3dDataset_v1.2.")
    points, labels = [], []
    for file in files:
        name = file.name.split("_")[0]
        if name not in S3DIS.names and name != STAIRS:
            raise FileError(
                f"{file}: is named after {name!r}, which is not a class of S3DIS: {', '.join(S3DIS.names)}."
            )
        labels.append(CLUTTER if name == STAIRS else S3DIS.names.index(name))
        points.append(_table(file))
    sizes = [len(table) for table in points]
    table = np.concatenate(points)
    return cloud(
        room,
        coord=table[:, :3],
        color=np.rint(table[:, 3:]).clip(0, 255).astype(np.uint8),
        segment=np.repeat(labels, sizes),
        instance=np.repeat(np.arange(len(files)), sizes),
    )


def scenes(rooms: list[Path]) -> tuple[Scene, ...]:
    """Return some rooms, named by area and room."""
    return tuple(Scene(f"{room.parent.name}-{room.name}", partial(read, room)) for room in rooms)


def _table(file: Path) -> np.ndarray:
    try:
        with file.open("rb") as stream:
            table = text.table(stream, 6, None)
    except FileError as error:
        raise FileError(f"{file}: {error}") from error.__cause__
    if not np.isfinite(table).all():
        raise FileError(f"{file}: has a value that is not finite; correct or remove its line.")
    return table
