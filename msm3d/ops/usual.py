"""What torch does around a call, and what our operations do not depend on: compilers, defaults, deferred negations."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from ..errors import InputError
from .derivatives import transformed

Module = TypeVar("Module", bound=nn.Module)
Given = ParamSpec("Given")
Returned = TypeVar("Returned")
_USUAL = Tensor, nn.Parameter


def uncompiled(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """Return `function` as it runs in code that is compiled: uncompiled, like all that it calls.

    `torch.compiler.disable` at once would import the compiler, which takes longer than all else.
    """

    @functools.wraps(function)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> Returned:
        called = torch.compiler.disable(function) if torch.compiler.is_compiling() else function
        return called(*args, **kwargs)

    return run


def as_usual(method: Callable[Concatenate[Module, Given], Returned]) -> Callable[Concatenate[Module, Given], Returned]:
    """Decorate a model's method that takes points: it computes what it computes where torch was told nothing.

    Compiled code calls it as it is. A default device and autocast are not for it: where the weights are and what they
    are multiplied in, the model says. What records operations on tensors to play them again is refused: which rows are
    read hangs on the points.
    """

    @functools.wraps(method)
    def run(model: Module, *args: Given.args, **named: Given.kwargs) -> Returned:
        exporting = getattr(torch.compiler, "is_exporting", lambda: False)()
        if exporting or torch.jit.is_tracing():
            raise InputError(
                "the model cannot be exported or traced: which rows are read hangs on the points; "
                "save it with save_pretrained."
            )
        if transformed():
            raise InputError(
                "the model cannot run under torch.func (grad, jvp, vmap and the like): what it does with the points "
                "are not operations on tensors; use model(points) and .backward()."
            )
        for value in _tensors(args[:1]):
            plain("points", value)
        with ExitStack() as stack:
            if torch.get_default_device().type != "cpu":
                stack.enter_context(torch.device("cpu"))
            for kind in {"cpu", next(model.parameters()).device.type} - {"meta"}:
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
            return method(model, *args, **named)

    return uncompiled(run)


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values.values() if isinstance(values, Mapping) else values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (Mapping, list, tuple)):
            yield from _tensors(value)


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
