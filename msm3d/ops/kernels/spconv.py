"""Convolutions by an installed spconv, the CUDA library of the published network; all else by the best other backend.

Before its first use on a GPU the backend compares a small convolution with `reference` there, which spconv 2.3.8 passed
on an H100; all but spconv's CUDA kernels agrees through its CPU build on one thread as well.

It is used only where it is named. Each slot of a table is one of spconv's matrix products ("native" algorithm), over
pairs made from the table; what follows is added by ours. spconv counts bytes in 32 bits and stops beyond: larger
products are computed in parts. It has no bfloat16 products in its wheels, and adds the slots' products up in the
weight's dtype: float16 is less exact than with `triton`. Never on a CPU: with two threads its results are wrong and
change from run to run.
"""

import functools
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..contract import Epilogue, Norm
from ..derivatives import Closed, once
from ..table import Table
from ..usual import plainly
from . import gpu
from .reference.products import finish

if TYPE_CHECKING:
    from .. import Backend

DTYPES = (torch.float32, torch.float16)
LIMIT = (1 << 31) - 2  # bytes of an operand that spconv takes


def why_not(device: torch.device) -> str | None:
    """Return None if `device` is a GPU and an spconv is installed that agrees with `reference` there."""
    if reason := gpu.missing("spconv", device):
        return reason
    try:
        _spconv()
    except Exception as e:  # a damaged or misplaced install asserts, or finds no library
        why = str(e) or type(e).__name__
        return f"spconv cannot be imported: {why}; pip install 'msm3d[cu126]', or 'msm3d[cu120]' up to Python 3.11."
    return _why_not_on(torch.cuda.current_device() if device.index is None else device.index)


@functools.cache
def _why_not_on(index: int) -> str | None:
    cure = "Use the triton or the reference backend."
    return gpu.unusable("spconv", index, lambda: _wrong(torch.device("cuda", index)), cure)


def _wrong(device: torch.device) -> str | None:
    """Return what differs from `reference` in a small convolution and its gradients."""
    from .. import spconv as ours

    random = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(s, generator=random).to(device).requires_grad_() for s in ((90, 32), (27, 32, 48)))
    table = torch.stack([torch.randperm(90, generator=random) for _ in range(27)], 1).int()
    table = torch.where(torch.rand(table.shape, generator=random) < 0.4, table, -1).to(device)
    example = (lambda ops: ops.conv(x, weight, table), [x, weight], {}, 1e-2)
    return gpu.disagreement(ours, {"convolutions": example}, random)


@functools.cache
def _spconv() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses what newer versions of torch call outdated
        import spconv.pytorch.ops as ops
    return ops


def rest(device: torch.device) -> "Backend":
    """Return the backend of all other operations: the best other one."""
    from .. import backend

    return backend(device)


@plainly
def conv(x: Tensor, weight: Tensor, table: Table, pre_norm: Norm | None, epilogue: Epilogue) -> Tensor:
    """Return the sums over the slots of x[table] weight, finished."""
    x = x if pre_norm is None else rest(x.device).normalize(x, pre_norm)
    return finish(_Conv.apply(x, weight, table.rows), epilogue)


def filters(weight: Tensor) -> Tensor:
    """Return `weight` (k, c, d) as spconv keeps it: (d, k, 1, 1, c)."""
    return weight.permute(2, 0, 1)[:, :, None, None].contiguous()


def pairs(table: Tensor) -> tuple[Tensor, Tensor]:
    """Return a table (m, k) as spconv's pairs: (2, k, m) int32 input and output rows, then -1, and (k,) their number.

    >>> pairs(torch.tensor([[-1, 1], [0, -1], [2, 0]], dtype=torch.int32))[0].tolist()
    [[[0, 2, -1], [1, 0, -1]], [[1, 2, -1], [0, 2, -1]]]
    """
    m, k = table.shape
    there = table.T >= 0
    places = torch.where(there, there.cumsum(1) - 1, m)
    rows = torch.arange(m, dtype=torch.int32, device=table.device).expand(k, m)
    listed = table.new_full((2, k, m + 1), -1)  # what is absent goes to a last place that is dropped
    for part, values in zip(listed, (table.T, rows), strict=True):
        part.scatter_(1, places, values)
        part[:, m] = -1
    return listed[:, :, :m].contiguous(), there.sum(1, dtype=torch.int32)


def _parts(x: Tensor, weight: Tensor, table: Tensor) -> Iterator[tuple[slice, Tensor | None, Tensor]]:
    """Yield output rows, the input rows that they need (None for all) and their table, each within spconv's limit."""
    k, c, d = weight.shape
    size = weight.element_size()
    pending = [(slice(0, len(table)), None, table)] if len(table) else []
    while pending:
        rows, inputs, part = pending.pop()
        n = len(x) if inputs is None else len(inputs)
        if max(n * c * size, len(part) * d * size, 8 * k * len(part)) <= LIMIT or len(part) == 1:
            yield rows, inputs, part
            continue
        half = (rows.start + rows.stop) // 2
        for a, b in ((half, rows.stop), (rows.start, half)):
            own = table[a:b]
            used, places = own[own >= 0].unique(return_inverse=True)
            moved = torch.full_like(own, -1)
            moved[own >= 0] = places.int()
            pending.append((slice(a, b), used.long(), moved))


class _Conv(Closed):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, table: Tensor) -> Tensor:
        rows = x.to(weight.dtype).contiguous()
        ctx.save_for_backward(rows, weight, table)
        ctx.dtype = x.dtype
        out = x.new_empty(len(table), weight.shape[2])
        given = filters(weight)
        with gpu.on(x):
            for part, inputs, own in _parts(rows, weight, table):
                source = rows if inputs is None else rows[inputs]
                out[part] = _spconv().indice_conv(source, given, *pairs(own), len(own)).to(x.dtype)
        return out

    @staticmethod
    @once
    def backward(ctx, grad: Tensor):
        rows, weight, table = ctx.saved_tensors
        grad = grad.to(weight.dtype).contiguous()
        grad_x, grad_weight = torch.zeros_like(rows), torch.zeros_like(weight)
        given = filters(weight)
        with gpu.on(rows):
            for part, inputs, own in _parts(rows, weight, table):
                source = rows if inputs is None else rows[inputs]
                of_x, of_filters = _spconv().indice_conv_backward(source, given, grad[part], *pairs(own))
                if inputs is None:
                    grad_x += of_x
                else:
                    grad_x[inputs] += of_x  # each row once, so in a fixed order
                grad_weight += of_filters.reshape(len(given), *weight.shape[:2]).permute(1, 2, 0)
        return grad_x.to(ctx.dtype), grad_weight, None
