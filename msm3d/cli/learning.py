"""`msm3d rooms` and `msm3d pretrain`: data to learn from, and learning."""

import argparse
import os
from pathlib import Path
from typing import Any

from .._util.words import count
from . import arguments
from .display import Display


def add(verbs: Any) -> None:
    """Declare the verbs."""
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

    verb = verbs.add_parser(
        "pretrain",
        help="learn features from scans without labels",
        description="Masked Scene Modeling. A run may be interrupted at any moment and goes on with --resume.",
        epilog="example: msm3d pretrain --data rooms:400 -o run; on two GPUs: torchrun --nproc-per-node 2 -m msm3d …",
    )
    verb.add_argument("--data", default="rooms", help="folder of scans, of ScanNet or S3DIS; or rooms:400 (default)")
    verb.add_argument("-o", "--output", required=True, metavar="OUT", help="folder of the run")
    verb.add_argument("--config", default="rooms", help="rooms (default), for a CPU, or scannet, the paper's")
    verb.add_argument(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        help="change a setting, such as steps=2000 or backbone.window=512",
    )
    verb.add_argument("--from", dest="start", help="weights to begin with: release, directory or Hub repository")
    verb.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint, if there is one")
    verb.add_argument("--every", type=arguments.whole(1), default=500, help="steps between checkpoints (default 500)")
    verb.add_argument("--probe", default="rooms:24/12", help="data to watch the run by (default rooms:24/12), or none")
    verb.add_argument(
        "--probe-every", type=arguments.whole(1), default=2000, help="steps between probes (default 2000)"
    )
    verb.add_argument("--threads", type=arguments.whole(1), help="of the processor; all by default")
    arguments.add_device(verb)
    arguments.add_quiet(verb)
    verb.set_defaults(run=_pretrain)


def _rooms(options: argparse.Namespace, display: Display) -> None:
    from ..rooms import write
    from ..rooms.files import complete, target

    folder, seeds = Path(options.output), range(options.first_seed, options.first_seed + options.number)
    there = sum(complete(target(folder, seed, options.layout, options.split)) for seed in seeds)
    kept = f", {there} of them there already" if there else ""
    settings = {name: getattr(options, name) for name in ("first_seed", "layout", "split", "kind", "points", "workers")}
    written = write(options.output, options.number, progress=False if options.quiet else None, **settings)
    display.line(f"{options.output}: {count(len(written), 'room')} of {count(options.points, 'point')}{kept}")


def _pretrain(options: argparse.Namespace, display: Display) -> None:
    from .._util.devices import device_of
    from ..evaluate import open_dataset
    from ..evaluate.judge import judge
    from ..model import load
    from ..pretrain import named, pretrain
    from ..pretrain.sources import scenes
    from ..pretrain.trainer import check_folder

    check_folder(Path(options.output), options.resume)
    config = named(options.config, options.set)
    device = device_of(options.device)
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    settings = {"resume": options.resume, "every": options.every, "judge_every": options.probe_every}
    settings |= {"device": device, "backend": options.backend, "progress": None}
    folder = Path(options.output)
    display.quiet |= os.environ.get("RANK", "0") != "0"  # of several processes one speaks
    display.stage("scans to learn from")
    found = scenes(options.data, folder / "rooms", labels=config.labels > 0)
    network = f"{config.backbone.levels} levels of {', '.join(map(str, config.backbone.channels))} channels"
    display.note(
        f"{folder}: {config.steps:,} steps of {count(config.batch, 'scene')} from {count(len(found), 'scan')} of "
        f"{options.data}; {network}, {config.backbone.voxel_size:g} m voxels, on {device}; "
        f"look at {folder / 'log.jsonl'}, or: tensorboard --logdir {folder}"
    )
    if options.start is not None:
        settings["start"] = load(options.start, device="cpu")
    if options.probe != "none":
        display.stage(f"scans to watch the run by, {options.probe}")
        settings["judge"] = judge(*open_dataset(options.probe))
    display.stage("first step")
    pretrain(found, config, folder, data=Path(options.data).name, **settings)
    display.line(f'{folder}: {config.steps:,} steps; now:  msm3d.load("{folder / "student"}")')
