"""`msm3d convert`, `models`, `info`, `download` and `check`: weights, and the machine they are on."""

import argparse
import os
from typing import Any

from .._util.words import count
from . import arguments
from .display import Display


def add(verbs: Any) -> None:
    """Declare the verbs."""
    verb = verbs.add_parser(
        "convert",
        help="the authors' checkpoint to weights that load",
        description="Convert a checkpoint of the authors' code; the published one is also installed as 'scannet'.",
        epilog="example: msm3d convert model.pth",
    )
    verb.add_argument("checkpoint", metavar="CHECKPOINT", help="the authors' .pth file")
    verb.add_argument("-o", "--output", metavar="DIR", help="directory for config.json and model.safetensors")
    verb.add_argument("--config", help="JSON file with the network's fields, where it is not the published one")
    verb.add_argument("--no-install", action="store_true", help="leave the installed 'scannet' as it is")
    verb.set_defaults(run=_convert)

    verb = verbs.add_parser("models", help="the models that load by name")
    verb.set_defaults(run=_models)

    verb = verbs.add_parser(
        "info", help="licence, data, channels and scores of a model", epilog="example: msm3d info scannet"
    )
    verb.add_argument(
        "model", metavar="MODEL", help="a name of `msm3d models`, a directory, or a cached Hub repository"
    )
    verb.set_defaults(run=_info)

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
    verb.set_defaults(run=_download)

    verb = verbs.add_parser("check", help="what this machine has; paste it into an issue")
    verb.set_defaults(run=_check)


def _convert(options: argparse.Namespace, display: Display) -> None:
    arguments.check_there([options.checkpoint, *([options.config] if options.config else [])])
    from ..weights.convert import convert

    done = convert(options.checkpoint, options.output, config=options.config, install=not options.no_install)
    display.line(
        f"{done.directory}: {done.parameters:,} parameters, {done.config.descriptor_channels} channels per point"
    )
    if done.ignored:
        display.line(f"left out {len(done.ignored)} tensors that are not the student's, such as {done.ignored[0]}")
    if done.installed and done.installed != done.directory:
        display.line(f"also installed as {done.name} in {done.installed}; --no-install leaves that out")
    elif done.installed is None:
        display.line("not installed by name: only the published network is, without --no-install")
    name = f'"{done.name}"' if done.name else f'"{done.directory}"'
    display.line(f"now:  msm3d.load({name})")


def _models(options: argparse.Namespace, display: Display) -> None:
    from ..weights import info, list_models

    for name in list_models():
        model = info(name)
        display.line(
            f"{name:12} {model.status:14} {model.channels:5} channels  {model.voxel_size:g} m  {model.licence}"
        )
    display.note("`msm3d info NAME` says more, and how to get what is not here")


def _info(options: argparse.Namespace, display: Display) -> None:
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


def _download(options: argparse.Namespace, display: Display) -> None:
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # the client's own lines on each try; ours says it once
    display.stage("downloading")
    from ..weights import download

    display.line(str(download(options.model, options.output, revision=options.revision)))


def _check(options: argparse.Namespace, display: Display) -> None:
    from .check import report

    display.line(report())
