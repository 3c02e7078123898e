"""Tensors whose values are in memory as they are: kernels that are not torch's read no others."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from ..errors import InputError

Given = ParamSpec("Given")
Returned = TypeVar("Returned")
_USUAL = Tensor, torch.nn.Parameter


def plain(name: str, tensor: Tensor) -> Tensor:
    """Return `tensor` itself, or with values where torch has put off a negation or left out zeros.

    >>> plain("x", torch.tensor([1 + 2j]).conj().imag)
    tensor([-2.])

    Raises:
        InputError: it has no values in memory.
    """
    if tensor.is_neg():
        return tensor.resolve_neg()
    try:
        if type(tensor) not in _USUAL and hasattr(tensor, "fake_mode"):
            pass  # torch would warn of the question
        elif tensor.data_ptr() or not tensor.numel():
            return tensor
    except RuntimeError:
        pass  # torch's word for all that has no memory
    else:
        if tensor._is_zerotensor():
            return torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    raise InputError(
        f"{name} has no values in memory: it is sparse, on meta, or of torch.export, torch.vmap or another transform; "
        "give plain tensors."
    )


def plainly(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """Decorate an operation: negations that torch has put off in its arguments are done first."""

    @functools.wraps(function)
    def run(*args: Given.args, **named: Given.kwargs) -> Returned:
        return function(*map(_resolved, args), **{name: _resolved(value) for name, value in named.items()})  # pyright: ignore

    return run


def _resolved(value: Any) -> Any:
    if isinstance(value, Tensor):
        return plain("a tensor", value) if value.is_neg() or value._is_zerotensor() else value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_resolved, value))
    if isinstance(value, (list, tuple)):
        return type(value)(map(_resolved, value))
    return value
