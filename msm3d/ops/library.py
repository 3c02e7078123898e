"""The shared library of `msm3d/csrc`: finding it, its argument structures (abi.h) and calling it."""

import ctypes
import functools
import math
import sys
import threading
from collections import deque
from collections.abc import Sequence
from ctypes import Structure, c_double, c_int32, c_int64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BackendError, InputError

SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
LARGE = 1 << 20
"""Bytes from which on memory is used again."""
FAILURES = {
    1: (BackendError, "there is not enough memory for {name}; give it fewer rows at a time."),
    2: (InputError, "{name}: a table holds a row beyond the last; build the tables from these voxels."),
    3: (InputError, "{name}: the keys must ascend without repeats, from zero on; pass torch.unique(keys)."),
    4: (BackendError, "{name}: this processor lacks the instruction set; unset MSM3D_ISA to take the best it has."),
    5: (InputError, "{name}: the sizes of its arguments do not fit together; compare them with its documentation."),
}
"""Error code of abi.h → what to raise."""


def _structure(name: str, **fields: Any) -> type[Structure]:
    return type(name, (Structure,), {"_fields_": list(fields.items())})


def _fields(kind: Any, names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), kind)


Finish = _structure(
    "Finish",
    **_fields(c_int64, "channels activation norm"),
    **_fields(c_void_p, "bias scale shift gamma residual"),
)
Product = _structure(
    "Product",
    **_fields(c_int64, "threads n m k c dtype x_dtype stride slot_stride c_stride d_stride"),
    **_fields(c_void_p, "x weight table out product"),
    finish=Finish,
)
WeightGradient = _structure(
    "WeightGradient",
    **_fields(c_int64, "threads n m k c d dtype a_dtype b_dtype"),
    **_fields(c_void_p, "a b table grad"),
)
FinishGradient = _structure(
    "FinishGradient",
    **_fields(c_int64, "threads n"),
    **_fields(c_void_p, "x grad_out grad_x grad_bias grad_scale grad_shift grad_gamma"),
    finish=Finish,
)
Attend = _structure(
    "Attend",
    **_fields(c_int64, "threads n h e scenes window seed"),
    dropout=c_double,
    **_fields(c_void_p, "offsets qkv out lse grad_out grad_qkv"),
)
Blend = _structure(
    "Blend",
    **_fields(c_int64, "threads n m levels dtype"),
    **_fields(c_void_p, "rows channels counts features corners weights owner out grad_out grad_features"),
)


@functools.cache
def load() -> ctypes.CDLL:
    """Return the library, which stands beside the package's modules.

    Raises:
        OSError: there is none, or it does not fit this system.
    """
    places = [Path(place) / f"_native{SUFFIX}" for place in sys.modules["msm3d"].__path__]
    place = next((place for place in places if place.exists()), None)
    if place is None:
        raise OSError(f"there is no {places[0].name} in {places[0].parent}")
    return ctypes.CDLL(str(place))


def call(function: str, *arguments: Any, name: str | None = None) -> None:
    """Call `msm3d_<function>` with tensors, integers and ctypes values; a failure names `name`.

    Raises:
        InputError, BackendError: the library's error code, as a sentence.
    """
    converted = [
        c_void_p(address(value)) if isinstance(value, Tensor) else c_int64(value) if isinstance(value, int) else value
        for value in arguments
    ]
    entry = getattr(load(), f"msm3d_{function}")
    entry.restype = c_int32
    code = entry(*converted)
    if code:
        error, sentence = FAILURES[code]
        raise error(sentence.format(name=name or function))


def empty(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a tensor of any values; a large one in memory that an earlier one has left, if there is some.

    The system clears every page that it hands out, which takes longer than many an operation that fills it.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE:
        return torch.empty(shape, dtype=dtype)
    return torch.from_numpy(_POOL.take(size).view(_Loan)[:size]).view(dtype).view(*shape)


class _Loan(np.ndarray):
    """Memory that goes back to the pool when the last tensor on it is gone."""

    def __del__(self) -> None:
        if type(self.base) is np.ndarray:  # else a slice of a loan
            _POOL.give(self.base)


class Pool:
    """Memory of past tensors for the next ones: at most `limit` bytes, and never more than were once in use at a time.

    Loans may come back on any thread and while another is taken, wherever Python cleans up; so what comes back waits
    in a queue until nobody is at work here.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.live = self.kept = self.most = 0
        self._free: list[np.ndarray] = []  # the longest unused first
        self._back: deque[np.ndarray] = deque()
        self._lock = threading.Lock()

    def take(self, size: int) -> np.ndarray:
        """Return at least `size` bytes; numpy asks the system for large pages if they are new."""
        step = 1 << max(size.bit_length() - 4, 12)  # an eighth of the size or less: sizes of scenes meet again
        size = -(-size // step) * step
        with self._lock:
            self._collect()
            fits = [i for i, memory in enumerate(self._free) if size <= memory.nbytes <= size + 2 * step]
            if fits:
                memory = self._free.pop(min(fits, key=lambda i: (self._free[i].nbytes, -i)))
                self.kept -= memory.nbytes
            else:
                memory = None
                self.most = max(self.most, self.live + size)
                self._drop(self.most - self.live - size)
            self.live += size if memory is None else memory.nbytes
        return np.empty(size, np.uint8) if memory is None else memory

    def give(self, memory: np.ndarray) -> None:
        """Take memory back; the pool keeps it or lets it go."""
        self._back.append(memory)
        if self._lock.acquire(blocking=False):
            try:
                self._collect()
            finally:
                self._lock.release()

    def _collect(self) -> None:
        while self._back:
            memory = self._back.popleft()
            self.live -= memory.nbytes
            if memory.nbytes <= self.limit // 2:
                self._free.append(memory)
                self.kept += memory.nbytes
        self._drop(self.limit)

    def _drop(self, limit: int) -> None:
        while self._free and self.kept > limit:
            self.kept -= self._free.pop(0).nbytes


_POOL = Pool(1 << 30)


def address(tensor: Tensor | None) -> int | None:
    """Return where a tensor's values stand, or None; for an empty one an address that nothing is read from."""
    return None if tensor is None else tensor.data_ptr() or 64


def integers(values: Sequence[int]) -> ctypes.Array:
    """Return an array of int64."""
    return (c_int64 * len(values))(*values)


def pointers(tensors: Sequence[Tensor | None]) -> ctypes.Array:
    """Return an array of the tensors' addresses; keep the tensors while it is used."""
    return (c_void_p * len(tensors))(*[address(tensor) for tensor in tensors])
