"""`msm3d rooms`: synthetic rooms to learn from."""

import argparse
from pathlib import Path
from typing import Any

from .._util.words import count
from . import arguments
from .display import Display


def add(verbs: Any) -> None:
    """Declare the verb."""
    verb = verbs.add_parser(
        "rooms",
        help="make labelled synthetic rooms",
        description="Write labelled rooms, scanned as with a hand-held camera; the same seed gives the same room.",
        epilog="example: msm3d rooms -n 10 -o rooms",
    )
    verb.add_argument("-n", "--number", type=arguments.whole(1), required=True, help="how many")
    verb.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="folder; rooms that are there already are kept"
    )
    verb.add_argument(
        "--first-seed", type=arguments.whole(0), default=0, help="the rooms' seeds count up from it (default 0)"
    )
    verb.add_argument(
        "--layout",
        default="pointcept",
        type=arguments.one_of("pointcept", "ply"),
        help="pointcept (folders of .npy, default) or ply",
    )
    verb.add_argument(
        "--split",
        type=arguments.one_of("train", "val", "test"),
        help="train, val or test for all; by seed otherwise: 8 of 10 train, 1 val, 1 test",
    )
    verb.add_argument("--kind", help="such as kitchen; mixed by default")
    verb.add_argument("--points", type=arguments.whole(1), default=100_000, help="of each room (default 100000)")
    verb.add_argument("--workers", type=arguments.whole(1), help="processes; one for each core by default")
    arguments.add_quiet(verb)
    verb.set_defaults(run=_rooms)


def _rooms(options: argparse.Namespace, display: Display) -> None:
    from ..rooms import write
    from ..rooms.files import complete, target

    folder, seeds = Path(options.output), range(options.first_seed, options.first_seed + options.number)
    there = sum(complete(target(folder, seed, options.layout, options.split)) for seed in seeds)
    kept = f", {there} of them there already" if there else ""
    settings = {name: getattr(options, name) for name in ("first_seed", "layout", "split", "kind", "points", "workers")}
    written = write(options.output, options.number, progress=False if options.quiet else None, **settings)
    display.line(f"{options.output}: {count(len(written), 'room')} of {count(options.points, 'point')}{kept}")
