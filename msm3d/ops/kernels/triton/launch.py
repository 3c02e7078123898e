"""What every launch needs: the tensor's own device, block sizes, and how exact a product of float32 is."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false

import inspect
from collections.abc import Callable
from typing import Any

import torch
import triton

from ....errors import InputError

PRECISIONS = ("ieee", "tf32", "tf32x3")
VARYING = frozenset({"n", "m", "share", "parts", "window", "seed"})
"""Names of the kernels' arguments that change from scan to scan and step to step."""


def jit(kernel: Callable) -> Any:
    """Return a kernel that is compiled once for all sizes of scans.

    Triton compiles anew for an integer that is 1 or that 16 divides; of the channels that is worth it, of the rows it
    would be a second's wait whenever a scan has a multiple of 16 of them.
    """
    varying = [name for name in inspect.signature(kernel).parameters if name in VARYING]
    return triton.jit(kernel, do_not_specialize=varying)


def padded(size: int, least: int = 16, most: int = 1 << 20) -> int:
    """Return the power of two that holds `size`, within `least` and `most`.

    >>> padded(5), padded(96), padded(600, most=128)
    (16, 128, 128)
    """
    return min(max(triton.next_power_of_2(size), least), most)


def precision(asked: str | None = None) -> str:
    """Return how float32 is multiplied: as asked, or else as torch was told to multiply matrices on this machine."""
    if asked is None:
        matmul = torch.backends.cuda.matmul
        told = getattr(matmul, "fp32_precision", None) or ("tf32" if matmul.allow_tf32 else "ieee")
        return "tf32" if told == "tf32" else "ieee"
    if asked not in PRECISIONS:
        raise InputError(f"precision is {asked!r}; choose one of {', '.join(PRECISIONS)}.")
    return asked
