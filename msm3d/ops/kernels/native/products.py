"""Linear layers and sparse convolutions, finished in the same pass, and their gradients."""

from collections.abc import Sequence
from ctypes import byref
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import get_num_threads as threads

from ... import library
from ...contract import Epilogue, Norm
from ...derivatives import Operation, first, learning
from ...library import CODES, ISAS, address, dense
from ...table import Table
from ...usual import plain
from .epilogue import Rule, finish_gradient, prepared
from .instructions import chosen


def linear(x: Tensor, weight: Tensor, pre_norm: Norm | None, epilogue: Epilogue, isa: str | None = None) -> Tensor:
    """Return x weight^T, finished."""
    return _run(x, weight, None, pre_norm, epilogue, isa)


def conv(
    x: Tensor, weight: Tensor, table: Table, pre_norm: Norm | None, epilogue: Epilogue, isa: str | None = None
) -> Tensor:
    """Return the sums over the slots of x[table] weight, finished."""
    rows = dense("table", table.rows, torch.int32)
    return _run(x, weight, table if rows is table.rows else Table(rows), pre_norm, epilogue, isa)


def _run(
    x: Tensor, weight: Tensor, table: Table | None, pre_norm: Norm | None, epilogue: Epilogue, isa: str | None
) -> Tensor:
    x, *around = prepared(x, weight, pre_norm, isa)
    parameters = epilogue.tensors
    learned = learning(x, weight, *parameters)
    return _Product.run(learned, Rule.of(epilogue, isa, *around), learned, x, weight, table, *parameters)[0]


class _Product(Operation):
    """A convolution (table), or a linear layer (no table), finished in the same pass.

    Keeps its inputs and the sums before finishing; what follows them is computed again on the way back.
    """

    @staticmethod
    def forward(
        rule: Rule, keep: bool, x: Tensor, weight: Tensor, table: Table | None, *finish: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        out, product = _product(rule, x, weight, table, finish, keep and not rule.is_plain(finish))
        return out.to(x.dtype), product

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.rule, _, x, weight, ctx.table, bias, scale, shift, gamma, _ = inputs
        ctx.save_for_backward(x, weight, output[1], bias, scale, shift, gamma)
        ctx.set_materialize_grads(False)
        if output[1] is not None:
            ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx, grad: Tensor, _):
        rule, table = ctx.rule, ctx.table
        _, _, need_x, need_weight, _, *need_finish = ctx.needs_input_grad

        def compute(grad: Tensor, x: Tensor, weight: Tensor, product: Tensor | None, *finish: Tensor | None):
            bare = Rule(rule.isa)
            if product is None and not rule.is_plain(finish):  # nobody knew that they would be needed
                product = _product(bare, x, weight, table, (None,) * 5, False)[0]
            d = weight.shape[2 if table is not None else 0]
            of_product, *grads = finish_gradient(rule, product, grad, finish, need_finish, d)
            grad_x = grad_weight = None
            if need_x:
                back = None if table is None else table.transposed(len(x), turned)
                across = weight.t() if table is None else weight.transpose(1, 2)  # views: the kernel packs its weights
                grad_x = _product(bare, of_product, across, back, (None,) * 5, False)[0].to(x.dtype)
            if need_weight:
                grad_weight = _weight_gradient(rule, x, of_product, weight, table)
            return grad_x, grad_weight, *grads

        grad_x, grad_weight, *grads = first(compute, grad, *ctx.saved_tensors)
        return None, None, grad_x, grad_weight, None, *grads, grad if need_finish[4] else None


