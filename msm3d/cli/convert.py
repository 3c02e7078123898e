"""`msm3d convert`: the authors' checkpoint to weights that load."""

import argparse
from typing import Any

from .._util.output_path import require_there
from .display import Display
from .parser import declared


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = "Convert a checkpoint of the authors' code; the published one is also installed as 'scannet'."
    example = "msm3d convert model.pth"
    verb = declared(verbs, "convert", run, "the authors' checkpoint to weights that load", about, example)
    verb.option("checkpoint", "the authors' .pth file", metavar="CHECKPOINT")
    verb.option("-o --output", "directory for config.json and model.safetensors", metavar="DIR")
    verb.option("--config", "JSON file with the network's fields, where it is not the published one")
    verb.flag("--no-install", "leave the installed 'scannet' as it is")


def run(options: argparse.Namespace, display: Display) -> None:
    """Convert a checkpoint."""
    require_there([options.checkpoint, *([options.config] if options.config else [])])
    from ..weights.convert import convert

    done = convert(options.checkpoint, options.output, config=options.config, install=not options.no_install)
    channels = done.config.descriptor_channels
    display.line(f"{done.directory}: {done.parameters:,} parameters, {channels} channels per point")
    if done.ignored:
        display.line(f"left out {len(done.ignored)} tensors that are not the student's, such as {done.ignored[0]}")
    if done.installed and done.installed != done.directory:
        display.line(f"also installed as {done.name} in {done.installed}; --no-install leaves that out")
    elif done.installed is None:
        display.line("not installed by name: only the published network is, without --no-install")
    name = f'"{done.name}"' if done.name else f'"{done.directory}"'
    display.line(f"now:  msm3d.load({name})")
