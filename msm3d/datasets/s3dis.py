"""S3DIS as it is downloaded: a folder per room, a text file per object."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import FileError
from ..io import text
from ..io.reading import named
from ..scan.cloud import PointCloud
from .classes import S3DIS
from .layout import Choice, Layout, learning_root
from .scenes import Dataset, Scene, cloud, folders

TEST_AREA = "Area_5"  # the area that benchmarks test on
STAIRS = "stairs"  # a name that is not a class of the benchmark; counted as clutter, as everybody does [Pointcept]


def read(room: Path, labels: bool = True) -> PointCloud:
    """Return the room in a folder `Area_N/name_N`, with or without its labels and objects.

    `Annotations/*.txt` hold an object each, named by its class, with lines x y z r g b in metres and 0-255. Objects
    are numbered in the order of their files' names; rooms are not turned to any axis. There are no normals.
    """
    files = sorted((room / "Annotations").glob("*.txt"))
    if not files:
        raise FileError(f"{room / 'Annotations'}: holds no .txt files; give the rooms of Stanford3dDataset_v1.2.")
    tables, segment = [], []
    for file in files:
        name = file.name.split("_")[0]
        if name not in (*S3DIS.names, STAIRS):
            raise FileError(
                f"{file}: is named after {name!r}, which is not a class of S3DIS: {', '.join(S3DIS.names)}."
            )
        with named(file), file.open("rb") as stream:
            table = text.table(stream, 6, None)
        if not np.isfinite(table).all():
            raise FileError(f"{file}: has a value that is not finite; correct or remove its line.")
        tables.append(table)
        segment.append(S3DIS.names.index("clutter" if name == STAIRS else name))
    coord, color = np.split(np.concatenate(tables), [3], axis=1)
    sizes = [len(table) for table in tables]
    found = {"segment": np.repeat(segment, sizes), "instance": np.repeat(np.arange(len(files)), sizes)}
    return cloud(room, coord=coord, color=np.rint(color).clip(0, 255).astype(np.uint8), **(found if labels else {}))


def by_area(
    where: str | Path, choice: Choice, *, marker: str, read: Callable[[Path], PointCloud]
) -> tuple[Dataset, Dataset]:
    """Return the rooms, which hold the marker, of all other areas, to learn from, and those of one."""
    area, rooms = choice.area, [room for room in folders(Path(where), "Area_*/*") if (room / marker).exists()]
    test = [room for room in rooms if room.parent.name == f"Area_{area}"]
    train = [room for room in rooms if room not in test]
    if not train or not test:
        there = ", ".join(sorted({room.parent.name for room in rooms})) or "no area with rooms"
        raise FileError(f"{Path(where)}: has {there}; Area_{area} to test on and others to learn from are needed.")

    def split(name: str, rooms: list[Path]) -> Dataset:
        scenes = (Scene(f"{room.parent.name}-{room.name}", partial(read, room)) for room in rooms)
        return Dataset("s3dis", name, S3DIS, tuple(scenes))

    return split(f"not Area {area}", train), split(f"Area {area}", test)


def _scans(folder: Path, labels: bool) -> list[Scene]:
    root = learning_root(folder)
    found = (path.parent for path in folders(root, "**/Area_*/*/Annotations"))
    rooms = sorted(room for room in found if TEST_AREA not in room.parts)
    return [Scene(room.relative_to(root).as_posix(), partial(read, room, labels)) for room in rooms]


LAYOUT = Layout(
    title="S3DIS as it is downloaded",
    example="Area_1/ROOM/Annotations",
    recognise=lambda where: any(Path(where).glob("Area_*/*/Annotations")),
    splits=partial(by_area, marker="Annotations", read=read),
    scans=_scans,
)
