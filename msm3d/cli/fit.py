"""`msm3d fit`: a head for a task, learned from a labelled data set."""

import argparse
from typing import Any

from .._util.words import count
from . import arguments
from .arguments import typed, whole
from .display import Display
from .parser import declared


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = "Fit a head on frozen features of a labelled data set, and keep it with the name of the network it is for."
    example = "msm3d fit rooms:60 --task instances -o things"
    verb = declared(verbs, "fit", run, "learn a head from labelled scans", about, example)
    arguments.add_data(verb)
    verb.option("-o --output", "folder for the head", required=True, metavar="OUT")
    arguments.add_task(verb, "what is learned")
    verb.option("--protocol", "the head to fit, such as linear; the task's first by default")
    arguments.add_model(verb)
    verb.option("--sample", "points of each scene to learn from (default 2000)", whole(1), default=2000)
    verb.option("--seed", "of everything random in the head (default 0)", typed(int, "a whole number"), default=0)
    verb.option("--cache", "folder of features to go on with; a temporary one by default")
    arguments.add_labels(verb)
    verb.quiet()


def run(options: argparse.Namespace, display: Display) -> None:
    """Fit a head on the split to learn from."""
    from ..evaluate.fitting import fit

    train, _ = arguments.data(options)
    model = arguments.load(options, display)
    display.stage("head")
    names = ("task", "protocol", "sample", "seed", "cache")
    head = fit(train, model, **{name: getattr(options, name) for name in names}, progress=None)
    folder = head.save(options.output)
    display.line(f"{folder}: {head.name}, learned from {count(len(train), 'scene')} of {train.name} ({train.split})")
