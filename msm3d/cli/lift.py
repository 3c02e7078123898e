"""`msm3d lift`: features of pictures to the points of scans."""

import argparse
import os
from pathlib import Path
from typing import Any

from .._util.output_path import require_there
from ..errors import InputError
from . import arguments
from .arguments import SCAN, one_of, whole
from .display import Display
from .outcomes import failures, summary
from .parser import declared


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = (
        "Run a network of images on RGB-D frames with poses, and give each point the mean of what they show "
        "of it. Row i of the result belongs to point i of the scan; NAME.count.npy beside it says how many frames saw "
        "each point. Scan, poses and depth must share their axes and be in metres."
    )
    example = "msm3d lift scan.ply frames -o features.npy, or msm3d lift rooms -o lifted"
    verb = declared(verbs, "lift", run, "features of pictures to points", about, example)
    verb.option("scan", f"a {SCAN}, a folder of RGB-D frames, or a folder of scans", metavar="SCAN")
    about = "folder of RGB-D frames with poses (TUM, ScanNet or Open3D); by default `frames` in the scan's folder"
    verb.option("frames", about, nargs="?", metavar="FRAMES")
    verb.option("-o --output", "{outputs} file; a folder for several scans", required=True, metavar="OUT")
    about = (
        "efficientnet-lite0 (default), or module:function, a function of yours from an image (h, w, 3) to a map of its "
        "features (h', w', c)"
    )
    verb.option("--network", about, default="efficientnet-lite0")
    verb.option("--every", "take each n-th frame only", whole(1), default=1, metavar="N")
    about = "which points a frame sees: usual (depth within 2 cm or 2 %%), or published (within a quarter)"
    verb.option("--rules", about, one_of("usual", "published"), default="usual")
    about = "of frames: even (default), angle, distance or both"
    verb.option("--weights", about, one_of("even", "angle", "distance", "both"), default="even")
    about = "points that no frame sees: nearest (default) takes the features of the nearest one seen, or zeros"
    verb.option("--unseen", about, one_of("nearest", "zeros"), default="nearest")
    about = "of the result: float32 (default) or float16"
    verb.option("--dtype", about, one_of("float32", "float16"), default="float32")
    verb.option("--format", "of the files in a folder: {outputs}; npy by default", arguments.written, default="npy")
    verb.flag("--again", "compute once more what is in the folder already")
    verb.quiet()


def run(options: argparse.Namespace, display: Display) -> int:
    """Lift to every scan; 1 if some of several failed."""
    require_there([options.scan, *([options.frames] if options.frames else [])])
    from .. import batch
    from ..lifting.files import LIFTED, Wanted, lift_each
    from ..lifting.networks import network

    plan = batch.plan([options.scan], options.output, options.format, LIFTED)
    if options.frames and len(plan.jobs) > 1:
        raise InputError(f"{options.frames} is one folder of frames for {len(plan.jobs)} scans; name one scan.")
    display.stage("network")
    chosen = network(options.network)
    kept = {name: getattr(options, name) for name in ("every", "rules", "weights", "unseen", "dtype", "again")}
    wanted = Wanted(**kept, frames=Path(options.frames) if options.frames else None, progress=None)
    outcomes = []
    try:
        for outcome in lift_each(chosen, plan.jobs, wanted):
            if outcome.error is not None and (plan.alone or os.environ.get("MSM3D_TRACEBACK")):
                raise outcome.error
            outcomes.append(outcome)
            display.line(f"{'' if len(plan.jobs) == 1 else f'{len(outcomes)}/{len(plan.jobs)} '}{outcome}")
        if len(plan.jobs) > 1:
            display.line(summary(outcomes, plan.others))
    finally:  # also where a full disk, or Ctrl-C, ends it
        failed = failures(outcomes, "lift", display)
    return 1 if failed else 0
