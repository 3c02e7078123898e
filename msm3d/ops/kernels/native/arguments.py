"""What every call of the library takes: the number of threads, tensors as they stand in memory, codes of dtypes."""

import torch
from torch import Tensor

from ....errors import InputError
from ... import library
from ...values import plain

DTYPES = {dtype: code for code, dtype in enumerate(library.DTYPES)}
"""Codes of `abi.h`."""


def threads() -> int:
    """Return how many threads compute."""
    return torch.get_num_threads()


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
