"""`msm3d download`: a model for later, without a network."""

import argparse
import os
from typing import Any

from .display import Display


def add(verbs: Any) -> None:
    """Declare the verb."""
    verb = verbs.add_parser(
        "download",
        help="fetch a model now, to load it without a network later",
        epilog="example: msm3d download OWNER/REPOSITORY",
    )
    verb.add_argument("model", metavar="MODEL", help="a name of `msm3d models`, or a Hub repository")
    verb.add_argument(
        "-o", "--output", metavar="DIR", help="copy it to this directory, for a machine without a network"
    )
    verb.add_argument("--revision", help="branch, tag or commit of a Hub repository")
    verb.set_defaults(run=run)


def run(options: argparse.Namespace, display: Display) -> None:
    """Fetch a model."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # the client's own lines on each try; ours says it once
    display.stage("downloading")
    from ..weights import download

    display.line(str(download(options.model, options.output, revision=options.revision)))
