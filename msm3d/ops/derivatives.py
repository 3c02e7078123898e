"""Derivatives of operations that torch cannot look into: the first, by a backward pass; all else is refused."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..errors import BackendError


class Operation(torch.autograd.Function):
    """An operation with a gradient, under torch.func.grad as well, that says in a sentence what it has not."""

    @classmethod
    def run(cls, learned: bool, *inputs: Any) -> Any:
        """Run it, and without autograd's book-keeping where no derivative is asked for."""
        return cls.apply(*inputs) if learned else cls.forward(*inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        """Refuse."""
        raise BackendError("msm3d's operations cannot run under torch.vmap; call the model once per scan or weight.")

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Refuse."""
        raise BackendError(
            "msm3d's operations have no forward-mode derivatives; use torch.func.grad or vjp, or tensor.backward()."
        )


class Closed(Operation):
    """An operation that torch.func may not look into either."""

    @classmethod
    def apply(cls, *inputs: Any) -> Any:
        """Run it; refuse under torch.func."""
        if transformed():
            raise BackendError("this backend does not run under torch.func; use backend='native' or 'reference'.")
        return super().apply(*inputs)


class _First(Operation):
    """Gradients that have none of their own."""

    @staticmethod
    def forward(compute: Callable[..., Any], *tensors: Tensor | None) -> Any:
        return compute(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise BackendError(
            "this backend has first derivatives alone; for a derivative of a gradient use backend='reference'."
        )


def first(compute: Callable[..., Any], *tensors: Tensor | None) -> Any:
    """Return `compute(*tensors)`, the gradients of an operation: whoever derives them in turn is told that he cannot.

    The tensors that `compute` is given are plain ones, whatever torch.func has wrapped them in.
    """
    return _First.apply(compute, *tensors)


def once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate the backward pass of a `Closed` operation, whose gradients have none of their own."""

    @functools.wraps(backward)
    def run(ctx: Any, *grads: Tensor) -> Any:
        if not torch.is_grad_enabled():
            return backward(ctx, *grads)
        return first(lambda *_: backward(ctx, *grads), *grads, *ctx.saved_tensors)

    return run


def learning(*tensors: Tensor | None) -> bool:
    """Return whether a derivative with respect to any of these may be asked for."""
    if forward_ad._current_level >= 0 or transformed():
        return True
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def transformed() -> bool:
    """Return whether a transform of torch.func is at work, in which tensors are not what they seem."""
    return torch._C._functorch.maybe_current_level() is not None
