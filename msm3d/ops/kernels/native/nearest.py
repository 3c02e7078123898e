"""The rows of a bank that are most like others, found among whole numbers and compared exactly."""

from collections.abc import Sequence
from ctypes import addressof, byref

import torch
from torch import Tensor
from torch import get_num_threads as threads

from ... import library
from ...library import address, dense
from .instructions import chosen


def nearest(
    x: Tensor, bank: Tensor, k: int, ends: Sequence[int], choices: Sequence[Sequence[int]], isa: str | None = None
) -> tuple[Tensor, Tensor]:
    """Return the largest products and their rows."""
    x, bank = dense("x", x, torch.float32), dense("bank", bank, torch.float32)
    shape = len(choices), len(x), k
    products, rows = library.empty(shape), library.empty(shape, torch.int64)
    parts = library.integers(ends)
    flags = library.integers([int(part in choice) for choice in choices for part in range(len(ends))])
    arguments = library.Nearest(
        *(threads(), len(x), len(bank), k, bank.shape[1], len(ends), len(choices)),
        *(addressof(parts), addressof(flags), *map(address, (x, bank, products, rows))),
    )
    library.call("nearest", chosen(isa), byref(arguments))
    return products, rows
