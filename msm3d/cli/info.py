"""`msm3d info`: licence, data, channels and scores of a model."""

import argparse
from typing import Any

from .._util.words import count
from .display import Display
from .parser import declared


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = "licence, data, channels and scores of a model"
    verb = declared(verbs, "info", run, about, example="msm3d info scannet")
    verb.option("model", "a name of `msm3d models`, a directory, or a cached Hub repository", metavar="MODEL")


def run(options: argparse.Namespace, display: Display) -> None:
    """Show what is known of a model."""
    from dataclasses import asdict

    from ..weights import info, releases

    model = info(options.model)
    for key, value in asdict(model).items():
        if isinstance(value, dict):
            value = "; ".join(f"{name}: {score}" for name, score in value.items())
        elif isinstance(value, tuple):
            value = f"{sum(value)} channels in {count(len(value), 'level')}: {' + '.join(map(str, value))}"
        if value not in (None, ""):
            display.line(f"{key:14} {value}")
    if model.path is None and releases().get(model.name, {}).get("unavailable"):
        display.line(f"{'to get it':14} {releases()[model.name]['unavailable']}")
