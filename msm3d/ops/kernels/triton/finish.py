"""What follows a product, row by row, and its gradients: bias, gelu or geglu, norm, a weight per channel, residual."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...contract import Epilogue
from ...derivatives import Closed, once
from ..gpu import on
from .launch import jit, padded

VALUES = 4096  # of one tile of rows
PROGRAMS = 512  # that sum up the parameters' gradients, each its share of the rows


@triton.jit
def gelu(x):
    """Return x times the normal distribution's share below x."""
    return 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))


@triton.jit
def _gelu_slope(x):
    return 0.5 * (1 + tl.erf(x * 0.7071067811865476)) + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)


@triton.jit
def _moments(y, inside, E, eps, NORM: tl.constexpr):
    """Return what a norm takes away from each row of `y`, zero outside, and what it multiplies it by."""
    if NORM == "layernorm":
        mean = tl.sum(y, 1) / E
        spread = tl.where(inside, y - mean[:, None], 0.0)
        return mean, 1 / tl.sqrt(tl.sum(spread * spread, 1) / E + eps)
    else:
        rms = tl.sqrt(tl.sum(y * y, 1) / E)
        return rms * 0, 1 / (rms + eps)


@triton.jit
def finished(
    y, rows, cols, inside, E, bias, scale, shift, gamma, residual, eps, GELU: tl.constexpr, NORM: tl.constexpr
):  # fmt: skip
    """Return the tile `y` of whole rows (float32, E channels, zero outside) after all that follows but geglu."""
    there = cols < E
    if bias is not None:
        y += tl.load(bias + cols, there, 0.0).to(tl.float32)[None]
    if GELU:
        y = gelu(y)
    if NORM is not None:
        away, by = _moments(y, inside, E, eps, NORM)
        y = (y - away[:, None]) * by[:, None] * tl.load(scale + cols, there, 0.0).to(tl.float32)[None]
        if shift is not None:
            y += tl.load(shift + cols, there, 0.0).to(tl.float32)[None]
    if gamma is not None:
        y *= tl.load(gamma + cols, there, 0.0).to(tl.float32)[None]
    if residual is not None:
        y += tl.load(residual + rows[:, None] * E + cols[None], inside, 0.0).to(tl.float32)
    return y


@triton.jit
def _gated(x, rows, cols, inside, E, bias):
    """Return the gate and the value of geglu, bias included: the two halves of rows of 2 E channels."""
    at = x + rows[:, None] * (2 * E) + cols[None]
    gate, value = tl.load(at, inside, 0.0).to(tl.float32), tl.load(at + E, inside, 0.0).to(tl.float32)
    if bias is not None:
        gate += tl.load(bias + cols, cols < E, 0.0).to(tl.float32)[None]
        value += tl.load(bias + E + cols, cols < E, 0.0).to(tl.float32)[None]
    return tl.where(inside, gate, 0.0), tl.where(inside, value, 0.0)


@jit
def _finish(
    x, bias, scale, shift, gamma, residual, out, n, E, eps,
    ACTIVATION: tl.constexpr, NORM: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, COLS)
    inside = (rows < n)[:, None] & (cols < E)[None]
    if ACTIVATION == "geglu":
        gate, value = _gated(x, rows, cols, inside, E, bias)
        y = finished(gelu(gate) * value, rows, cols, inside, E, None, scale, shift, gamma, residual, eps, False, NORM)
    else:
        y = tl.load(x + rows[:, None] * E + cols[None], inside, 0.0).to(tl.float32)
        y = finished(y, rows, cols, inside, E, bias, scale, shift, gamma, residual, eps, ACTIVATION == "gelu", NORM)
    tl.store(out + rows[:, None] * E + cols[None], y, inside)


@triton.jit
def _activated(x, rows, cols, inside, E, bias, ACTIVATION: tl.constexpr):
    """Return what an activation is given, bias included, the value that geglu gates, and the result, zero outside."""
    if ACTIVATION == "geglu":
        before, value = _gated(x, rows, cols, inside, E, bias)
        y = gelu(before) * value
    else:
        before = tl.load(x + rows[:, None] * E + cols[None], inside, 0.0).to(tl.float32)
        value = before
        if bias is not None:
            before += tl.load(bias + cols, cols < E, 0.0).to(tl.float32)[None]
        y = gelu(before) if ACTIVATION == "gelu" else before
        y = tl.where(inside, y, 0.0)
    return before, value, y


@triton.jit
def _before_norm(g, unit, by, inside, E, eps, NORM: tl.constexpr):
    """Return the gradient of a norm's rows from that of its unit rows, which are what it has made of them."""
    if NORM == "layernorm":
        along = tl.sum(g, 1)[:, None] / E + unit * (tl.sum(g * unit, 1)[:, None] / E)
        g = by[:, None] * (g - along)
    else:  # the root mean square's own slope is y / (E rms), and 0 for a row of zeros
        rms = tl.maximum(1 / by - eps, 1e-30)
        g = by[:, None] * (g - unit * (tl.sum(g * unit, 1) / (E * rms * by))[:, None])
    return tl.where(inside, g, 0.0)


@triton.jit
def _before_activation(g, before, value, ACTIVATION: tl.constexpr):
    """Return the gradients of what an activation was given, and of the value that geglu gates."""
    of_value = g
    if ACTIVATION == "geglu":
        of_value = g * gelu(before)
        g *= value * _gelu_slope(before)
    elif ACTIVATION == "gelu":
        g *= _gelu_slope(before)
    return g, of_value


