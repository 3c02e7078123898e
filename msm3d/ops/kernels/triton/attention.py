"""Attention within a window of rows, forward and backward, its scores never in memory.

flex_attention would have to be compiled by torch for half a minute and takes no heads of fewer than 16 channels; the
network's have 8. Scenes begin their own blocks of rows, so that a scene attends alike alone and in a batch.
"""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false

import functools
from itertools import pairwise

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...derivatives import Closed, once
from ..gpu import on
from .launch import jit, padded

ROWS = 64  # queries of a block, and keys that it looks at in one step; and the other way round on the way back


@triton.jit
def _rows_of(base, rows, inside, row_stride, E, WIDTH: tl.constexpr):
    """Load (rows, E channels) of one head as float32, zeros beyond."""
    channels = tl.arange(0, WIDTH)
    mask = inside[:, None] & (channels < E)[None]
    return tl.load(base + rows[:, None] * row_stride + channels[None], mask, 0.0).to(tl.float32)


@triton.jit
def _kept(seed, queries, keys, head, dropout):
    """Return (queries, keys): 0 where dropout takes a weight away, else what makes up for it."""
    zero = queries[:, None] * 0 + keys[None] * 0
    number, _, _, _ = tl.random.philox(seed, zero + queries[:, None], zero + keys[None], zero + head, zero)
    return tl.where(tl.uint_to_uniform_float(number) >= dropout, 1 / (1 - dropout), 0.0)


