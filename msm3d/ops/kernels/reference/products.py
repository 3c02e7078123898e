"""Norms, linear layers and sparse convolutions, and what follows them."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ...contract import Epilogue, Norm
from ...derivatives import Operation, learning
from ...table import Table

ROW_BUDGET = 1 << 18  # values of one chunk of rows: what a core's cache holds beside the products
PLAIN = Epilogue()


def normalize(x: Tensor, norm: Norm) -> Tensor:
    """Return the rows over their root mean square or spread; eps is added to the root, not to its square, in one."""
    scale, shift = norm.scale.to(x.dtype), None if norm.shift is None else norm.shift.to(x.dtype)
    if norm.kind == "layernorm":
        return F.layer_norm(x, scale.shape, scale, shift, norm.eps)
    rms = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * x.shape[-1] ** -0.5
    y = x / (rms + norm.eps) * scale
    return y if shift is None else y + shift


def linear(x: Tensor, weight: Tensor, pre_norm: Norm | None, epilogue: Epilogue) -> Tensor:
    """Return x weight^T, finished."""
    x = x if pre_norm is None else normalize(x, pre_norm)
    return finish(F.linear(x.to(weight.dtype), weight).to(x.dtype), epilogue)


def conv(x: Tensor, weight: Tensor, table: Table, pre_norm: Norm | None, epilogue: Epilogue) -> Tensor:
    """Return the sums over the slots of x[table] weight, finished."""
    x = x if pre_norm is None else normalize(x, pre_norm)
    if learning(x, weight):
        return finish(_Conv.apply(x, weight, table), epilogue)
    chunks = []
    for rows, product in _products(x, weight, table.rows):  # finishing each chunk while it is in cache
        rest = epilogue if epilogue.residual is None else epilogue._replace(residual=epilogue.residual[rows])
        chunks.append(finish(product, rest))
    return torch.cat(chunks)


def finish(y: Tensor, epilogue: Epilogue) -> Tensor:
    """Return the rows `y` of a product after all that follows."""
    if epilogue.bias is not None:
        y = y + epilogue.bias.to(y.dtype)
    if epilogue.activation == "gelu":
        y = F.gelu(y)
    elif epilogue.activation == "geglu":
        gate, value = y.chunk(2, -1)
        y = F.gelu(gate) * value
    if epilogue.norm is not None:
        y = normalize(y, epilogue.norm)
    if epilogue.gamma is not None:
        y = y * epilogue.gamma.to(y.dtype)
    return y if epilogue.residual is None else y + epilogue.residual


def _pairs(table: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """Return which (slot, row) pairs exist, the input row of each, slot by slot, and the number per slot."""
    slots = table.T.contiguous()
    there = slots >= 0
    return there, slots[there], there.sum(1).tolist()


def _products(x: Tensor, weight: Tensor, table: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield chunks of output rows and their sums: gather what exists, multiply slot by slot, add up in order."""
    rows = max(ROW_BUDGET // max(weight.shape[1:]), 256)
    for start in range(0, max(len(table), 1), rows):
        there, inputs, counts = _pairs(table[start : start + rows])
        gathered = x.index_select(0, inputs).to(weight.dtype)
        products = x.new_empty(len(inputs), weight.shape[2])
        for part, product, w in zip(gathered.split(counts), products.split(counts), weight, strict=True):
            product.copy_(part @ w) if x.dtype != weight.dtype else torch.mm(part, w, out=product)
        order = (there.flatten().cumsum(0) - 1).view(there.shape).T[there.T]  # by output row, then by slot
        first = F.pad(there.sum(0).cumsum(0), (1, 0))[:-1]
        yield slice(start, start + rows), F.embedding_bag(order, products, first, mode="sum")


def turned(table: Tensor, n: int) -> Tensor:
    """Return the table (n, k) of the opposite direction: where input row i goes, slot by slot."""
    m, k = table.shape
    back = table.new_full((n + 1, k), -1)  # what is absent goes to a last row that is dropped
    rows = torch.arange(m, dtype=table.dtype, device=table.device)[:, None].expand(m, k)
    return back.scatter_(0, torch.where(table < 0, n, table.clamp(max=n)).long(), rows)[:n]


class _Conv(Operation):
    """Keeps the inputs alone, where autograd through `_products` would keep every gathered row."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, table: Table) -> Tensor:
        return torch.cat([product for _, product in _products(x, weight, table.rows)])

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        x, weight, ctx.table = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, weight), table = ctx.saved_tensors, ctx.table.rows
        grad = grad.contiguous()
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            back = ctx.table.transposed(len(x), turned)
            grad_x = conv(grad, weight.transpose(1, 2).contiguous(), back, None, PLAIN)
        if ctx.needs_input_grad[1]:
            totals = list(torch.zeros_like(weight))
            rows = max(ROW_BUDGET // max(weight.shape[1:]), 256)
            for start in range(0, len(table), rows):
                part = grad[start : start + rows]
                there, inputs, counts = _pairs(table[start : start + rows])
                gathered = x.index_select(0, inputs).to(weight.dtype).split(counts)
                grads = part.index_select(0, there.nonzero()[:, 1]).to(weight.dtype).split(counts)
                totals = [torch.addmm(total, a.T, b) for total, a, b in zip(totals, gathered, grads, strict=True)]
            grad_weight = torch.stack(totals)
        return grad_x, grad_weight, None