@jit
def _finish_gradient(
    x, bias, scale, shift, gamma, grad, grad_x, of_bias, of_scale, of_shift, of_gamma, n, E, eps, share,
    ACTIVATION: tl.constexpr, NORM: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Take `share` rows per program; each adds up its share of the parameters' gradients in a row of its own."""
    program = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, COLS)
    there = cols < E
    sum_bias, sum_value = tl.zeros([COLS], tl.float32), tl.zeros([COLS], tl.float32)
    sum_scale, sum_shift, sum_gamma = sum_bias, sum_bias, sum_bias
    for start in range(0, share, ROWS):
        rows = program * share + start + tl.arange(0, ROWS)
        inside = ((rows < n) & (start + tl.arange(0, ROWS) < share))[:, None] & there[None]
        g = tl.load(grad + rows[:, None] * E + cols[None], inside, 0.0).to(tl.float32)
        # Forward again, up to what each step was given.
        before, value, y = _activated(x, rows, cols, inside, E, bias, ACTIVATION)
        away, by = _moments(y, inside, E, eps, NORM)
        unit, weight, last = y, 1.0, y
        if NORM is not None:
            weight = tl.load(scale + cols, there, 0.0).to(tl.float32)[None]
            unit = tl.where(inside, (y - away[:, None]) * by[:, None], 0.0)
            last = unit * weight
            if shift is not None:
                last += tl.load(shift + cols, there, 0.0).to(tl.float32)[None]
        # And back.
        if gamma is not None:
            sum_gamma += tl.sum(g * last, 0)
            g *= tl.load(gamma + cols, there, 0.0).to(tl.float32)[None]
        if NORM is not None:
            sum_scale += tl.sum(g * unit, 0)
            sum_shift += tl.sum(g, 0)
            g = _before_norm(g * weight, unit, by, inside, E, eps, NORM)
        g, of_value = _before_activation(g, before, value, ACTIVATION)
        if ACTIVATION == "geglu":
            sum_value += tl.sum(of_value, 0)
            tl.store(grad_x + rows[:, None] * (2 * E) + cols[None], g, inside)
            tl.store(grad_x + rows[:, None] * (2 * E) + cols[None] + E, of_value, inside)
        else:
            tl.store(grad_x + rows[:, None] * E + cols[None], g, inside)
        sum_bias += tl.sum(g, 0)
    if of_bias is not None:
        width = E
        if ACTIVATION == "geglu":
            width = 2 * E
            tl.store(of_bias + program * width + E + cols, sum_value, there)
        tl.store(of_bias + program * width + cols, sum_bias, there)
    _store(of_scale, program * E + cols, sum_scale, there)
    _store(of_shift, program * E + cols, sum_shift, there)
    _store(of_gamma, program * E + cols, sum_gamma, there)


@triton.jit
def _store(out, places, values, there):
    if out is not None:
        tl.store(out + places, values, there)


class Rule(NamedTuple):
    """What of an epilogue is not a tensor."""

    activation: str | None
    norm: str | None
    eps: float

    @classmethod
    def of(cls, epilogue: Epilogue) -> "Rule":
        """Return an epilogue's rule; without a norm eps is what nothing is divided by."""
        norm = epilogue.norm
        return cls(epilogue.activation, *((None, 1.0) if norm is None else (norm.kind, norm.eps)))


class Finish(Closed):
    """All that follows a product in one pass over its rows; forwards, nothing but the product is kept."""

    @staticmethod
    def forward(ctx, x: Tensor, dtype: torch.dtype, rule: Rule, *parameters: Tensor | None):
        """Return the rows (n, e) in `dtype`; the parameters are those of an epilogue."""
        x = x.contiguous()
        kept = [None if t is None else t.contiguous() for t in parameters]
        n, e = x.shape[0], x.shape[1] // (2 if rule.activation == "geglu" else 1)
        out = x.new_empty(n, e, dtype=dtype)
        ctx.rule = rule
        ctx.save_for_backward(x, *kept[:4])
        if n:
            cols = padded(e)
            rows = max(VALUES // cols, 1)
            with on(x):
                _finish[(triton.cdiv(n, rows),)](
                    x, *kept, out, n, e, rule.eps,
                    ACTIVATION=rule.activation, NORM=rule.norm, ROWS=rows, COLS=cols, num_warps=_warps(cols),
                )  # fmt: skip
        return out

    @staticmethod
    @once
    def backward(ctx, grad: Tensor):
        """Return the gradients of the product and of what followed."""
        x, bias, scale, shift, gamma = ctx.saved_tensors
        rule = ctx.rule
        n, e = grad.shape
        grad_x = torch.empty_like(x)
        cols = padded(e)
        rows = max(VALUES // cols // 2, 1)
        share = max(triton.cdiv(n, PROGRAMS), rows)
        programs = triton.cdiv(n, share)
        needed = ctx.needs_input_grad[3:]
        parts = [
            x.new_zeros(programs, len(p), dtype=torch.float32) if p is not None and need else None
            for p, need in zip((bias, scale, shift, gamma), needed, strict=False)
        ]
        if n:
            with on(x):
                _finish_gradient[(programs,)](
                    x, bias, scale, shift, gamma, grad.contiguous(), grad_x, *parts, n, e, rule.eps, share,
                    ACTIVATION=rule.activation, NORM=rule.norm, ROWS=rows, COLS=cols, num_warps=_warps(cols),
                )  # fmt: skip
        sums: Sequence[Tensor | None] = [
            None if part is None or p is None else part.sum(0).to(p.dtype)
            for part, p in zip(parts, (bias, scale, shift, gamma), strict=True)
        ]
        return grad_x, None, None, *sums, grad if needed[4] else None


def _warps(cols: int) -> int:
    return 4 if cols < 1024 else 8
