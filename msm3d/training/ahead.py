"""Batches made ready while the steps before them are at work: in another thread, or by other processes."""

import pickle
import signal
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from io import BytesIO
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .._util.words import either
from ..errors import Msm3dError

B = TypeVar("B")
AHEAD = 2  # batches that each process keeps ready


def ahead(make: Callable[[int], B], start: int, stop: int, workers: int = 0) -> Iterator[tuple[int, B]]:
    """Yield steps with their batches, the next ones being made ready meanwhile.

    A thread makes the next one, which is enough where a step takes longer than that; where a GPU would wait, as many
    processes as `workers` do. The batches are the same: whatever is random in one hangs on its step.

    >>> list(ahead(lambda step: step**2, 2, 5))
    [(2, 4), (3, 9), (4, 16)]
    """
    yield from _by_processes(make, start, stop, workers) if workers else _by_a_thread(make, start, stop)


def _by_a_thread(make: Callable[[int], B], start: int, stop: int) -> Iterator[tuple[int, B]]:
    with ThreadPoolExecutor(1) as pool:
        coming = None
        for step in range(start, stop):
            # in a copy of this thread's context, so that warnings speak of options on the command line there, too
            ready = (coming or pool.submit(copy_context().run, make, step)).result()
            coming = pool.submit(copy_context().run, make, step + 1) if step + 1 < stop else None
            yield step, ready


def _by_processes(make: Callable[[int], B], start: int, stop: int, workers: int) -> Iterator[tuple[int, B]]:
    how: dict[str, Any] = {"num_workers": workers, "prefetch_factor": AHEAD, "collate_fn": _as_it_is}
    loader = DataLoader(_Steps(make), None, sampler=range(start, stop), worker_init_fn=_deaf, **how)
    said: set[tuple[type, str]] = set()
    for step, packed in zip(range(start, stop), _alive(loader), strict=True):
        batch, failure, heard = pickle.loads(packed)
        for warning in heard:
            if (type(warning), str(warning)) not in said:  # each process says it once
                said.add((type(warning), str(warning)))
                warnings.warn(warning, stacklevel=2)
        if failure is not None:
            raise failure
        yield step, batch


class _Steps(Dataset):
    """Each step's batch as bytes: tensors sent one by one would each take a file handle."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __getitem__(self, step: int) -> bytes:
        batch, failure = None, None
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                batch = self.make(step)
            except Exception as error:  # the trainer's process raises it, as if it had been its own
                failure = error
        target = BytesIO()
        _Packer(target, pickle.HIGHEST_PROTOCOL).dump((batch, failure, [w.message for w in heard]))
        return target.getvalue()


class _Packer(pickle.Pickler):
    """Tensors as arrays, whose bytes are copied at once."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.from_numpy, (value.numpy(),)
        return NotImplemented


def _deaf(_: int) -> None:
    """Leave it to the trainer's process to end: a terminal interrupts all processes at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _as_it_is(value: Any) -> Any:
    return value


def _alive(loader: DataLoader) -> Iterator[bytes]:
    """Yield what a loader does; a process that the system ends, as it does where memory is short, is said so."""
    try:
        yield from loader
    except RuntimeError as error:
        if "worker" not in str(error):
            raise
        lower = f"lower {either('workers', '--workers')}"
        raise Msm3dError(f"a process that makes scans ready has ended, likely for lack of memory; {lower}.") from error
