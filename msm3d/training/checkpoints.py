"""Checkpoints: all that a run needs to go on to the bit, written whole or not at all."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .._util.atomic import replacing
from ..errors import InputError

FORMAT = 1
"""Version of the checkpoints' format."""


def save(path: Path, run: Mapping[str, Any], step: int, state: Mapping[str, Any]) -> None:
    """Write what is needed to go on at `step`, or nothing; `run` is what must be the same to go on.

    Raises:
        FileError: it cannot be written, for example since the disk is full.
    """
    with replacing(path) as partial:
        try:
            torch.save({"format": FORMAT, "step": step, "run": dict(run), **state}, partial)
        except RuntimeError as error:  # its writer's word for a full disk
            if "PytorchStreamWriter" not in str(error) and "inline_container" not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def resume(path: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `save` wrote, on the CPU, with the step to go on with under "step".

    Raises:
        InputError: the file is not a checkpoint of this version, or of a run in which something differs.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        there = state["run"] if state["format"] == FORMAT else None
    except Exception as error:
        raise InputError(f"{path} is not a checkpoint of this version; give another name, or delete it.") from error
    if there != run:
        other = "its version" if there is None else next(k for k in {**run, **there} if there.get(k) != run.get(k))
        raise InputError(f"{path} is of another run, {other} differs; give another name, or delete it.")
    return state
