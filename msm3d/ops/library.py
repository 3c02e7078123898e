"""The shared library of `msm3d/csrc`: finding it, its argument structures (abi.h) and calling it."""

import bisect
import ctypes
import functools
import itertools
import math
import os
import struct
import sys
import threading
from collections import deque
from collections.abc import Sequence
from ctypes import Structure, c_char_p, c_double, c_float, c_int32, c_int64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BackendError, InputError
from .contract import ACTIVATIONS, NORMS
from .curves import BITS
from .usual import plain

ABI = 6  # version of abi.h; raised there and here whenever a function or a structure changes
SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
LARGE = 1 << 20  # bytes from which on memory is used again
PAIR_ROWS = 8  # rows of a table between which a slot's pairs can be found, as in abi.h
DTYPES = torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.uint8
"""In the order of abi.h, as are the instruction sets and the names in `contract`."""
CODES = {dtype: code for code, dtype in enumerate(DTYPES)}
ISAS = "portable", "neon", "avx2", "avx512", "avx512bf16", "amx"
"""Instruction sets: a later one is the better choice where the processor has it."""
PAGE = 4096  # bytes that a piece of memory is a multiple of
FAILURES = {
    "no_memory": "there is not enough memory for {name}; give it fewer rows at a time.",
    "row_out_of_range": "{name}: a table holds a row beyond the last; build the tables from these voxels.",
    "not_ascending": "{name}: the keys must ascend without repeats, from zero on; pass torch.unique(keys).",
    "no_such_isa": "{name}: this processor lacks the instruction set; unset MSM3D_ISA to take the best it has.",
    "bad_argument": "{name}: the sizes of its arguments do not fit together; compare them with its documentation.",
    "no_such_label": "{name}: a label is no row of the weight, or a row none of x; count both from 0.",
}
"""Error of abi.h, by code from 1 on → what to say."""


def _structure(name: str, *fields: tuple[Any, str]) -> type[Structure]:
    return type(name, (Structure,), {"_fields_": [(field, kind) for kind, names in fields for field in names.split()]})


Finish = _structure(
    "Finish", (c_int64, "channels activation norm"), (c_float, "eps"), (c_void_p, "bias scale shift gamma residual")
)
Pairs = _structure("Pairs", (c_void_p, "slots starts in row"))
Product = _structure(
    "Product",
    (c_int64, "threads n m k c dtype input_dtype stride slot_stride c_stride d_stride"),
    (c_void_p, "input weight factor scale"),
    (Pairs, "pairs"),
    (c_void_p, "out product"),
    (Finish, "finish"),
)
WeightGradient = _structure(
    "WeightGradient",
    (c_int64, "threads n m k c d dtype left_dtype right_dtype"),
    (c_void_p, "left right"),
    (Pairs, "pairs"),
    (c_void_p, "grad"),
)
FinishGradient = _structure(
    "FinishGradient",
    (c_int64, "threads n"),
    (c_void_p, "input grad_out grad_input grad_bias grad_scale grad_shift grad_gamma"),
    (Finish, "finish"),
)
Attend = _structure(
    "Attend",
    (c_int64, "threads n h e scenes window seed"),
    (c_double, "dropout"),
    (c_void_p, "offsets qkv out lse grad_out grad_qkv"),
)
Blend = _structure(
    "Blend",
    (c_int64, "threads n m levels dtype"),
    (c_void_p, "rows channels counts features corners weights owner out grad_out grad_features"),
)
Nearest = _structure(
    "Nearest", (c_int64, "threads n m k c parts choices"), (c_void_p, "ends chosen queries bank products rows")
)
Entropy = _structure(
    "Entropy", (c_int64, "threads n m c d"), (c_void_p, "input weight bias rows labels loss grad_weight grad_bias")
)
STRUCTURES = Finish, Pairs, Product, WeightGradient, FinishGradient, Attend, Blend, Nearest, Entropy
"""In the order in which `msm3d_abi` counts them."""
BUILD = (
    "pip install --force-reinstall --no-deps --no-cache-dir msm3d, or in a checkout "
    "cmake -S . -B build && cmake --build build"
)
"""What to type for a library; pip would take what it built without a compiler from its cache."""