def _product(
    rule: Rule, x: Tensor, weight: Tensor, table: Table | None, finish: Sequence[Tensor | None], keep: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the finished rows (float32) and, if they are to be kept, the sums before finishing.

    `weight` may be any view; without a table it is (d, c), with one (k, c, d).
    """
    c, weight = x.shape[1], plain("weight", weight)
    (m, k), d = ((len(x), 1), len(weight)) if table is None else (table.rows.shape, weight.shape[2])
    isa = chosen(rule.isa)
    if weight.dtype == torch.bfloat16 and ISAS[isa] == "amx":
        rows = dense("x", x, _kept(x))
    elif weight.dtype == torch.bfloat16 and ISAS[isa] == "avx512bf16":
        rows = x.detach().to(torch.bfloat16)
        rows = dense("x", F.pad(rows, (0, 1)) if c % 2 else rows, torch.bfloat16)  # it takes channels in pairs
    else:  # no instruction takes bfloat16: the weights are widened
        rows = dense("x", x, torch.float32)
    out = library.empty((m, d // 2 if rule.activation == "geglu" else d))
    product = library.empty((m, d)) if keep else None
    strides = (0, weight.stride(1), weight.stride(0)) if table is None else weight.stride()
    pairs, *listed = _pairs(table, len(x))
    arguments = library.Product(
        *(threads(), len(x), m, k, c, CODES[weight.dtype], CODES[rows.dtype], rows.shape[1], *strides),
        *(address(tensor) for tensor in (rows, weight, rule.factor, rule.scale)),
        pairs,
        *(address(tensor) for tensor in (out, product)),
    )
    kept = rule.fill(arguments.finish, d, finish)
    library.call("product", isa, byref(arguments), name="linear" if table is None else "conv")
    del kept, listed
    return out, product


def _weight_gradient(rule: Rule, x: Tensor, grad: Tensor, weight: Tensor, table: Table | None) -> Tensor:
    """Return the gradient of `weight`, in the precision that its products are taken in."""
    isa = chosen(rule.isa)
    rounded = weight.dtype == torch.bfloat16 and ISAS[isa] == "amx"
    x, grad = (dense(name, t, _kept(t) if rounded else torch.float32) for name, t in (("x", x), ("grad", grad)))
    total = library.empty(weight.shape)
    a, b = (grad, x) if table is None else (x, grad)
    pairs, *listed = _pairs(table, len(a))
    arguments = library.WeightGradient(
        *(threads(), len(a), len(b), 1 if table is None else table.rows.shape[1], a.shape[1], b.shape[1]),
        *(CODES[weight.dtype if rounded else torch.float32], CODES[a.dtype], CODES[b.dtype]),
        *(address(tensor) for tensor in (a, b)),
        pairs,
        address(total),
    )
    library.call("weight_gradient", isa, byref(arguments), name="a gradient")
    del listed
    return total.to(weight.dtype)


def _kept(x: Tensor) -> torch.dtype:
    """Return the type in which AMX takes rows: it rounds float32 on the way."""
    return torch.bfloat16 if x.dtype == torch.bfloat16 else torch.float32


def _pairs(table: Table | None, n: int) -> tuple[Any, ...]:
    """Return the structure with a table's pairs (none without one), and the tensors that it points to."""
    return (library.Pairs(),) if table is None else table.pairs(_listed, n)


def _listed(table: Tensor, n: int) -> tuple[Any, ...]:
    m, k = table.shape
    slots = library.empty((k + 1,), torch.int64)
    starts = library.empty((-(-m // library.PAIR_ROWS) + 1, k), torch.int32)
    library.call("count_pairs", threads(), table, m, k, n, slots, starts, name="conv")
    rows_in, rows = (library.empty((int(slots[-1]),), torch.int32) for _ in range(2))
    library.call("list_pairs", threads(), table, m, k, slots, starts, rows_in, rows)
    return library.Pairs(*map(address, (slots, starts, rows_in, rows))), slots, starts, rows_in, rows


def turned(table: Tensor, n: int) -> Tensor:
    """Return the table (n, k) of the opposite direction: where input row i goes, slot by slot."""
    m, k = table.shape
    back = library.empty((n, k), torch.int32)
    library.call("turn", threads(), table, m, k, n, back, name="a gradient")
    return back
