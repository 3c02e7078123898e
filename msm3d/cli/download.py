"""`msm3d download`: a model for later, without a network."""

import argparse
import os
from typing import Any

from .display import Display
from .parser import declared


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = "fetch a model now, to load it without a network later"
    verb = declared(verbs, "download", run, about, example="msm3d download scannet")
    verb.option("model", "a name of `msm3d models`, or a Hub repository", metavar="MODEL")
    verb.option("-o --output", "copy it to this directory, for a machine without a network", metavar="DIR")
    verb.option("--revision", "branch, tag or commit of a Hub repository")


def run(options: argparse.Namespace, display: Display) -> None:
    """Fetch a model."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # the client's own lines on each try; ours says it once
    display.stage("downloading")
    from ..weights import download

    display.line(str(download(options.model, options.output, revision=options.revision)))
