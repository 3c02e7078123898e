"""Scans to learn from: any folder of scans will do, and no label is read unless a run asks for labels."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..datasets import FileScan, Scan, Scene, layouts
from ..datasets.layout import learning_root
from ..datasets.synthetic import is_rooms, numbers
from ..errors import FileError, InputError

if TYPE_CHECKING:
    from ..io.cached import Cache

CACHE = 10**10  # bytes
ROOMS = 400  # that are made where no number is given; seeds count up from 0


def asked(text: str) -> tuple[str, float | None]:
    """Return where scans are, and their share of the steps where it is given behind `=`.

    >>> asked("rooms:400"), asked("my/scans=0.2")
    (('rooms:400', None), ('my/scans', 0.2))
    """
    where, equals, share = text.rpartition("=")
    try:
        value = float(share) if equals else None
    except ValueError:  # of the path
        value = None
    if value is not None and not 0 < value < 1:
        raise InputError(f"{text!r} asks for a share of {share}; give one within 0 and 1, such as {where}=0.2.")
    return (text, None) if value is None else (where, value)


def several(data: Sequence[str], rooms: Path, *, labels: bool = False, cache: "Cache | None" = None) -> list[Scan]:
    """Return the scans of one place, as `scenes` does, or of several with their shares, see `asked` and `mixture`."""
    parts = [(where, scenes(where, rooms, labels=labels, cache=cache), share) for where, share in map(asked, data)]
    return parts[0][1] if len(parts) == 1 else mixture(parts)


def mixture(sources: Sequence[tuple[str, Sequence[Scan], float | None]]) -> list[Scan]:
    """Return the scans of several sources, each a name, its scans and its share of the steps; None takes what is left.

    Scans of a source with a share larger than its number come several times, and each at least once.

    >>> few, many = ([FileScan(name, lambda: None) for name in names] for names in ("ab", "cdef"))
    >>> [scan.name for scan in mixture([("real", few, 0.5), ("rooms", many, None)])]
    ['real/a', 'real/b', 'real/a', 'real/b', 'rooms/c', 'rooms/d', 'rooms/e', 'rooms/f']

    Raises:
        InputError: shares add up to more than 1, or leave nothing to a source without one.
    """
    given = sum(share for *_, share in sources if share is not None)
    rest = [len(scans) for _, scans, share in sources if share is None]
    if given > 1 + 1e-9 or (rest and given >= 1):
        raise InputError(f"the shares of the sources add up to {given:g}; give less than 1 in all.")
    shares = [share or (1 - given) * len(scans) / sum(rest) for _, scans, share in sources]
    total = max(len(scans) / share for (_, scans, _), share in zip(sources, shares, strict=True))
    return [
        Scene(f"{name}/{scans[i % len(scans)].name}", scans[i % len(scans)].read, name)
        for (name, scans, _), share in zip(sources, shares, strict=True)
        for i in range(max(round(total * share), len(scans)))
    ]


def scenes(
    where: str | os.PathLike[str], rooms: Path, *, labels: bool = False, cache: "Cache | None" = None
) -> list[Scan]:
    """Return the scans to learn from, in the order of their names: never those that benchmarks test on.

    Args:
        where: a folder in a layout of `msm3d.datasets.layouts()`: Pointcept's at any depth, of which `train` is taken
            where there is one; ScanNet as it is downloaded, with its list scannetv2_train.txt; S3DIS, of whose areas
            all but the fifth are taken; else a folder of scans in files of `msm3d.io.KINDS`, at any depth; or "rooms"
            or "rooms:N" for synthetic rooms; or the address of such files in object storage.
        rooms: the folder to write synthetic rooms to; those that are there already are kept.
        labels: read the labels, too, of scenes in Pointcept's layout or S3DIS's.
        cache: where objects of storage lie for a while, and how many bytes of them; beside `rooms`, 10 GB, by default.

    Raises:
        FileError: there is no such folder, no scan in it, or the list is missing.
        InputError: `where` names no number of rooms.
    """
    from ..io import KINDS, read, storage
    from ..io.cached import Cache

    place = storage.place(os.fspath(where))
    if isinstance(place, storage.Remote):
        cache = cache or Cache(rooms.parent / "fetched", CACHE)
        remote = storage.listed(place, KINDS)
        if not remote:
            raise FileError(f"{place}: holds no scans; give an address of {', '.join(KINDS[:3])}, … files.")
        if any(one.name == "coord.npy" for one in remote):
            raise FileError(f"{place}: holds scenes of several files each; write each of them as one .npz file.")
        start = len(place.address.rstrip("/")) + 1
        return [FileScan(one.address[start:] or one.name, partial(cache.read, one, read)) for one in remote]
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
