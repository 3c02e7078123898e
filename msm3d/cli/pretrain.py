"""`msm3d pretrain`: learning features from scans without labels."""

import argparse
import os
from pathlib import Path
from typing import Any

from .._util.words import count
from . import arguments
from .arguments import whole
from .display import Display
from .parser import declared


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = "Masked Scene Modeling. A run may be interrupted at any moment and goes on with --resume."
    example = "msm3d pretrain --data rooms:400 -o run; on two GPUs: torchrun --nproc-per-node 2 -m msm3d …"
    verb = declared(verbs, "pretrain", run, "learn features from scans without labels", about, example)
    about = (
        "folder of scans, of ScanNet or S3DIS, or s3://bucket/scans; or rooms:400 (default); several with =SHARE of "
        "the steps: scans=0.2"
    )
    verb.option("--data", about, action="append", metavar="DATA[=SHARE]")
    verb.option("-o --output", "folder of the run", required=True, metavar="OUT")
    verb.option(
        "--cache",
        "how much of the scans in object storage is kept in OUT/fetched, such as 50GB (default 10GB)",
        metavar="SIZE",
    )
    verb.option("--config", "rooms (default), for a CPU, or scannet, the paper's", default="rooms")
    about = "change a setting, such as steps=2000 or backbone.window=512"
    verb.option("--set", about, action="append", metavar="NAME=VALUE")
    verb.option("--from", "weights to begin with: release, directory or Hub repository", dest="start")
    verb.flag("--resume", "go on from the folder's checkpoint, if there is one")
    verb.option("--every", "steps between checkpoints (default 500)", whole(1), default=500)
    verb.option("--probe", "data to watch the run by (default rooms:24/12), or none", default="rooms:24/12")
    verb.option("--probe-every", "steps between probes (default 2000)", whole(1), default=2000)
    arguments.add_threads(verb)
    about = "processes that make scans ready; by default one less than there are cores on a GPU, a thread on a CPU"
    verb.option("--workers", about, whole(0))
    arguments.add_device(verb)
    verb.quiet()


def run(options: argparse.Namespace, display: Display) -> None:
    """Learn features."""
    from .._util import memory
    from .._util.devices import device_of
    from ..evaluate import open_dataset
    from ..evaluate.probing import judge
    from ..io.cached import Cache
    from ..model import load
    from ..pretrain import named, pretrain
    from ..pretrain.sources import CACHE, several
    from ..training import check_folder

    folder = Path(options.output)
    check_folder(folder, options.resume)
    config = named(options.config, options.set)
    device = device_of(options.device)
    arguments.use_threads(options)
    settings = {"resume": options.resume, "every": options.every, "judge_every": options.probe_every}
    settings |= {"device": device, "backend": options.backend, "progress": None}
    settings["workers"] = workers(device.type) if options.workers is None else options.workers
    display.quiet |= os.environ.get("RANK", "0") != "0"  # of several processes one speaks
    display.stage("scans to learn from")
    data = options.data or ["rooms"]
    cache = Cache(folder / "fetched", memory.size(options.cache or CACHE, "--cache"))
    found = several(data, folder / "rooms", labels=config.labels > 0 or config.instances > 0, cache=cache)
    about = ", ".join(data)
    network = f"{config.backbone.levels} levels of {', '.join(map(str, config.backbone.channels))} channels"
    display.note(
        f"{folder}: {config.steps:,} steps of {count(config.batch, 'scene')} from {count(len(found), 'scan')} of "
        f"{about}; {network}, {config.backbone.voxel_size:g} m voxels, on {device}; "
        f"look at {folder / 'log.jsonl'}, or: tensorboard --logdir {folder}"
    )
    if options.start is not None:
        settings["start"] = load(options.start, device="cpu")
        if settings["start"].config.readout:
            display.note(f"{options.start}: the network is learned on; the layers of msm3d adapt are left out")
    if options.probe != "none":
        display.stage(f"scans to watch the run by, {options.probe}")
        settings["judge"] = judge(*open_dataset(options.probe))
    display.stage("first step")
    pretrain(found, config, folder, data=", ".join(Path(one).name for one in data), **settings)
    display.line(f'{folder}: {config.steps:,} steps; now:  msm3d.load("{folder / "student"}")')


def workers(kind: str) -> int:
    """Return how many processes make scans ready for one that trains on a device of a kind: a GPU would wait for one.

    >>> workers("cpu")
    0
    """
    if kind == "cpu":
        return 0
    return max((os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1, 1)
