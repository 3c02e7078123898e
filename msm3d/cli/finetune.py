"""`msm3d finetune`: a whole network that learns with labels, from a pretrained start."""

import argparse
from pathlib import Path
from typing import Any

from .._util.words import count
from . import arguments
from .arguments import typed, whole
from .display import Display
from .parser import Parser, declared

NUMBER = "a number"


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = (
        "Train a network, and the head that tells classes, on one split of labelled scans: from pretrained weights, "
        "and from the weights of a linear probe. The folder holds the model that was best on the other split, its "
        "head, and the last ones; msm3d segment takes it. A run may be interrupted and goes on with --resume."
    )
    example = "msm3d finetune rooms --from rooms -o tuned, then msm3d segment scan.ply -o labels.ply --model ./tuned"
    verb = declared(verbs, "finetune", run, "teach a whole network the labels of scans", about, example)
    arguments.add_data(verb)
    arguments.add_start(verb)
    verb.option("-o --output", "folder of the run and its model", required=True, metavar="MODEL")
    verb.flag("--resume", "go on from the folder's checkpoint, if there is one")
    verb.option("--steps", "number of steps (default 1000)", whole(1), default=1000)
    add_learning(verb)
    verb.option("--seed", "of everything random (default 0)", typed(int, "a whole number"), default=0)
    verb.option(
        "--every", "steps between checkpoints and looks at the other split (default 100)", whole(1), default=100
    )
    verb.flag("--no-validation", "do not look at the other split: the last model is the one to keep")
    about = "share of the scenes to learn from, such as 0.1 (default 1)"
    verb.option("--scenes", about, typed(float, NUMBER), default=1.0)
    verb.option("--points", "labelled ones of each scene to learn from; all by default", whole(1))
    arguments.add_lists(verb)
    arguments.add_labels(verb)
    arguments.add_threads(verb)
    arguments.add_device(verb)
    verb.quiet()


def add_learning(verb: Parser) -> None:
    """Add what says how a network learns; each is None unless it is given."""
    verb.option("--batch", "scenes in a step (default 1)", whole(1))
    verb.option("--crop", "most points of a scene in a step (default 120000)", whole(1))
    verb.option("--lr", "largest learning rate (default 0.001)", typed(float, NUMBER))
    about = "factor of the rate from each stage to the one before it, above 0 to 1 (default 0.8)"
    verb.option("--layer-decay", about, typed(float, NUMBER))
    verb.option("--drop-path", "largest rate of stochastic depth, 0 to 1 (default 0.1)", typed(float, NUMBER))


def learning(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of `add_learning` that were given."""
    names = ("batch", "crop", "lr", "layer_decay", "drop_path")
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def run(options: argparse.Namespace, display: Display) -> None:
    """Train, and say how good it is."""
    from ..evaluate import FinetuneSettings, finetune, limited
    from ..evaluate.few import lists_of
    from ..evaluate.finetuning import check_place, curve_said

    folder = Path(options.output)
    check_place(folder, options.resume)
    settings = FinetuneSettings(steps=options.steps, seed=options.seed, **learning(options))
    arguments.use_threads(options)
    lists = lists_of(options.lists)
    train, other = arguments.data(options)
    train = limited(train, (options.scenes, options.points), options.seed, lists=lists)
    options.precision = "fp32"
    start = arguments.load(options, display, options.start)
    validation = None if options.no_validation else other
    display.note(
        f"{folder}: {count(options.steps, 'step')} of {count(settings.batch, 'scene')} from "
        f"{count(len(train), 'scene')} of {train.name}; look at {folder / 'log.jsonl'}"
    )
    display.stage("a linear probe to begin with")
    kept = {"resume": options.resume, "every": options.every, "progress": None}
    found = finetune(train, start, folder, settings, validation=validation, **kept)
    if validation is not None:
        display.line(f"{validation.name} ({validation.split}): {curve_said(found.curve)}")
    shown = arguments.as_model(folder)
    display.line(f"{folder}: {count(options.steps, 'step')}; now:  msm3d segment SCAN -o labels.ply --model {shown}")
