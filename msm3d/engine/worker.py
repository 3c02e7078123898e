"""What runs on every worker: one model, one scan after the other."""

import os
import pickle
import socket
import traceback
import warnings
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch

from .. import __version__
from .._util import memory
from .._util.words import cut, of_the_command_line, option
from ..batch import Job, Outcome, extract
from ..errors import InputError
from .setup import Place, Report, Setup


class Worker:
    """Describes scans; nothing that it does raises, since an engine would wrap the error.

    >>> Worker(Setup(version="0.0")).start(Place(device="cpu", threads=1, beside=1)).error  # doctest: +ELLIPSIS
    InputError('... has msm3d ..., and 0.0 started this; install the same version on every machine.')
    """

    def __init__(self, setup: Setup) -> None:
        self.setup, self.name = setup, f"{socket.gethostname()}:{os.getpid()}"

    def start(self, place: Place) -> Report:
        """Load the model."""
        with of_the_command_line() if self.setup.typed else nullcontext():
            try:
                self._start(place)
            except Exception as error:
                return Report(worker=self.name, **_told(error))
        return Report(worker=self.name, model=repr(self.model))

    def do(self, job: Job) -> Report:
        """Write the descriptors of a scan."""
        words = of_the_command_line() if self.setup.typed else nullcontext()
        with words, warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                outcome = next(extract(self.model, [job], options=self.setup.options, **self.asked))
                told = {} if outcome.error is None else _told(outcome.error)
                outcome = replace(outcome, error=told.pop("error", None))
            except Exception as error:  # a full disk
                outcome, told = Outcome(job=job), _told(error)
        heard = tuple((one.category, str(one.message)) for one in said)
        return Report(worker=self.name, outcome=outcome, said=heard, **told)

    def _start(self, place: Place) -> None:
        from ..model import load

        setup, here = self.setup, socket.gethostname()
        if setup.version != __version__:
            raise InputError(
                f"{here} has msm3d {__version__}, and {setup.version} started this; install the same version on every "
                "machine."
            )
        try:
            os.chdir(setup.folder or ".")
        except OSError as error:
            raise InputError(
                f"{here} does not see the folder {setup.folder} ({error.strerror}); start from one that all machines "
                "share, or give whole paths."
            ) from error
        torch.set_num_threads(place.threads)
        self.model = load(setup.model, device=place.device, backend=setup.backend, precision=setup.precision)
        found = self.model.meta.get("sha256")
        if setup.sha256 not in (None, found):
            raise InputError(
                f"{here} has other weights of that name (sha256 {cut(found)}, not {setup.sha256}); copy the same ones "
                f"there, or name a folder that all machines share with {option('model')}."
            )
        share = memory.available(self.model.device) // (2 * place.beside)
        self.asked = {"max_memory": share, **setup.asked}


def _told(error: Exception) -> dict[str, Any]:
    """Return an error as it can travel, and where it comes from, which does not travel with it."""
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # our own
    except Exception:  # some can be packed but not unpacked
        error = RuntimeError(f"{type(error).__name__}: {cut(error)}")
    return {"error": error, "trace": trace}
