"""`msm3d rooms`: synthetic rooms to learn from."""

import argparse
from pathlib import Path
from typing import Any

from .._util.words import count
from .arguments import one_of, whole
from .display import Display
from .parser import declared


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = "Write labelled rooms as a scanner would see them; the same seed gives the same room."
    verb = declared(verbs, "rooms", run, "make labelled synthetic rooms", about, "msm3d rooms -n 10 -o rooms")
    verb.option("-n --number", "how many", whole(1), required=True)
    verb.option("-o --output", "folder; rooms that are there already are kept", required=True, metavar="OUT")
    verb.option("--first-seed", "the rooms' seeds count up from it (default 0)", whole(0), default=0)
    about = "pointcept (folders of .npy, default) or ply"
    verb.option("--layout", about, one_of("pointcept", "ply"), default="pointcept")
    about = "train, val or test for all; by seed otherwise: 8 of 10 train, 1 val, 1 test"
    verb.option("--split", about, one_of("train", "val", "test"))
    verb.option("--kind", "such as kitchen; mixed by default")
    about = "of scanning: camera (default), mesh, phone, laser, frame, sparse; or mixed, one drawn for each room"
    verb.option("--way", about, default="camera")
    verb.option("--points", "of each room (default 100000)", whole(1), default=100_000)
    about = (
        "pictures with depth and poses of each room, in its folder `frames`, as ScanNet lays them out; none by default"
    )
    verb.option("--frames", about, whole(1), default=0, metavar="N")
    verb.option("--workers", "processes; one for each core by default", whole(1))
    verb.quiet()


def run(options: argparse.Namespace, display: Display) -> None:
    """Write rooms."""
    from ..rooms import write
    from ..rooms.files import complete, target

    folder, seeds = Path(options.output), range(options.first_seed, options.first_seed + options.number)
    there = sum(complete(target(folder, seed, options.layout, options.split)) for seed in seeds)
    kept = f", {there} of them there already" if there else ""
    names = ("first_seed", "layout", "split", "kind", "points", "way", "frames", "workers")
    settings = {name: getattr(options, name) for name in names}
    written = write(options.output, options.number, progress=False if options.quiet else None, **settings)
    display.line(f"{options.output}: {count(len(written), 'room')} of {count(options.points, 'point')}{kept}")
