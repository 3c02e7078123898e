"""Descriptors: weighted sums of rows of each level, side by side, written once, and the way back without atomics."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...contract import Tensors
from ...derivatives import Closed, once
from ..gpu import on
from .launch import jit, padded

ROWS = 16


@jit
def _blend(
    features, corners, weights, owner, out, n, c, k, width, first, columns,
    ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Write one level's columns of `ROWS` rows of the result."""
    program = tl.program_id(0)
    places = (program // columns).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    cols = program % columns * COLS + tl.arange(0, COLS)
    live, there = places < n, cols < c
    rows = places
    if owner is not None:
        rows = tl.load(owner + places, live, 0)
    total = tl.zeros([ROWS, COLS], tl.float32)
    for corner in range(k):
        source = tl.load(corners + rows * k + corner, live, -1).to(tl.int64)
        weight = tl.load(weights + rows * k + corner, live, 0.0).to(tl.float32)
        inside = (source >= 0)[:, None] & there[None]
        total += weight[:, None] * tl.load(features + source[:, None] * c + cols[None], inside, 0.0).to(tl.float32)
    tl.store(out + places[:, None] * width + first + cols[None], total, live[:, None] & there[None])


@jit
def _sum(source, members, weights, starts, out, c, k, width, first, COLS: tl.constexpr):
    """Write one row: the sum of `source`'s rows of its members, in order, times their weights."""
    row = tl.program_id(0).to(tl.int64)
    cols = tl.program_id(1) * COLS + tl.arange(0, COLS)
    total = tl.zeros([COLS], tl.float32)
    for place in range(tl.load(starts + row), tl.load(starts + row + 1)):
        member = tl.load(members + place)
        values = tl.load(source + member // k * width + first + cols, cols < c, 0.0).to(tl.float32)
        if weights is not None:
            values *= tl.load(weights + member).to(tl.float32)
        total += values
    tl.store(out + row * c + cols, total, cols < c)


def summed(
    source: Tensor, rows: Tensor, size: int, weights: Tensor | None = None, first: int = 0, channels: int | None = None
) -> Tensor:
    """Return (size, channels) float32: per row i the sum of those rows of `source` that `rows` sends to i, in order.

    `rows` (n,) or (n, k) says where each row of `source` (n, width), contiguous, goes, -1 for nowhere, and `weights` of
    its shape how much of it. Summed are `channels` columns from `first` on, all by default.
    """
    channels = source.shape[1] if channels is None else channels
    out = source.new_zeros(size, channels, dtype=torch.float32)
    if not size or not len(source):
        return out
    order, members = rows.reshape(-1).long().sort(stable=True)
    starts = torch.searchsorted(order, torch.arange(size + 1, device=rows.device))
    cols = padded(channels, most=128)
    with on(source):
        _sum[(size, triton.cdiv(channels, cols))](
            source, members, weights, starts, out, channels, rows.numel() // len(rows), source.shape[1], first,
            COLS=cols,
        )  # fmt: skip
    return out


def blended(features: Tensors, rows: Tensors, weights: Tensors, owner: Tensor | None, out: Tensor) -> Tensor:
    """Fill `out` (n, sum of c_l), contiguous, and return it."""
    n, width = out.shape
    first = 0
    for f, r, w in zip(features, rows, weights, strict=True):
        cols = padded(f.shape[1], most=128)
        columns = triton.cdiv(f.shape[1], cols)
        if n:
            with on(out):
                _blend[(triton.cdiv(n, ROWS) * columns,)](
                    f, r, w, owner, out, n, f.shape[1], r.shape[1], width, first, columns, ROWS=ROWS, COLS=cols
                )
        first += f.shape[1]
    return out


class Blend(Closed):
    """Keeps the tables alone: the way back is a sum over the points of each voxel, then over those it was read for."""

    @staticmethod
    def forward(
        ctx, rows: Tensors, weights: Tensors, owner: Tensor | None, dtype: torch.dtype, *features: Tensor
    ) -> Tensor:
        """Return (n, sum of c_l)."""
        n = len(rows[0]) if owner is None else len(owner)
        ctx.tables = rows, weights, owner
        ctx.sizes = [(f.shape, f.dtype) for f in features]
        return blended(
            features, rows, weights, owner, features[0].new_empty(n, sum(f.shape[1] for f in features), dtype=dtype)
        )

    @staticmethod
    @once
    def backward(ctx, grad: Tensor):
        """Return the gradients of the features."""
        rows, weights, owner = ctx.tables
        grad = grad.contiguous()
        if owner is not None:
            grad = summed(grad, owner, len(rows[0]))
        first, grads = 0, []
        for (shape, dtype), r, w, need in zip(ctx.sizes, rows, weights, ctx.needs_input_grad[4:], strict=True):
            total = summed(grad, r, shape[0], w, first, shape[1]) if need else None
            grads.append(None if total is None else total.to(dtype))
            first += shape[1]
        return None, None, None, None, *grads
