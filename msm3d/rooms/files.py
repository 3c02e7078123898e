"""`write`: synthetic rooms as files, in the folder layout of Pointcept's preprocessed data or as PLY."""

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from tqdm import tqdm

from .._util.atomic import on_termination, refusals, replacing, staged
from .._util.words import option, require_one_of
from ..errors import FileError, InputError, cut, quoted
from ..lifting.view import View
from ..scan.cloud import PointCloud
from . import photos
from .classes import CLASSES, KINDS, OTHER
from .generator import make, photographed
from .ways import MIXED, WALKED, WAYS

LAYOUTS = ("pointcept", "ply")
SPLITS = ("train", "val", "test")
ARRAYS = ("coord", "color", "normal", "segment20", "instance")


def write(
    directory: str | Path,
    count: int,
    *,
    first_seed: int = 0,
    layout: str = "pointcept",
    split: str | None = None,
    kind: str | None = None,
    points: int = 100_000,
    way: str = "camera",
    frames: int = 0,
    workers: int | None = None,
    progress: bool | None = None,
) -> list[Path]:
    """Make `count` rooms and write each under `directory / split`, skipping those that are already there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.relative_to(folder).as_posix() for path in write(folder, 2, first_seed=7, points=2000, workers=1)]
    ['train/room_000007', 'val/room_000008']

    Args:
        directory: is created; its `rooms.json` remembers the settings, and a later call must repeat them.
        count: how many rooms, 1 at least; their seeds are `first_seed`, `first_seed + 1` and so on.
        first_seed: an integer from 0.
        layout: "pointcept" writes a folder with coord.npy (float32, metres), color.npy (uint8), normal.npy (float32),
            segment20.npy (int16, `other` is -1) and instance.npy (int32); "ply" one binary file with normals, label
            (`other` is 20) and instance.
        split: train, val or test for all; None sends seeds that end in 8 to val, in 9 to test, all others to train.
        kind: one of `KINDS`; None mixes them.
        points: points of each room.
        way: of scanning, one of `WAYS`, or "mixed", see `make`.
        frames: of layout "pointcept", write into each room's folder a folder `frames` with so many pictures of its
            RGB-D camera, see `photographed`, in ScanNet's layout, which `msm3d.io.read_frames` and `msm3d.lift` read.
            Rooms are the same with and without. It needs Pillow.
        workers: processes; None takes one for each core. A script that uses several needs `if __name__ == "__main__":`.
        progress: show a bar; None shows it in a terminal only.

    Returns:
        The folder or file of each room, in the order of the seeds.

    Raises:
        InputError: an unknown layout, split, kind or way, or a number below its least value.
        FileError: the directory holds rooms made with other settings, or cannot be written.
        DependencyError: frames are asked for, and Pillow is not installed.
    """
    require_one_of("layout", layout, LAYOUTS)
    require_one_of("way", way, (*WAYS, MIXED))
    for name, value, known in (("split", split, SPLITS), ("kind", kind, KINDS)):
        if value is not None:
            require_one_of(name, value, known)
    if count < 1 or first_seed < 0 or points < 1:
        raise InputError(f"count {count}, first_seed {first_seed}, points {points}; give at least 1, 0 and 1.")
    _require_frames(frames, layout, way)
    folder = Path(directory)
    settings = {"made by": "msm3d.rooms", "version": 1, "layout": layout, "kind": kind, "points": points}
    # as folders had it before there were ways and frames
    remember(folder, settings | ({} if way == "camera" else {"way": way}) | ({"frames": frames} if frames else {}))
    seeds = range(first_seed, first_seed + count)
    targets = [target(folder, seed, layout, split) for seed in seeds]
    missing = [(seed, path) for seed, path in zip(seeds, targets, strict=True) if not complete(path)]
    job = partial(one, kind=kind, points=points, way=way, frames=frames)
    hidden = None if progress is None else not progress
    with tqdm(total=count, initial=count - len(missing), unit="room", disable=hidden, delay=1) as bar:
        for _ in run(job, missing, workers or os.cpu_count() or 1):
            bar.update()
    return targets


def run(job: partial, missing: list[tuple[int, Path]], workers: int) -> Iterator[None]:
    """Do every job, here or in several processes of one thread each."""
    if min(workers, len(missing)) <= 1:
        for seed, path in missing:
            yield job(seed, path)
        return
    few = min(workers, len(missing))
    with one_thread(), ProcessPoolExecutor(few, get_context("spawn"), end_with_parent) as pool:
        futures = [pool.submit(job, seed, path) for seed, path in missing]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Let this process end, tidily, when the one that started it was killed: else it waits for work for ever."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            while True:  # the first may only end a room
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.5)

    Thread(target=watch, daemon=True).start()