@functools.cache
def load() -> ctypes.CDLL:
    """Return the library, which stands beside the package's modules.

    Raises:
        OSError: there is none.
        BackendError: it is damaged, of another version of msm3d or of another system.
    """
    places = [Path(place) / f"_native{SUFFIX}" for place in sys.modules["msm3d"].__path__]
    place = next((place for place in places if place.exists()), None)
    if place is None:
        raise OSError(f"there is no {places[0].name} in {places[0].parent}")
    expect_forks()
    return opened(place)


def opened(place: Path) -> ctypes.CDLL:
    """Return the library in a file, if its functions take the structures above.

    Raises:
        BackendError: the file is something else; the sentence says what to type.
    """
    again = f"build it again: {BUILD}."
    if not _is_whole(place):
        raise BackendError(f"{place} is cut short; {again}")
    try:
        library = ctypes.CDLL(str(place))
    except OSError as e:
        raise BackendError(f"{place} cannot be loaded ({e}); {again}") from e
    try:
        library.msm3d_abi.restype = c_int64
    except AttributeError:
        raise BackendError(f"{place} is not this version's library; {again}") from None
    ours = [ABI, *map(ctypes.sizeof, STRUCTURES), PAIR_ROWS, BITS]
    theirs = [library.msm3d_abi(c_int64(i)) for i in range(len(ours))]
    if theirs == ours:
        library.msm3d_orders.restype = c_char_p
    if theirs != ours or library.msm3d_orders().decode().lower() != _orders():
        raise BackendError(f"{place} is of another version of msm3d (interface {theirs[0]}, not {ABI}); {again}")
    return library


def runtime() -> str | None:
    """Return the file of the OpenMP runtime whose threads the library uses; None if it has to do with one thread."""
    entry = load().msm3d_runtime
    entry.restype = c_char_p
    return os.fsdecode(entry()) or None


def _orders() -> str:
    """Return the names of all codes as `msm3d_orders` has them."""
    activations, norms = ("none", *ACTIVATIONS), ("no_norm", *NORMS)
    dtypes = (str(dtype).removeprefix("torch.") for dtype in DTYPES)
    return "; ".join(map(", ".join, (("ok", *FAILURES), activations, norms, dtypes, (*ISAS, "isas"))))


def _is_whole(place: Path) -> bool:
    """Return whether all that an ELF file's headers speak of is in it: of a part that is not, loading it would die."""
    with open(place, "rb") as file:
        header = file.read(64)
        if header[:6] != b"\x7fELF\x02\x01":
            return True  # of another system, whose loader looks for itself
        if len(header) < 64:
            return False
        start, sections, size, count, section, number = struct.unpack("<32xQQ6xHHHH2x", header)
        file.seek(start)
        table = file.read(size * count)
        if size < 56 or len(table) < size * count:
            return False
        segments = [struct.unpack_from("<8xQ16xQ", table, size * i) for i in range(count)]
        ends = [sections + section * number, *(offset + length for offset, length in segments)]
        return max(ends) <= place.stat().st_size


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
        failure, sentence = list(FAILURES.items())[code - 1]
        error = BackendError if failure in ("no_memory", "no_such_isa") else InputError
        raise error(sentence.format(name=name or function))


