"""What torch can be told around a call, and what an extraction does not depend on."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from ..errors import InputError
from .compiled import uncompiled
from .derivatives import transformed
from .values import plain

Module = TypeVar("Module", bound=nn.Module)
Given = ParamSpec("Given")
Returned = TypeVar("Returned")


def as_usual(
    method: Callable[Concatenate[Module, Given], Returned],
) -> Callable[Concatenate[Module, Given], Returned]:
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
