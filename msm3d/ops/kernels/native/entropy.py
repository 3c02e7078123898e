"""The mean cross-entropy of a linear layer, computed with its gradients: they take one pass over the rows."""

from ctypes import byref

import torch
from torch import Tensor
from torch import get_num_threads as threads

from ... import library
from ...derivatives import Operation, first, learning
from ...library import address, dense
from ..reference.entropy import cross_entropy as of_rows
from .instructions import chosen

CLASSES = 64  # of more, torch's products are as fast


def cross_entropy(
    x: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, rows: Tensor | None, isa: str | None = None
) -> Tensor:
    """Return the mean of -log of what softmax gives each row's own class."""
    if learning(x) or len(weight) > CLASSES:
        return of_rows(x, labels, weight, bias, rows)
    labels = dense("labels", labels, torch.int64)
    return _Entropy.run(learning(weight, bias), x, labels, rows, isa, weight, bias)[0]


class _Entropy(Operation):
    @staticmethod
    def forward(
        x: Tensor, labels: Tensor, rows: Tensor | None, isa: str | None, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        x, *layer = (dense(name, t, torch.float32) for name, t in (("x", x), ("weight", weight), ("bias", bias)))
        rows = None if rows is None else dense("rows", rows, torch.int64)
        loss, *grads = library.empty(()), library.empty(weight.shape), library.empty(bias.shape)
        arguments = library.Entropy(
            *(threads(), len(x), len(x) if rows is None else len(rows), x.shape[1], len(weight)),
            *map(address, (x, *layer, rows, labels, loss, *grads)),
        )
        library.call("entropy", chosen(isa), byref(arguments), name="cross_entropy")
        return loss.to(weight.dtype), *grads

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output[1:])

    @staticmethod
    def backward(ctx, grad: Tensor, *_):
        def compute(grad: Tensor, *grads: Tensor) -> tuple[Tensor, ...]:
            return tuple(g * grad for g in grads)

        return (None,) * 4 + first(compute, grad, *ctx.saved_tensors)