def empty(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a tensor of any values; a large one in memory that an earlier one has left, if there is some.

    The system clears every page that it hands out, which takes longer than many an operation that fills it.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE:
        return torch.empty(shape, dtype=dtype, device="cpu")  # whatever torch's default is
    return torch.from_numpy(_POOL.take(size)).view(dtype).view(*shape)


class _Loan(np.ndarray):
    """Bytes that go back to their pool when the last tensor on them is gone."""

    pool: "Pool | None" = None  # a loan's own; its views have none
    piece: tuple[int, int, int] = (0, 0, 0)

    def __del__(self) -> None:
        if self.pool is not None:
            self.pool.give(self.piece)


class Pool:
    """Memory of past tensors for the next ones: pieces are cut from it and joined again when they come back.

    What no piece is lent of is let go while more than `limit` bytes are free. Loans may come back on any thread and
    while another is taken, wherever Python cleans up; so what comes back waits in a queue until nobody is at work here.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.slabs: dict[int, np.ndarray] = {}  # what the system gave, by number
        self.free: list[tuple[int, int, int]] = []  # (slab, start, stop), ascending, no two of them side by side
        self._back: deque[tuple[int, int, int]] = deque()
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def take(self, size: int) -> np.ndarray:
        """Return `size` bytes: of the smallest free piece that holds them, else new ones."""
        pages = -(-size // PAGE) * PAGE
        with self._lock:
            self._collect()
            fits = [(stop - start, i) for i, (_, start, stop) in enumerate(self.free) if stop - start >= pages]
            if fits:
                slab, start, stop = self.free.pop(min(fits)[1])
            else:
                self._let_go(self.limit - pages)
                slab, start, stop = next(self._numbers), 0, pages
                self.slabs[slab] = _whole_pages(pages)
            if start + pages < stop:
                bisect.insort(self.free, (slab, start + pages, stop))
            loan = self.slabs[slab][start : start + size].view(_Loan)
        loan.pool, loan.piece = self, (slab, start, start + pages)
        return loan

    def give(self, piece: tuple[int, int, int]) -> None:
        """Take a piece back."""
        self._back.append(piece)
        if self._lock.acquire(blocking=False):
            try:
                self._collect()
            finally:
                self._lock.release()

    def _collect(self) -> None:
        while self._back:
            slab, start, stop = self._back.popleft()
            at = bisect.bisect(self.free, (slab, start, stop))
            if at < len(self.free) and self.free[at][:2] == (slab, stop):
                stop = self.free.pop(at)[2]
            if at > 0 and self.free[at - 1][::2] == (slab, start):
                start = self.free.pop(at - 1)[1]
            bisect.insort(self.free, (slab, start, stop))
        self._let_go(self.limit)

    def _let_go(self, most: int) -> None:
        kept = sum(stop - start for _, start, stop in self.free)
        for slab, start, stop in self.free[::-1]:
            if kept > most and stop - start == self.slabs[slab].nbytes:
                self.free.remove((slab, start, stop))
                kept -= self.slabs.pop(slab).nbytes


def _whole_pages(size: int) -> np.ndarray:
    """Return `size` bytes from the start of a page on: rows of whole vectors do not lie across lines of the cache."""
    memory = np.empty(size + PAGE, np.uint8)  # numpy asks the system for large pages
    start = -memory.ctypes.data % PAGE
    return memory[start : start + size]


_POOL = Pool(2 << 30)


@functools.cache
def expect_forks() -> None:
    """Let children that are forked from now on compute with one thread, as those of a DataLoader do.

    OpenMP's threads stay with the parent, and whoever waits for them waits for ever. Called when the first model asks
    for its backend: children forked before any work are free to use all threads.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_in_child)


def _in_child() -> None:
    global _POOL
    torch.set_num_threads(1)
    _POOL = Pool(_POOL.limit)  # the parent may have been at work in its own


def address(tensor: Tensor | None) -> int | None:
    """Return where a plain tensor's values stand, or None; for an empty one an address that nothing is read from."""
    if tensor is None:
        return None
    if plain("a tensor", tensor) is not tensor:
        raise BackendError("a tensor's values are not in memory as they are; resolve it first.")
    return tensor.data_ptr() or 64


def dense(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `tensor` as rows of `dtype` side by side.

    Raises:
        InputError: it is not in this machine's memory, or has no values there.
    """
    if tensor.device.type != "cpu":
        raise InputError(f"{name} is on {tensor.device}; the native backend takes CPU tensors: call .cpu() first.")
    tensor = plain(name, tensor)
    if tensor.dtype == dtype and tensor.is_contiguous() and not tensor.requires_grad:
        return tensor
    return tensor.detach().to(dtype).contiguous()


def integers(values: Sequence[int]) -> ctypes.Array:
    """Return an array of int64."""
    return (c_int64 * len(values))(*values)


def pointers(tensors: Sequence[Tensor | None]) -> ctypes.Array:
    """Return an array of the tensors' addresses; keep the tensors while it is used."""
    return (c_void_p * len(tensors))(*[address(tensor) for tensor in tensors])
