"""What precedes and follows a product, and its gradients; a norm alone is a product's epilogue without the product."""

from collections.abc import Sequence
from ctypes import byref, c_float
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import get_num_threads as threads

from ... import library
from ...contract import ACTIVATIONS, NORMS, PARAMETERS, Epilogue, Norm
from ...derivatives import Operation, first, learning
from ...library import address, dense
from .instructions import chosen


@dataclass(frozen=True)
class Rule:
    """What of an operation is not a tensor with a gradient."""

    isa: str | None
    activation: str | None = None
    norm: str | None = None
    eps: float = 0.0
    factor: Tensor | None = None  # (n,) of each row of the input
    scale: Tensor | None = None  # (c,) of each channel of the input

    @classmethod
    def of(cls, epilogue: Epilogue, isa: str | None, *around: Tensor | None) -> "Rule":
        """Return the rule of what follows a product, and of the factor and the scale around it, if there are any."""
        kind, eps = (None, 0.0) if epilogue.norm is None else (epilogue.norm.kind, epilogue.norm.eps)
        return cls(isa, epilogue.activation, kind, eps, *around)

    def is_plain(self, parameters: Sequence[Tensor | None]) -> bool:
        """Return whether a bias and a residual are all that follows: then the sums' gradient is the result's."""
        return self.activation is None and self.norm is None and parameters[3] is None

    def fill(self, finish: Any, channels: int, parameters: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Fill the structure; return the tensors that it points to, to be kept during the call."""
        kept = [None if p is None else dense("parameter", p, torch.float32) for p in parameters]
        finish.channels, finish.eps = channels, self.eps
        finish.activation, finish.norm = code(self.activation, ACTIVATIONS), code(self.norm, NORMS)
        for name, parameter in zip(PARAMETERS, kept, strict=False):
            setattr(finish, name, address(parameter))
        return kept


def code(name: str | None, names: Sequence[str]) -> int:
    """Return a name's number in `abi.h`, 0 for none."""
    return 0 if name is None else names.index(name) + 1


def normalize(x: Tensor, norm: Norm, isa: str | None = None) -> Tensor:
    """Return the rows over their root mean square or spread."""
    epilogue = Epilogue(norm=norm)
    return _Finish.run(learning(x, *norm[1:3]), Rule.of(epilogue, isa), x, *epilogue.tensors)


def prepared(
    x: Tensor, weight: Tensor, pre_norm: Norm | None, isa: str | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the rows to multiply, a factor of each and a scale of each channel, as a norm before the product asks for.

    A division by the root mean square commutes with a product: without gradients, and if no row is rounded, the rows
    are multiplied as they are, the weights by the norm's scale and the sums by each row's factor.
    """
    if pre_norm is None:
        return x, None, None
    commutes = pre_norm.kind == "rmsnorm" and pre_norm.shift is None and weight.dtype == torch.float32
    if not commutes or learning(x, weight, pre_norm.scale):
        return normalize(x, pre_norm, isa), None, None
    rows = dense("x", x, torch.float32)
    factor = library.empty((len(rows),))
    library.call("inverse_rms", chosen(isa), threads(), *rows.shape, c_float(pre_norm.eps), rows, factor)
    return x, factor, dense("scale", pre_norm.scale, torch.float32)


class _Finish(Operation):
    """A norm alone."""

    @staticmethod
    def forward(rule: Rule, x: Tensor, *parameters: Tensor | None) -> Tensor:
        wide = dense("x", x, torch.float32)
        out = library.empty(wide.shape)
        arguments = library.FinishGradient(threads(), len(wide), address(wide))
        kept = rule.fill(arguments.finish, wide.shape[1], parameters)
        library.call("finish", chosen(rule.isa), byref(arguments), out)
        del kept
        return out.to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.rule, x, *parameters = inputs
        ctx.save_for_backward(x, *parameters[:4])

    @staticmethod
    def backward(ctx, grad: Tensor):
        rule, needed = ctx.rule, ctx.needs_input_grad[2:]

        def compute(grad: Tensor, x: Tensor, *parameters: Tensor | None):
            grad_x, *grads = finish_gradient(rule, x, grad, parameters, needed, x.shape[1])
            return grad_x.to(x.dtype), *grads

        return None, *first(compute, grad, *ctx.saved_tensors), None


def finish_gradient(
    rule: Rule, x: Tensor | None, grad: Tensor, parameters: Sequence[Tensor | None], needed: Sequence[bool], d: int
) -> tuple[Tensor, ...]:
    """Return the gradients of the sums `x` (n, d) and of bias, scale, shift and gamma, None where not needed."""
    grad = dense("grad", grad, torch.float32)
    # Where only a bias and a residual followed, the sums were not kept: their gradient is the result's.
    sums: Tensor = grad if x is None else dense("x", x, torch.float32)
    grads = [library.empty(p.shape) if p is not None and n else None for p, n in zip(parameters, needed, strict=False)]
    if sums is grad and not any(g is not None for g in grads):
        return grad, *grads
    grad_x = library.empty(sums.shape)
    arguments = library.FinishGradient(threads(), len(sums), *(address(t) for t in (sums, grad, grad_x, *grads)))
    kept = rule.fill(arguments.finish, d, parameters)
    library.call("finish_gradient", chosen(rule.isa), byref(arguments), name="a gradient")
    del kept
    typed = [None if g is None or p is None else g.to(p.dtype) for g, p in zip(grads, parameters, strict=True)]
    return grad_x, *typed