@jit
def _forward(
    qkv, blocks, out, lse, heads, E, window, scale, seed, dropout,
    DROPS: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    block, head = tl.program_id(0), tl.program_id(1)
    first, start, stop = tl.load(blocks + block * 3), tl.load(blocks + block * 3 + 1), tl.load(blocks + block * 3 + 2)
    stride = 3 * heads * E
    base = qkv + head * E
    queries = first + tl.arange(0, ROWS)
    live = queries < stop
    q = _rows_of(base, queries.to(tl.int64), live, stride, E, WIDTH) * scale
    most = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    mixed = tl.zeros([ROWS, WIDTH], tl.float32)
    for near in range(tl.maximum(first - window, start), tl.minimum(first + ROWS + window, stop), ROWS):
        keys = near + tl.arange(0, ROWS)
        there = keys < stop
        k = _rows_of(base + heads * E, keys.to(tl.int64), there, stride, E, WIDTH)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        seen = there[None] & (tl.abs(queries[:, None] - keys[None]) <= window)
        scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        safe = tl.where(higher == float("-inf"), 0.0, higher)  # a row may see nothing of this step's keys
        weights = tl.exp2(scores - safe[:, None])
        shrunk = tl.exp2(most - safe)
        total = total * shrunk + tl.sum(weights, 1)
        if DROPS:
            weights *= _kept(seed, queries, keys, head, dropout)
        v = _rows_of(base + 2 * heads * E, keys.to(tl.int64), there, stride, E, WIDTH)
        mixed = tl.dot(weights, v, mixed * shrunk[:, None], input_precision=PRECISION)
        most = higher
    channels = tl.arange(0, WIDTH)
    places = (queries.to(tl.int64) * heads + head)[:, None] * E + channels[None]
    inside = live[:, None] & (channels < E)[None]
    total = tl.where(live, total, 1.0)  # rows beyond the scene
    tl.store(out + places, mixed / total[:, None], inside)
    if lse is not None:
        tl.store(lse + queries.to(tl.int64) * heads + head, most + tl.log2(total), live)


@jit
def _backward_queries(
    qkv, blocks, grad, lse, delta, grad_qkv, heads, E, window, scale, seed, dropout,
    DROPS: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    block, head = tl.program_id(0), tl.program_id(1)
    first, start, stop = tl.load(blocks + block * 3), tl.load(blocks + block * 3 + 1), tl.load(blocks + block * 3 + 2)
    stride = 3 * heads * E
    base = qkv + head * E
    queries = first + tl.arange(0, ROWS)
    live = queries < stop
    wide = queries.to(tl.int64)
    q = _rows_of(base, wide, live, stride, E, WIDTH) * scale
    g = _rows_of(grad + head * E, wide, live, heads * E, E, WIDTH)
    level = tl.load(lse + wide * heads + head, live, 0.0)
    offset = tl.load(delta + wide * heads + head, live, 0.0)
    of_q = tl.zeros([ROWS, WIDTH], tl.float32)
    for near in range(tl.maximum(first - window, start), tl.minimum(first + ROWS + window, stop), ROWS):
        keys = near + tl.arange(0, ROWS)
        there = keys < stop
        k = _rows_of(base + heads * E, keys.to(tl.int64), there, stride, E, WIDTH)
        v = _rows_of(base + 2 * heads * E, keys.to(tl.int64), there, stride, E, WIDTH)
        seen = live[:, None] & there[None] & (tl.abs(queries[:, None] - keys[None]) <= window)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        weights = tl.where(seen, tl.exp2(scores - level[:, None]), 0.0)
        of_weights = tl.dot(g, tl.trans(v), input_precision=PRECISION)
        if DROPS:
            of_weights *= _kept(seed, queries, keys, head, dropout)
        of_scores = weights * (of_weights - offset[:, None])
        of_q = tl.dot(of_scores, k, of_q, input_precision=PRECISION)
    channels = tl.arange(0, WIDTH)
    inside = live[:, None] & (channels < E)[None]
    # `scale` turns scores into powers of two; the scores' own scale is that times ln 2.
    tl.store(grad_qkv + wide[:, None] * stride + head * E + channels[None], of_q * (scale * 0.6931471805599453), inside)


@jit
def _backward_keys(
    qkv, blocks, grad, lse, delta, grad_qkv, heads, E, window, scale, seed, dropout,
    DROPS: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    block, head = tl.program_id(0), tl.program_id(1)
    first, start, stop = tl.load(blocks + block * 3), tl.load(blocks + block * 3 + 1), tl.load(blocks + block * 3 + 2)
    stride = 3 * heads * E
    base = qkv + head * E
    keys = first + tl.arange(0, ROWS)
    live = keys < stop
    wide = keys.to(tl.int64)
    k = _rows_of(base + heads * E, wide, live, stride, E, WIDTH)
    v = _rows_of(base + 2 * heads * E, wide, live, stride, E, WIDTH)
    of_k, of_v = tl.zeros([ROWS, WIDTH], tl.float32), tl.zeros([ROWS, WIDTH], tl.float32)
    for near in range(tl.maximum(first - window, start), tl.minimum(first + ROWS + window, stop), ROWS):
        queries = near + tl.arange(0, ROWS)
        there = queries < stop
        far = queries.to(tl.int64)
        q = _rows_of(base, far, there, stride, E, WIDTH) * scale
        g = _rows_of(grad + head * E, far, there, heads * E, E, WIDTH)
        level = tl.load(lse + far * heads + head, there, 0.0)
        offset = tl.load(delta + far * heads + head, there, 0.0)
        seen = there[:, None] & live[None] & (tl.abs(queries[:, None] - keys[None]) <= window)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        weights = tl.where(seen, tl.exp2(scores - level[:, None]), 0.0)
        of_weights = tl.dot(g, tl.trans(v), input_precision=PRECISION)
        if DROPS:
            kept = _kept(seed, queries, keys, head, dropout)
            of_v = tl.dot(tl.trans(weights * kept), g, of_v, input_precision=PRECISION)
            of_weights *= kept
        else:
            of_v = tl.dot(tl.trans(weights), g, of_v, input_precision=PRECISION)
        of_scores = weights * (of_weights - offset[:, None])
        of_k = tl.dot(tl.trans(of_scores), q, of_k, input_precision=PRECISION)
    channels = tl.arange(0, WIDTH)
    inside = live[:, None] & (channels < E)[None]
    at = grad_qkv + wide[:, None] * stride + (heads + head) * E + channels[None]
    tl.store(at, of_k * 0.6931471805599453, inside)
    tl.store(at + heads * E, of_v, inside)


@functools.lru_cache(maxsize=64)
def _blocks(offsets: tuple[int, ...], device: torch.device) -> Tensor:
    """Return (blocks, 3) int32: the first row of each block of rows, and where its scene starts and stops."""
    listed = [(first, start, stop) for start, stop in pairwise(offsets) for first in range(start, stop, ROWS)]
    return torch.tensor(listed, dtype=torch.int32).view(-1, 3).to(device)


class Attend(Closed):
    """Keeps queries, keys, values, the result and one number per row and head."""

    @staticmethod
    def forward(ctx, qkv: Tensor, offsets: tuple[int, ...], window: int, dropout: float, seed: int, precision: str):
        """Return (n, h, e) for `qkv` (n, 3, h, e)."""
        qkv = qkv.contiguous()
        n, _, h, e = qkv.shape
        out = qkv.new_empty(n, h, e)
        lse = qkv.new_empty(n, h, dtype=torch.float32) if ctx.needs_input_grad[0] else None
        window = min(window, n)
        scale = e**-0.5 * 1.4426950408889634  # so that exp2 serves
        ctx.arguments = h, e, window, scale, seed, dropout
        ctx.options = dict(DROPS=dropout > 0, PRECISION=precision, ROWS=ROWS, WIDTH=padded(e))
        ctx.blocks = _blocks(offsets, qkv.device)
        if n:
            with on(qkv):
                given = qkv, ctx.blocks, out, lse, *ctx.arguments
                warps = 8 if dropout else 4
                _forward[(len(ctx.blocks), h)](*given, num_stages=2, num_warps=warps, **ctx.options)
        ctx.save_for_backward(qkv, out, lse)
        return out

    @staticmethod
    @once
    def backward(ctx, grad: Tensor):
        """Return the gradient of `qkv`."""
        qkv, out, lse = ctx.saved_tensors
        grad = grad.contiguous()
        grad_qkv = torch.empty_like(qkv)
        if len(qkv):
            delta = (grad.float() * out.float()).sum(-1)
            given = qkv, ctx.blocks, grad, lse, delta, grad_qkv, *ctx.arguments
            with on(qkv):
                for kernel in (_backward_queries, _backward_keys):
                    kernel[(len(ctx.blocks), ctx.arguments[0])](*given, num_stages=1, num_warps=8, **ctx.options)
        return grad_qkv, None, None, None, None, None
