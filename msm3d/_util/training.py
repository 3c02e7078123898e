"""What every training here shares: rates over time, what decays, the order of scenes, checkpoints that resume."""

import errno
import os
from collections.abc import Iterable, Mapping
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .atomic import replacing

BETAS = (0.9, 0.95)  # of AdamW [paper, Tables 14, 15 and 19]
FORMAT = 1
"""Of checkpoints."""


def schedule(step: int, steps: int, warmup: float) -> float:
    """Return the share of the largest learning rate: a linear rise, then half a cosine down to 0.

    >>> [round(schedule(step, 100, 0.1), 3) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    rise = int(warmup * steps)
    return (step + 1) / rise if step < rise else (1 + cos(pi * (step - rise) / (steps - rise))) / 2


def optimizer(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW that decays matrices, and neither scales nor biases."""
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=BETAS, fused=True)


def scene_at(turn: int, scenes: int, seed: int) -> int:
    """Return which of `scenes` comes at `turn`: pass after pass over all, each in an order of its own.

    >>> sorted(scene_at(turn, 3, seed=0) for turn in range(6, 9))
    [0, 1, 2]
    """
    order = torch.Generator().manual_seed((seed << 32) + (1 << 31) + turn // scenes)
    return int(torch.randperm(scenes, generator=order)[turn % scenes])


def save(path: Path, run: Mapping[str, Any], step: int, state: Mapping[str, Any]) -> None:
    """Write all that is needed to go on at `step`, or nothing; `run` is what must be the same to go on.

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


def resume(path: Path, run: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return what `save` wrote, with the step to go on with under "step".

    Raises:
        InputError: the file is not a checkpoint of this version, or of a run in which something differs.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        there = state["run"] if state["format"] == FORMAT else None
    except Exception as error:
        raise InputError(f"{path} is not a checkpoint of this version; give another name, or delete it.") from error
    if there != run:
        other = "its version" if there is None else next(k for k in {**run, **there} if there.get(k) != run.get(k))
        raise InputError(f"{path} is of another run, {other} differs; give another name, or delete it.")
    return state