@contextmanager
def one_thread() -> Iterator[None]:
    """Processes started meanwhile use one thread for linear algebra."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def target(folder: Path, seed: int, layout: str, split: str | None) -> Path:
    """Where the room of a seed belongs.

    >>> target(Path("rooms"), 19, "ply", None).as_posix()
    'rooms/test/room_000019.ply'
    """
    part = split or {8: "val", 9: "test"}.get(seed % 10, "train")
    return folder / part / f"room_{seed:06d}{'.ply' if layout == 'ply' else ''}"


def complete(path: Path) -> bool:
    """Whether a room is there with all of its files."""
    return path.is_file() if path.suffix == ".ply" else all((path / f"{name}.npy").is_file() for name in ARRAYS)


def remember(folder: Path, settings: dict) -> None:
    """Keep the settings beside the rooms, or compare them with those kept."""
    kept = folder / "rooms.json"
    if kept.is_file():
        try:
            before = json.loads(kept.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise FileError(f"{kept} cannot be read ({cut(error)}); delete it, or give another directory.") from error
        if not isinstance(before, dict):
            raise FileError(f"{kept} is not of synthetic rooms; delete it, or give another directory.")
        if before != settings:
            changed = ", ".join(f"{key} {before.get(key)!r}" for key in settings if before.get(key) != settings[key])
            raise FileError(f"{folder} holds rooms made with {changed}; use the same settings or another directory.")
        return
    with refusals(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with replacing(kept) as partial:
        partial.write_text(json.dumps(settings, indent=1) + "\n")


def _require_frames(frames: int, layout: str, way: str) -> None:
    """Raise unless frames can be written, if some are asked for."""
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 0:
        raise InputError(f"frames is {quoted(frames)}; give a whole number from 0 on.")
    if not frames:
        return
    if layout != "pointcept":
        raise InputError(
            f"frames go into the folder of a room, which {option('layout', layout)} has not; leave it out."
        )
    if way not in WALKED:
        raise InputError(f"{option('way', way)} has no frames; give one of {', '.join(WALKED)}.")
    photos.require_pictures()


def one(seed: int, path: Path, *, kind: str | None, points: int, way: str, frames: int) -> None:
    """Make one room; it appears under its name only when it is whole."""
    with on_termination():  # it may be a process of its own
        given: dict[str, Any] = {"kind": kind, "points": points, "way": way}
        cloud, views = photographed(seed, frames, **given) if frames else (make(seed, **given), [])
        with refusals(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        keep(path, cloud, views)


def keep(path: Path, cloud: PointCloud, views: Sequence[View] = ()) -> None:
    """Write a room, and what its camera saw, whole or not at all."""
    if path.suffix == ".ply":
        with replacing(path) as partial:
            write_ply(partial, cloud)
        return
    with staged(path) as stage:
        for name, array in arrays(cloud).items():
            np.save(stage / f"{name}.npy", array)
        if views and not (path / "frames").exists():  # of a room that lacks an array
            photos.save(stage / "frames", views)


def arrays(cloud: PointCloud) -> dict[str, np.ndarray]:
    """The arrays of Pointcept's layout."""
    segment = np.asarray(cloud.segment)
    values = (
        cloud.coord.astype(np.float32),
        np.asarray(cloud.color).round().astype(np.uint8),
        np.asarray(cloud.normal).astype(np.float32),
        np.where(segment == OTHER, -1, segment).astype(np.int16),
        np.asarray(cloud.instance).astype(np.int32),
    )
    return dict(zip(ARRAYS, values, strict=True))


def write_ply(path: Path, cloud: PointCloud) -> None:
    """A binary little-endian PLY with x y z, red green blue, nx ny nz, label and instance; comments name the labels."""
    from ..io.layouts import ply

    parts = arrays(cloud)
    columns = {"x y z": parts["coord"], "red green blue": parts["color"], "nx ny nz": parts["normal"]}
    columns |= {"label": np.asarray(cloud.segment).astype(np.uint8), "instance": parts["instance"]}
    ply.write(path, columns, [f"label {i} {name}" for i, name in enumerate((*CLASSES, "other"))])
