"""`msm3d adapt`: a network that fits somebody's own scans better, without labels."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from .._util.atomic import made, refusals, scratch
from .._util.output_path import require_there
from .._util.words import count
from . import arguments
from .arguments import SCAN, whole
from .display import Display
from .parser import declared

ROWS = {
    "found": "places found again in another look, within 25 cm",
    "stays": "points in the same of 20 clusters in another look",
    "height": "variance that height explains (less is better)",
}


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = (
        "Make what differs between two looks at your own scans count less in a network's features: a layer after each "
        "level, fitted in a minute, without labels. A tenth of each scan is held out; the model is written if it is "
        "better there, and loads everywhere by its folder."
    )
    example = "msm3d adapt scans -o mine, then msm3d extract scan.ply -o features.npy --model ./mine"
    verb = declared(verbs, "adapt", run, "fit a network to your own scans, without labels", about, example)
    verb.option("scans", f"a {SCAN}, or a folder of such files", nargs="+", metavar="SCAN")
    verb.option("-o --output", "folder of the model", required=True, metavar="MODEL")
    arguments.add_start(verb)
    verb.option("--seed", "of everything random (default 0)", whole(0), default=0)
    arguments.add_threads(verb)
    arguments.add_device(verb)
    arguments.add_understanding(verb, rows=False)
    verb.quiet()


def run(options: argparse.Namespace, display: Display) -> None:
    """Adapt, say what was gained, and write the model if there is something."""
    require_there(options.scans)
    from .. import batch
    from ..datasets import Scene
    from ..evaluate.finetuning import check_place
    from ..pretrain import adapt

    folder = Path(options.output)
    check_place(folder, resume=False)
    arguments.use_threads(options)
    options.precision = "fp32"
    paths, reading = [path for one in options.scans for path in batch.found(one)], arguments.reading(options)
    scans = [Scene(path.stem, partial(batch.read, path, reading)) for path in paths]
    model = arguments.load(options, display, options.start)
    display.stage(f"looks at {count(len(scans), 'scan')}")
    parent = folder.absolute().parent
    with refusals(folder), made(parent), scratch(parent):  # where nothing can be written, that is said before any work
        adapted = adapt(model, scans, seed=options.seed, progress=None)
    some = "" if adapted.scans == len(scans) else f"{adapted.scans} of "
    display.line(f"{f'held-out part of {some}' + count(len(scans), 'scan'):51}  before   after")
    for name, row in ROWS.items():
        before, after = (100 * getattr(figures, name) for figures in (adapted.before, adapted.after))
        display.line(f"  {row:49}{before:6.1f} %{after:6.1f} %")
    if not adapted.gained:
        display.line("nothing was gained, so nothing was written: the weights are best as they are.")
        return
    adapted.model.save_pretrained(folder)
    display.line(f"{folder}: now:  msm3d extract SCAN -o features.npy --model {arguments.as_model(folder)}")
