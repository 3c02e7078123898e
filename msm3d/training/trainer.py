"""`Trainer`: the loop of every training, which any break may interrupt."""

import errno
import os
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from .._util.atomic import replacing, require_folder
from .._util.words import either
from ..errors import InputError, Msm3dError
from .ahead import ahead
from .processes import ALONE, Group

FORMAT = 1  # version of the checkpoints' format
CHECKPOINT = "checkpoint.pt"  # in the folder of a run


class DivergedError(Msm3dError, RuntimeError):
    """The loss is not a finite number any more: the run teaches nothing."""


class Trainer:
    """A run of a `step`, again and again, that goes on from its checkpoint to the bit after any break.

    Three things make a run: the step, the state that it changes, and the identity by which a checkpoint is known to be
    of the same run. Whatever is random in a step must be drawn from the seed and the step's number, as `turns` does for
    the order of the scenes. A linear layer on descriptors:

    >>> import torch
    >>> import torch.nn.functional as F
    >>> from msm3d.training import Descent, Trainer
    >>> _ = torch.manual_seed(0)
    >>> descriptors = torch.randn(500, 16)  # or torch.from_numpy(model.extract(scan))
    >>> labels = (descriptors[:, 0] > 0).long()
    >>> head = torch.nn.Linear(16, 2)
    >>> descent = Descent(head.parameters(), steps=100, lr=0.05)
    >>> def rows(step):
    ...     return torch.randint(500, (64,), generator=torch.Generator().manual_seed(step))
    >>> def learn(step, rows):
    ...     descent.begin(step)
    ...     loss = F.cross_entropy(head(descriptors[rows]), labels[rows])
    ...     loss.backward()
    ...     descent.end()
    ...     return {"loss": float(loss.detach())}
    >>> losses = []
    >>> trainer = Trainer(learn, {"head": head, "optimizer": descent}, {"lr": 0.05}, steps=100, batch=rows)
    >>> trainer.run(seen=lambda step, outcome: losses.append(outcome["loss"]))
    >>> losses[-1] < 0.3 * losses[0], trainer.done
    (True, 100)

    With `checkpoint="head.pt"` the same call goes on after a break. Fine-tuning is no different: give the network's
    parameters to the `Descent` too, name the network in the state, and let the step call `model(scan)`. A log, its
    TensorBoard files and a bar are a `Record`, to which `seen` hands what it is told.

    Args:
        step: called with the step's number from 0 and its batch; it moves the weights, and returns the "loss" and
            whatever else is to be told.
        state: what the step changes, each with `state_dict` and `load_state_dict`, by its name in the checkpoint.
        identity: plain values, ready for JSON, that must be the same for a checkpoint to be gone on with.
        steps: number of steps of the whole run.
        batch: called with a step's number; it makes the step's batch ready, in another thread, while the step before
            is still at work. By default a batch is the step's number.
        workers: processes that make batches ready instead of that thread, for steps that are faster than it; then
            batches hold tensors on the CPU and whatever else can be pickled.
        checkpoint: the file to go on from where it is there, and to write; None writes none.
        every: steps between checkpoints: at most as many are lost.
        group: the processes that share the run; only the first one writes and tells.
    """

    def __init__(
        self,
        step: Callable[[int, Any], dict[str, Any]],
        state: Mapping[str, Any],
        identity: Mapping[str, Any],
        *,
        steps: int,
        batch: Callable[[int], Any] = int,
        workers: int = 0,
        checkpoint: Path | str | None = None,
        every: int = 500,
        group: Group = ALONE,
    ) -> None:
        self.step, self.state, self.identity, self.steps = step, state, identity, steps
        self.batch, self.workers = batch, workers
        self.checkpoint, self.every, self.group = None if checkpoint is None else Path(checkpoint), every, group
        self.done: int | None = None
        """Steps that have been taken, those of the checkpoint included; None before it is read."""

    def resume(self) -> int:
        """Take over the checkpoint, if there is one and it was not done before, and return the steps taken.

        Raises:
            InputError: the file is not a checkpoint of this version, or of a run in which something differs.
        """
        if self.done is None:
            self.done = 0
            if self.checkpoint is not None and self.checkpoint.exists():
                saved = resume(self.checkpoint, self.identity)
                for name, part in self.state.items():
                    part.load_state_dict(saved[name])
                self.done = int(saved["step"])
        return self.done

    def run(
        self,
        seen: Callable[[int, dict[str, Any]], object] | None = None,
        after: Callable[[int, bool], object] | None = None,
    ) -> None:
        """Take all steps that are left.

        Args:
            seen: called after each step, before it is saved, with its number and what it returned.
            after: called after that with the step's number and whether a checkpoint was due.

        Raises:
            InputError: as `resume`.
            FileError: the checkpoint cannot be written.
            DivergedError: the loss is not finite.
        """
        for step, batch in ahead(self.batch, self.resume(), self.steps, self.workers):
            outcome = self.step(step, batch)
            if not isfinite(outcome["loss"]):
                raise DivergedError(f"the loss is {outcome['loss']} at step {step}; start again with a lower lr.")
            self.done = step + 1
            if not self.group.first:
                continue
            if seen is not None:
                seen(step, outcome)
            due = self.done % self.every == 0 or self.done == self.steps
            if due and self.checkpoint is not None:
                states = {name: part.state_dict() for name, part in self.state.items()}
                save(self.checkpoint, self.identity, self.done, states)
            if after is not None:
                after(step, due)
        self.group.wait()  # one that dies while the first still writes must not find it gone: they start again together


def check_folder(folder: Path, resume: bool) -> None:
    """Raise InputError where `folder` has a run that is not to be gone on with, FileError where it is a file, before
    any scan is read or made."""
    require_folder(folder)
    if (folder / CHECKPOINT).exists() and not resume:
        cure = either("resume=True", "--resume")
        raise InputError(f"{folder} has a run already; go on with {cure}, or give another folder.")


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
