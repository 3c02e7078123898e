"""Descriptors: weighted sums of rows of each level, side by side, each computed once and copied to its points."""

import ctypes
from ctypes import byref, c_void_p
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import get_num_threads as threads

from ... import library
from ...contract import Tensors
from ...derivatives import Operation, first, learning
from ...library import CODES, address, dense
from .instructions import chosen


def blend(
    features: Tensors,
    rows: Tensors,
    weights: Tensors,
    owner: Tensor | None,
    dtype: torch.dtype,
    out: Tensor | None,
    isa: str | None = None,
) -> Tensor:
    """Return the sums of each level's rows times their weights, side by side."""
    corners = _Corners.of(rows, weights, owner)
    if out is None:
        return _Blend.run(learning(*features), corners, dtype, isa, *features)
    return _blended(corners, isa, features, out)


class _Blend(Operation):
    @staticmethod
    def forward(corners: "_Corners", dtype: torch.dtype, isa: str | None, *features: Tensor) -> Tensor:
        out = library.empty((len(corners), sum(f.shape[1] for f in features)), dtype)
        return _blended(corners, isa, features, out)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.corners, _, ctx.isa, *features = inputs
        ctx.save_for_backward(*features)

    @staticmethod
    def backward(ctx, grad: Tensor):
        corners, isa, needed = ctx.corners, ctx.isa, ctx.needs_input_grad[3:]

        def compute(grad: Tensor, *features: Tensor) -> tuple[Tensor | None, ...]:
            grad = dense("grad", grad, torch.float32)
            grads = [library.empty(f.shape) if need else None for f, need in zip(features, needed, strict=True)]
            arguments, kept = _blend_arguments(features, corners, grad)
            outputs = library.pointers(grads)
            arguments.grad_out, arguments.grad_features = address(grad), ctypes.cast(outputs, c_void_p)
            library.call("blend_gradient", chosen(isa), byref(arguments))
            del kept
            return tuple(None if g is None else g.to(f.dtype) for g, f in zip(grads, features, strict=True))

        return (None,) * 3 + first(compute, grad, *ctx.saved_tensors)


@dataclass
class _Corners:
    """Which rows are blended, as the library takes them."""

    rows: list[Tensor]
    weights: list[Tensor]
    owner: Tensor | None

    @classmethod
    def of(cls, rows: Tensors, weights: Tensors, owner: Tensor | None) -> "_Corners":
        return cls(
            [dense("rows", r, torch.int32) for r in rows],
            [dense("weights", w, torch.float32) for w in weights],
            None if owner is None else dense("owner", owner, torch.int64),
        )

    def __len__(self) -> int:
        return len(self.rows[0]) if self.owner is None else len(self.owner)


def _blended(corners: _Corners, isa: str | None, features: Tensors, out: Tensor) -> Tensor:
    """Fill `out` and return it."""
    wide = [dense("features", f, torch.float32) for f in features]
    arguments, kept = _blend_arguments(wide, corners, out)
    library.call("blend", chosen(isa), byref(arguments))
    del kept
    return out


def _blend_arguments(features: Tensors, corners: _Corners, out: Tensor) -> tuple[ctypes.Structure, object]:
    """Return the structure, and what it points to."""
    rows, weights, owner = corners.rows, corners.weights, corners.owner
    sizes = [
        library.integers(part)
        for part in zip(*((*f.shape, r.shape[1]) for f, r in zip(features, rows, strict=True)), strict=True)
    ]
    arrays = [*sizes, *(library.pointers(part) for part in (features, rows, weights))]
    return library.Blend(
        *(threads(), len(out), len(rows[0]), len(features), CODES[out.dtype]),
        *(ctypes.addressof(array) for array in arrays),
        *(address(owner), address(out)),
    ), (arrays, features, corners)
