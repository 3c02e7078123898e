"""Sparse convolutions as implicit matrix products: forward, and the gradients of the input and of the weight.

Nothing is added atomically, and which block a row falls into does not change the order of its sum: slots ascending,
channels in steps of 32. The block sizes depend on the sizes of the operands alone, never on the GPU or on a timing,
so that the same input gives the same bits again.
"""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...contract import Epilogue
from ...derivatives import Closed, once
from ...table import Table
from ..gpu import on
from ..reference.products import turned
from . import tables
from .finish import Rule, finished
from .launch import jit, padded

FUSED = 128  # widest row that a program holds, so that a norm can follow in the same pass


@jit
def _conv(
    x, weight, inputs, slots, counts, order, out, bias, scale, shift, gamma, residual,
    n, m, c, d, k, slot_stride, c_stride, d_stride, columns, eps,
    GELU: tl.constexpr, NORM: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    block = program // columns  # the columns of a block side by side: they read the same rows
    cols = program % columns * COLS + tl.arange(0, COLS)
    there = cols < d
    steps = tl.cdiv(c, CHANNELS)
    total = tl.zeros([ROWS, COLS], tl.float32)
    for step in range(tl.load(counts + block) * steps):
        listed = block.to(tl.int64) * k + step // steps
        channels = step % steps * CHANNELS + tl.arange(0, CHANNELS)
        source = tl.load(inputs + listed * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        slot = tl.load(slots + listed).to(tl.int64)
        a = tl.load(
            x + source[:, None] * c + channels[None],
            ((source >= 0) & (source < n))[:, None] & (channels < c)[None],
            0.0,
        )
        b = tl.load(
            weight + slot * slot_stride + channels[:, None] * c_stride + cols[None] * d_stride,
            (channels < c)[:, None] & there[None],
            0.0,
        )
        total = tl.dot(a, b, total, input_precision=PRECISION)
    places = block * ROWS + tl.arange(0, ROWS)
    rows = tl.load(order + places, places < m, 0)
    inside = (places < m)[:, None] & there[None]
    total = finished(total, rows, cols, inside, d, bias, scale, shift, gamma, residual, eps, GELU, NORM)
    tl.store(out + rows[:, None] * d + cols[None], total, inside)


@jit
def _weight_gradient(
    x, grad, table, listed, counts, out, n, m, k, c, d, c_blocks, d_blocks, parts,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Sum x^T grad over one part of one slot's pairs; the parts are added up afterwards, in order."""
    program = tl.program_id(0)
    cols = program % d_blocks * COLS + tl.arange(0, COLS)
    channels = program // d_blocks % c_blocks * CHANNELS + tl.arange(0, CHANNELS)
    slot = program // (d_blocks * c_blocks) % k
    part = program // (d_blocks * c_blocks) // k
    count = tl.load(counts + slot)
    share = tl.cdiv(count, parts)
    stop = tl.minimum(part * share + share, count)
    total = tl.zeros([CHANNELS, COLS], tl.float32)
    for start in range(part * share, stop, ROWS):
        places = start + tl.arange(0, ROWS)
        row = tl.load(listed + slot.to(tl.int64) * (m + 1) + places, places < stop, 0).to(tl.int64)
        source = tl.load(table + row * k + slot, places < stop, -1).to(tl.int64)
        a = tl.load(
            x + source[:, None] * c + channels[None],
            ((source >= 0) & (source < n))[:, None] & (channels < c)[None],
            0.0,
        )
        b = tl.load(grad + row[:, None] * d + cols[None], (places < stop)[:, None] & (cols < d)[None], 0.0)
        total = tl.dot(tl.trans(a), b, total, input_precision=PRECISION)
    at = out + ((part.to(tl.int64) * k + slot) * c + channels[:, None]) * d + cols[None]
    tl.store(at, total, (channels < c)[:, None] & (cols < d)[None])


def product(x: Tensor, weight: Tensor, table: Table, precision: str, dtype: torch.dtype, epilogue: Epilogue) -> Tensor:
    """Return (m, d): the sums over the slots of `table` (m, k) of rows of `x` (n, c) times `weight` (k, c, d).

    `x`, of the weight's dtype, and the table are contiguous, the weight is any view. What follows is anything but
    geglu, and a norm of at most `FUSED` channels.
    """
    (m, k), (_, c, d) = table.rows.shape, weight.shape
    out = x.new_empty(m, d, dtype=dtype)
    if not m:
        return out
    sizes = block_sizes(m, c, d, x.dtype, precision)
    walk, rule = table.pairs(tables.blocks, sizes["ROWS"]), Rule.of(epilogue)
    parameters = [None if t is None else t.detach().contiguous() for t in epilogue.tensors]
    columns = triton.cdiv(d, sizes["COLS"])
    with on(x):
        _conv[(len(walk.counts) * columns,)](
            x, weight, walk.inputs, walk.slots, walk.counts, walk.order, out, *parameters,
            len(x), m, c, d, k, *weight.stride(), columns, rule.eps,
            GELU=rule.activation == "gelu", NORM=rule.norm, PRECISION=precision, **sizes,
        )  # fmt: skip
    return out


def block_sizes(m: int, c: int, d: int, dtype: torch.dtype, precision: str) -> dict[str, int]:
    """Return the sizes of a block of the convolution, and the warps and stages that work on it.

    Many rows: large blocks, which read the weight less often. Few rows: small ones, so that every multiprocessor has
    some. Chosen by compiling, so that no registers spill, not by timing: bench_gpu.py --tune times the alternatives.
    """
    whole = dtype == torch.float32
    threefold = whole and precision == "tf32x3"
    rows = 32 if m < 1 << 12 else 64 if m < 1 << 16 or threefold else 128
    cols = padded(d, most=FUSED)
    warps = 8 if rows * cols >= (64 if threefold else 128) * FUSED else 4
    # Stages: inputs and slots are read two steps ahead of the rows that they name, those two ahead of the product.
    return {
        "ROWS": rows,
        "CHANNELS": padded(c, most=32),
        "COLS": cols,
        "num_warps": warps,
        "num_stages": 3 if whole else 5,
    }


def weight_gradient(x: Tensor, grad: Tensor, table: Table, precision: str) -> Tensor:
    """Return (k, c, d) float32 for contiguous `x` (n, c) and `grad` (m, d) of one dtype."""
    (m, k), c, d = table.rows.shape, x.shape[1], grad.shape[1]
    parts = min(max(m >> 13, 1), 64)
    sizes = {"CHANNELS": padded(c, most=64), "COLS": padded(d, most=64), "ROWS": 32}
    c_blocks, d_blocks = triton.cdiv(c, sizes["CHANNELS"]), triton.cdiv(d, sizes["COLS"])
    out = x.new_zeros(parts, k, c, d, dtype=torch.float32)
    if m:
        listed, counts = table.pairs(tables.pairs)
        with on(x):
            _weight_gradient[(parts * k * c_blocks * d_blocks,)](
                x, grad, table.rows, listed, counts, out, len(x), m, k, c, d, c_blocks, d_blocks, parts,
                PRECISION=precision, num_warps=4, num_stages=3, **sizes,
            )  # fmt: skip
    return out.sum(0)


class Conv(Closed):
    """Keeps its inputs; a gradient of the input is a convolution through the turned table."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, table: Table, precision: str) -> Tensor:
        """Return (m, d) in the dtype of `x`; products are of the weight's."""
        rows = x.to(weight.dtype).contiguous()
        ctx.save_for_backward(rows, weight)
        ctx.table, ctx.precision, ctx.dtype = table, precision, x.dtype
        return product(rows, weight, table, precision, x.dtype, Epilogue())

    @staticmethod
    @once
    def backward(ctx, grad: Tensor):
        """Return the gradients of `x` and of the weight."""
        (x, weight), table = ctx.saved_tensors, ctx.table
        grad = grad.to(weight.dtype).contiguous()
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            back, there = weight.transpose(1, 2), table.transposed(len(x), turned)
            grad_x = product(grad, back, there, ctx.precision, ctx.dtype, Epilogue())
        if ctx.needs_input_grad[1]:
            grad_weight = weight_gradient(x, grad, table, ctx.precision).to(weight.dtype)
        return grad_x, grad_weight, None, None
