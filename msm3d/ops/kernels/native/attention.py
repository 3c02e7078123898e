"""Attention within a window of rows."""

import ctypes
from ctypes import byref

import torch
from torch import Tensor
from torch import get_num_threads as threads

from ... import library
from ...derivatives import Operation, first, learning
from ...library import address, dense
from .instructions import chosen


def attend(
    qkv: Tensor, offsets: tuple[int, ...], window: int, dropout: float = 0.0, seed: int = 0, isa: str | None = None
) -> Tensor:
    """Return softmax(q k / sqrt(e)) v over the window of each row."""
    learned = learning(qkv)
    return _Attend.run(learned, learned, qkv, offsets, window, dropout, seed, isa)[0]


class _Attend(Operation):
    """Keeps queries, keys, values, the result and one number per row and head."""

    @staticmethod
    def forward(
        keep: bool, qkv: Tensor, offsets: tuple[int, ...], window: int, dropout: float, seed: int, isa: str | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the result and, if it is to be kept, what its gradient needs of each row and head."""
        wide = dense("qkv", qkv, torch.float32)
        n, _, h, e = wide.shape
        out = library.empty((n, h, e))
        lse = library.empty((n, h)) if keep else None
        if n:
            arguments, kept = _attend_arguments(wide, out, lse, offsets, window, dropout, seed, isa)
            library.call("attend", chosen(isa), byref(arguments))
            del kept
        return out.to(qkv.dtype), lse

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, qkv, *ctx.arguments = inputs
        ctx.save_for_backward(qkv, *output)
        ctx.set_materialize_grads(False)
        if output[1] is not None:
            ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx, grad: Tensor, _):
        arguments = ctx.arguments

        def compute(grad: Tensor, qkv: Tensor, out: Tensor, lse: Tensor | None) -> tuple[Tensor]:
            if lse is None:  # nobody knew that it would be needed
                out, lse = _Attend.forward(True, qkv, *arguments)
            wide, grad = dense("qkv", qkv, torch.float32), dense("grad", grad, torch.float32)
            out, grad_qkv = dense("out", out, torch.float32), library.empty(wide.shape)
            if len(wide):
                filled, kept = _attend_arguments(wide, out, lse, *arguments)
                filled.grad_out, filled.grad_qkv = address(grad), address(grad_qkv)
                library.call("attend_gradient", chosen(arguments[-1]), byref(filled))
                del kept
            return (grad_qkv.to(qkv.dtype),)

        return None, *first(compute, grad, *ctx.saved_tensors), None, None, None, None, None


def _attend_arguments(qkv, out, lse, offsets, window, dropout, seed, isa) -> tuple[ctypes.Structure, object]:
    """Return the structure, and what it points to."""
    starts = library.integers(offsets)
    n, _, h, e = qkv.shape
    return library.Attend(
        *(threads(), n, h, e, len(offsets) - 1, window, seed, dropout, ctypes.addressof(starts)),
        *(address(tensor) for tensor in (qkv, out, lse)),
    ), starts
