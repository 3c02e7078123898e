"""`msm3d models`: the models that load by name."""

import argparse
from typing import Any

from .display import Display


def add(verbs: Any) -> None:
    """Declare the verb."""
    verb = verbs.add_parser("models", help="the models that load by name")
    verb.set_defaults(run=run)


def run(options: argparse.Namespace, display: Display) -> None:
    """List them."""
    from ..weights import info, list_models

    for name in list_models():
        model = info(name)
        display.line(
            f"{name:12} {model.status:14} {model.channels:5} channels  {model.voxel_size:g} m  {model.licence}"
        )
    display.note("`msm3d info NAME` says more, and how to get what is not here")
