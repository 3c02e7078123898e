"""`msm3d models`: the models that load by name."""

import argparse
import re
from typing import Any

from .display import Display
from .parser import declared


def add(verbs: Any) -> None:
    """Declare the verb."""
    declared(verbs, "models", run, "the models that load by name")


def run(options: argparse.Namespace, display: Display) -> None:
    """List them."""
    from ..weights import info, list_models

    for name in list_models():
        model = info(name)
        size = f"{model.channels:5} channels  {model.voxel_size:g} m"
        licence = re.split("[:;]", model.licence)[0]
        display.line(f"{name:14} {model.status:14} {size}  {licence}")
    display.note("`msm3d info NAME` says more, and how to get what is not here")
