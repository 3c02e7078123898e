"""The operations in C++ for CPUs, forward and backward: `msm3d/csrc`, called through `library.py`.

Every call takes its number of threads from `torch.get_num_threads()`, releases the interpreter and may run beside
others. The same input gives the same bits, whatever the number of threads. The instruction set is the best that the
processor has and that agrees with the plainest one on a small example; the environment variable MSM3D_ISA, or `isa=`
on each operation, forces one. Products are computed in float32, or from bfloat16 with float32 sums; float64 goes to
`reference`. The first operation's documentation is in `reference`, which has the same functions.
"""

import ctypes
import functools
import os
from collections.abc import Sequence
from ctypes import byref, c_float, c_int64, c_void_p
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._util.words import warn
from ..errors import BackendError, InputError
from . import library, reference
from .compiled import uncompiled
from .derivatives import Operation, first, learning
from .library import BITS, ISAS, address
from .reference import Norm
from .table import Table
from .values import plain

NAME = "native"

_NORMS, _ACTIVATIONS, _DTYPES = (
    {name: code for code, name in enumerate(order)} for order in (library.NORMS, library.ACTIVATIONS, library.DTYPES)
)


def why_not(device: torch.device) -> str | None:
    """Return None if the library is there and `device` is a CPU, else a sentence for the user.

    There is a warning, once, where the library is there and cannot be used.

    Raises:
        BackendError: MSM3D_ISA names an instruction set that is not there.
    """
    if device.type != "cpu":
        return f"the native backend runs on CPUs, not on {device.type}."
    try:
        library.load()
    except OSError as e:
        return f"the native backend's library cannot be loaded: {e}; reinstall msm3d where a C++ compiler is found."
    except BackendError as e:
        return _unusable(str(e))
    if os.environ.get("MSM3D_ISA"):
        _isa(None)
    return None


@functools.cache
def _unusable(reason: str) -> str:
    warn(f"the native backend is not used: {reason}")
    return reason


# --- geometry -------------------------------------------------------------------------------------------------------


@uncompiled
def lookup(keys: Tensor, queries: Tensor, *, isa: str | None = None) -> Tensor:
    """Return for each query its row in `keys`, which ascend without repeats, or -1 where it is absent."""
    keys, queries = _dense("keys", keys, torch.int64, 1), _dense("queries", queries, torch.int64)
    rows = library.empty(queries.shape, torch.int32)
    library.call("lookup", _threads(), keys, len(keys), queries, queries.numel(), rows)
    return rows


@uncompiled
def group(keys: Tensor, columns: Sequence[Tensor], *, isa: str | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Put what has the same key together, and pick from each group the row with the smallest `columns`."""
    keys = _dense("keys", keys, torch.int64, 1)
    kept = []
    for i, column in enumerate(columns):
        if column.shape != keys.shape:
            raise InputError(f"columns[{i}] is {_shape(column)}; it needs one number per key, {_shape(keys)}.")
        column = column if column.dtype in (torch.float64, torch.float32, torch.uint8) else column.double()
        kept.append(plain(f"columns[{i}]", column))
    unique, owner, picks = (library.empty(keys.shape, torch.int64) for _ in range(3))
    groups = c_int64()
    strides = [column.stride(0) * column.element_size() for column in kept]
    dtypes = [_DTYPES[column.dtype] for column in kept]
    arrays = library.pointers(kept), library.integers(dtypes), library.integers(strides)
    library.call("group", _threads(), len(keys), keys, len(kept), *arrays, unique, owner, picks, byref(groups))
    return unique[: groups.value].clone(), owner, picks[: groups.value].clone()


@uncompiled
def octree(
    keys: Tensor, levels: int, *, isa: str | None = None
) -> list[tuple[Tensor, Tensor | None, Tensor | None, Tensor]]:
    """Build `levels` voxel sets over ascending Morton `keys`, fine to coarse, with the tables between them."""
    if not 1 <= levels <= BITS + 1:
        raise InputError(f"levels is {levels}; it must be from 1 to {BITS + 1}.")
    keys = _dense("keys", keys, torch.int64, 1)
    counts = (c_int64 * (BITS + 1))()
    library.call("octree_counts", keys, len(keys), counts, name="octree")
    sizes = counts[:levels]
    sets = [keys, *(library.empty((m,), torch.int64) for m in sizes[1:])]
    parents = [*(library.empty((m,), torch.int32) for m in sizes[:-1]), None]
    children = [None, *(library.empty((m, 8), torch.int32) for m in sizes[1:])]
    neighbours = [library.empty((m, 27), torch.int32) for m in sizes]
    library.call(
        "octree",
        _threads(),
        levels,
        counts,
        *(library.pointers(part) for part in (sets, parents, children, neighbours)),
    )
    return list(zip(sets, parents, children, neighbours, strict=True))


@uncompiled
def corners(
    cells: Tensor,
    ancestors: Tensor,
    neighbours: Tensor,
    level: int,
    scale: Tensor | None = None,
    *,
    isa: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the eight voxels of a level around the centres of finest cells, and their weights."""
    cells, neighbours = _dense("cells", cells, torch.int32, 2), _dense("neighbours", neighbours, torch.int32, 2)
    ancestors = _dense("ancestors", ancestors, torch.int64, 1)
    scale = None if scale is None else _dense("scale", scale, torch.float64, 2)
    r, m, scenes = len(ancestors), len(neighbours), 0 if scale is None else len(scale)
    for name, tensor, shape in (
        ("cells", cells, (r, 4)),
        ("neighbours", neighbours, (m, 27)),
        ("scale", scale, (scenes, 3)),
    ):
        if tensor is not None and tensor.shape != shape:
            raise InputError(f"{name} is {_shape(tensor)}; it needs {shape}.")
    rows, weights = library.empty((r, 8), torch.int32), library.empty((r, 8))
    arrays = cells, ancestors, neighbours, m, level, scale if scenes else c_void_p(), scenes, rows, weights
    library.call("corners", _threads(), r, *arrays)
    return rows, weights


# --- network --------------------------------------------------------------------------------------------------------


@uncompiled
def normalize(x: Tensor, norm: Norm, *, isa: str | None = None) -> Tensor:
    """Scale each row of `x` (n, c) to unit root mean square, or to zero mean and unit variance."""
    if x.dtype == torch.float64:
        return reference.normalize(x, norm)
    return _finished(_Finish, (x,), x, None, None, norm, None, None, _Rule(isa))


@uncompiled
def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    pre_norm: Norm | None = None,
    activation: str | None = None,
    norm: Norm | None = None,
    gamma: Tensor | None = None,
    residual: Tensor | None = None,
    isa: str | None = None,
) -> Tensor:
    """Multiply each row of `x` (n, c) by `weight` (d, c), as `torch.nn.Linear` does, and finish."""
    if torch.float64 in (x.dtype, weight.dtype):
        finish = {"activation": activation, "norm": norm, "gamma": gamma, "residual": residual}
        return reference.linear(x, weight, bias, pre_norm=pre_norm, **finish)
    _require_matrix("x", x)
    if weight.dim() != 2 or weight.shape[1] != x.shape[1]:
        raise InputError(f"weight is {_shape(weight)}; it needs (d, {x.shape[1]}) for x {_shape(x)}.")
    x, rule = _prepared(x, weight, pre_norm, isa)
    return _finished(_Product, (x, weight, None), x, bias, activation, norm, gamma, residual, rule)


@uncompiled
def conv(
    x: Tensor,
    weight: Tensor,
    table: Table | Tensor,
    bias: Tensor | None = None,
    *,
    pre_norm: Norm | None = None,
    activation: str | None = None,
    norm: Norm | None = None,
    gamma: Tensor | None = None,
    residual: Tensor | None = None,
    isa: str | None = None,
) -> Tensor:
    """Sum over the slots of `table` (m, k) the rows of `x` (n, c) times the slot's `weight` (k, c, d), and finish."""
    if torch.float64 in (x.dtype, weight.dtype):
        finish = {"activation": activation, "norm": norm, "gamma": gamma, "residual": residual}
        return reference.conv(x, weight, table, bias, pre_norm=pre_norm, **finish)
    _require_matrix("x", x)
    table = Table.of(table)
    rows = _dense("table", table.rows, torch.int32, 2)
    if rows is not table.rows:
        table = Table(rows)
    if weight.dim() != 3 or weight.shape[:2] != (rows.shape[1], x.shape[1]):
        raise InputError(
            f"weight is {_shape(weight)}; it needs ({rows.shape[1]}, {x.shape[1]}, d) "
            f"for table {_shape(rows)} and x {_shape(x)}."
        )
    x, rule = _prepared(x, weight, pre_norm, isa)
    return _finished(_Product, (x, weight, table), x, bias, activation, norm, gamma, residual, rule)


@uncompiled
def attend(
    qkv: Tensor, offsets: Sequence[int], window: int, dropout: float = 0.0, seed: int = 0, *, isa: str | None = None
) -> Tensor:
    """Softmax attention of each row to the `window` rows before it and as many after, within its scene.

    Dropout draws other numbers than `reference` does from the same seed.
    """
    if qkv.dtype == torch.float64:
        return reference.attend(qkv, offsets, window, dropout, seed)
    if qkv.dim() != 4 or qkv.shape[1] != 3:
        raise InputError(f"qkv is {_shape(qkv)}; it needs (n, 3, heads, channels).")
    ascending = all(a <= b for a, b in pairwise(offsets))
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(qkv) or not ascending:
        raise InputError(f"offsets is {list(offsets)}; it needs the first row of each scene, from 0 up to {len(qkv)}.")
    if window < 0 or not 0 <= dropout < 1:
        raise InputError(f"window is {window} and dropout {dropout}; they must be >= 0, and dropout below 1.")
    learned = learning(qkv)
    return _Attend.run(learned, learned, qkv, tuple(offsets), window, dropout, seed, isa)[0]


@uncompiled
def blend(
    features: Sequence[Tensor],
    rows: Sequence[Tensor],
    weights: Sequence[Tensor],
    owner: Tensor | None = None,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
    *,
    isa: str | None = None,
) -> Tensor:
    """Concatenate weighted sums of rows: out[i] = cat over levels of sum_j weights[l][i, j] features[l][rows[l][i, j]].

    A row of the result is computed once and copied to its points.
    """
    if not features or not len(features) == len(rows) == len(weights):
        raise InputError(f"{len(features)} features, {len(rows)} rows and {len(weights)} weights; give one per level.")
    if any(f.dtype == torch.float64 for f in features) or dtype == torch.float64:
        return reference.blend(features, rows, weights, owner, dtype, out)
    dtype = dtype or features[0].dtype
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise InputError(f"dtype is {dtype}; it must be torch.float32, torch.bfloat16 or torch.float16.")
    for level, (f, r, w) in enumerate(zip(features, rows, weights, strict=True)):
        _require_matrix(f"features[{level}]", f)
        if r.dim() != 2 or r.shape != w.shape or r.shape[1] > 8 or len(r) != len(rows[0]):
            raise InputError(
                f"rows[{level}] is {_shape(r)} and weights[{level}] is {_shape(w)}; both need "
                f"({len(rows[0])}, k) with k at most 8."
            )
    corners = _Corners.of(rows, weights, owner)
    if out is None:
        return _Blend.run(learning(*features), corners, dtype, isa, *features)
    shape = len(corners), sum(f.shape[1] for f in features)
    if out.shape != shape or out.dtype != dtype or not out.is_contiguous():
        raise InputError(f"out is {_shape(out)} {out.dtype}; it must be contiguous {shape} {dtype}.")
    return _blended(corners, isa, features, out)


# --- gradients ------------------------------------------------------------------------------------------------------


class _Product(Operation):
    """A convolution (table), or a linear layer (no table), finished in the same pass.

    Keeps its inputs and the sums before finishing; what follows them is computed again on the way back.
    """

    @staticmethod
    def forward(
        rule: "_Rule", keep: bool, x: Tensor, weight: Tensor, table: Table | None, *finish: Tensor | None
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
        rule, table, (need_x, need_weight), need_finish = ctx.rule, ctx.table, *_split(ctx.needs_input_grad)

        def compute(grad: Tensor, x: Tensor, weight: Tensor, product: Tensor | None, *finish: Tensor | None):
            bare = _Rule(rule.isa)
            if product is None and not rule.is_plain(finish):  # nobody knew that they would be needed
                product = _product(bare, x, weight, table, (None,) * 5, False)[0]
            d = weight.shape[2 if table is not None else 0]
            of_product, *grads = _finish_gradient(rule, product, grad, finish, need_finish, d)
            grad_x = grad_weight = None
            if need_x:
                turned = None if table is None else _turned(table, len(x))
                back = weight.t() if table is None else weight.transpose(1, 2)  # views: the kernel packs its weights
                grad_x = _product(bare, of_product, back, turned, (None,) * 5, False)[0].to(x.dtype)
            if need_weight:
                grad_weight = _weight_gradient(rule, x, of_product, weight, table)
            return grad_x, grad_weight, *grads

        grad_x, grad_weight, *grads = first(compute, grad, *ctx.saved_tensors)
        return None, None, grad_x, grad_weight, None, *grads, grad if need_finish[4] else None


def _split(needed: Sequence[bool]) -> tuple[Sequence[bool], Sequence[bool]]:
    """Return which gradients of x and weight are needed, and which of what follows them."""
    return needed[2:4], needed[5:]


class _Finish(Operation):
    """A norm alone."""

    @staticmethod
    def forward(rule: "_Rule", x: Tensor, *finish: Tensor | None) -> Tensor:
        wide = _dense("x", x, torch.float32)
        out = library.empty(wide.shape)
        arguments = library.FinishGradient(_threads(), len(wide), address(wide))
        kept = rule.fill(arguments.finish, wide.shape[1], finish)
        library.call("finish", _isa(rule.isa), byref(arguments), out)
        del kept
        return out.to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.rule, x, *finish = inputs
        ctx.save_for_backward(x, *finish[:4])

    @staticmethod
    def backward(ctx, grad: Tensor):
        rule, needed = ctx.rule, ctx.needs_input_grad[2:]

        def compute(grad: Tensor, x: Tensor, *finish: Tensor | None):
            grad_x, *grads = _finish_gradient(rule, x, grad, finish, needed, x.shape[1])
            return grad_x.to(x.dtype), *grads

        return None, *first(compute, grad, *ctx.saved_tensors), None


class _Attend(Operation):
    """Keeps queries, keys, values, the result and one number per row and head."""

    @staticmethod
    def forward(
        keep: bool, qkv: Tensor, offsets: tuple[int, ...], window: int, dropout: float, seed: int, isa: str | None
    ) -> tuple[Tensor, Tensor | None]:
        return _attended(qkv, keep, offsets, window, dropout, seed, isa)

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
                out, lse = _attended(qkv, True, *arguments)
            wide, grad = _dense("qkv", qkv, torch.float32), _dense("grad", grad, torch.float32)
            out, grad_qkv = _dense("out", out, torch.float32), library.empty(wide.shape)
            if len(wide):
                filled, kept = _attend_arguments(wide, out, lse, *arguments)
                filled.grad_out, filled.grad_qkv = address(grad), address(grad_qkv)
                library.call("attend_gradient", _isa(arguments[-1]), byref(filled))
                del kept
            return (grad_qkv.to(qkv.dtype),)

        return None, *first(compute, grad, *ctx.saved_tensors), None, None, None, None, None


def _attended(
    qkv: Tensor, keep: bool, offsets: tuple[int, ...], window: int, dropout: float, seed: int, isa: str | None
) -> tuple[Tensor, Tensor | None]:
    """Return the result of attention and, if it is to be kept, what its gradient needs of each row and head."""
    wide = _dense("qkv", qkv, torch.float32)
    n, _, h, e = wide.shape
    out = library.empty((n, h, e))
    lse = library.empty((n, h)) if keep else None
    if n:
        arguments, kept = _attend_arguments(wide, out, lse, offsets, window, dropout, seed, isa)
        library.call("attend", _isa(isa), byref(arguments))
        del kept
    return out.to(qkv.dtype), lse


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
            grad = _dense("grad", grad, torch.float32)
            grads = [library.empty(f.shape) if need else None for f, need in zip(features, needed, strict=True)]
            arguments, kept = _blend_arguments(features, corners, grad)
            outputs = library.pointers(grads)
            arguments.grad_out, arguments.grad_features = address(grad), ctypes.cast(outputs, c_void_p)
            library.call("blend_gradient", _isa(isa), byref(arguments))
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
    def of(cls, rows: Sequence[Tensor], weights: Sequence[Tensor], owner: Tensor | None) -> "_Corners":
        return cls(
            [_dense("rows", r, torch.int32, 2) for r in rows],
            [_dense("weights", w, torch.float32, 2) for w in weights],
            None if owner is None else _dense("owner", owner, torch.int64, 1),
        )

    def __len__(self) -> int:
        return len(self.rows[0]) if self.owner is None else len(self.owner)


def _blended(corners: _Corners, isa: str | None, features: Sequence[Tensor], out: Tensor) -> Tensor:
    """Fill `out` and return it."""
    wide = [_dense("features", f, torch.float32, 2) for f in features]
    arguments, kept = _blend_arguments(wide, corners, out)
    library.call("blend", _isa(isa), byref(arguments))
    del kept
    return out


# --- calls ----------------------------------------------------------------------------------------------------------


@dataclass
class _Rule:
    """What of an operation is not a tensor with a gradient."""

    isa: str | None
    activation: str | None = None
    norm: str | None = None
    factor: Tensor | None = None  # of each row of the input
    scale: Tensor | None = None  # of each channel of the input

    def is_plain(self, finish: Sequence[Tensor | None]) -> bool:
        """Return whether a bias and a residual are all that follows: then the sums' gradient is the result's."""
        return self.activation is None and self.norm is None and finish[3] is None

    def fill(self, finish: Any, channels: int, parameters: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Fill the structure; return the tensors that it points to, to be kept during the call."""
        kept = [None if p is None else _dense("parameter", p, torch.float32) for p in parameters]
        finish.channels, finish.activation, finish.norm = channels, _ACTIVATIONS[self.activation], _NORMS[self.norm]
        finish.eps = reference.EPS
        for name, parameter in zip(("bias", "scale", "shift", "gamma", "residual"), kept, strict=False):
            setattr(finish, name, address(parameter))
        return kept


def _prepared(x: Tensor, weight: Tensor, pre_norm: Norm | None, isa: str | None) -> tuple[Tensor, _Rule]:
    """Return the rows to multiply, and the rule with what a norm before the product asks for.

    A division by the root mean square commutes with a product: without gradients, and if no row is rounded, the rows
    are multiplied as they are, the weights by the norm's scale and the sums by each row's factor.
    """
    if pre_norm is None:
        return x, _Rule(isa)
    kind, scale, shift = pre_norm
    factors = kind == "rmsnorm" and shift is None and scale.shape == x.shape[1:]
    if not factors or weight.dtype != torch.float32 or learning(x, weight, scale):
        return normalize(x, pre_norm, isa=isa), _Rule(isa)
    rows = _dense("x", x, torch.float32)
    factor = library.empty((len(rows),))
    library.call("inverse_rms", _isa(isa), _threads(), *rows.shape, c_float(reference.EPS), rows, factor)
    return x, _Rule(isa, factor=factor, scale=_dense("scale", scale, torch.float32))


def _finished(function, tensors, x, bias, activation, norm, gamma, residual, rule: _Rule) -> Tensor:
    """Check what follows a product, and run it."""
    if activation not in _ACTIVATIONS:
        raise InputError(f"activation is {activation!r}; it must be 'gelu', 'geglu' or None.")
    kind, scale, shift = norm or (None, None, None)
    if kind not in _NORMS:
        raise InputError(f"norm is {kind!r}; it must be 'rmsnorm' or 'layernorm'.")
    if function is _Product:
        _, weight, table = tensors
        m, d = (len(x), len(weight)) if table is None else (len(table), weight.shape[2])
        if weight.dtype not in (torch.float32, torch.bfloat16):
            raise InputError(
                f"weight is {weight.dtype}; it must be torch.float32 or torch.bfloat16: call .float() or .bfloat16()."
            )
        if weight.numel() == 0:
            raise InputError(f"weight is {_shape(weight)}; it needs at least one slot and channel.")
    else:
        _require_matrix("x", x)
        m, d = x.shape
    if activation == "geglu" and d % 2:
        raise InputError(f"geglu halves the channels, but there are {d}; give the weight an even number.")
    e = d // 2 if activation == "geglu" else d
    parameters = (bias, (d,)), (scale, (e,)), (shift, (e,)), (gamma, (e,)), (residual, (m, e))
    names = "bias", "the norm's scale", "the norm's shift", "gamma", "residual"
    for name, (value, shape) in zip(names, parameters, strict=True):
        if value is not None and tuple(value.shape) != shape:
            raise InputError(f"{name} is {_shape(value)}; it needs {shape}.")
    rule.activation, rule.norm = activation, kind
    finish = bias, scale, shift, gamma, residual
    if function is _Finish:
        return _Finish.run(learning(x, *finish), rule, x, *finish)
    _, weight, table = tensors
    learned = learning(x, weight, *finish)
    return _Product.run(learned, rule, learned, x, weight, table, *finish)[0]


def _product(
    rule: _Rule, x: Tensor, weight: Tensor, table: Table | None, finish: Sequence[Tensor | None], keep: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the finished rows (float32) and, if they are to be kept, the sums before finishing.

    `weight` may be any view; without a table it is (d, c), with one (k, c, d).
    """
    c, weight = x.shape[1], plain("weight", weight)
    (m, k), d = ((len(x), 1), len(weight)) if table is None else (table.rows.shape, weight.shape[2])
    isa = _isa(rule.isa)
    if weight.dtype == torch.bfloat16 and ISAS[isa] == "amx":
        rows = _dense("x", x, _kept(x))
    elif weight.dtype == torch.bfloat16 and ISAS[isa] == "avx512bf16":
        rows = x.detach().to(torch.bfloat16)
        rows = _dense("x", F.pad(rows, (0, 1)) if c % 2 else rows, torch.bfloat16)  # it takes channels in pairs
    else:  # no instruction takes bfloat16: the weights are widened
        rows = _dense("x", x, torch.float32)
    out = library.empty((m, d // 2 if rule.activation == "geglu" else d))
    product = library.empty((m, d)) if keep else None
    strides = (0, weight.stride(1), weight.stride(0)) if table is None else weight.stride()
    name = "linear" if table is None else "conv"
    pairs, *listed = _pairs(table, len(x), name)
    arguments = library.Product(
        *(_threads(), len(x), m, k, c, _DTYPES[weight.dtype], _DTYPES[rows.dtype], rows.shape[1], *strides),
        *(address(tensor) for tensor in (rows, weight, rule.factor, rule.scale)),
        pairs,
        *(address(tensor) for tensor in (out, product)),
    )
    kept = rule.fill(arguments.finish, d, finish)
    library.call("product", isa, byref(arguments), name=name)
    del kept, listed
    return out, product


def _finish_gradient(
    rule: _Rule, x: Tensor | None, grad: Tensor, parameters: Sequence[Tensor | None], needed: Sequence[bool], d: int
) -> tuple[Tensor, ...]:
    """Return the gradients of the sums `x` (n, d) and of bias, scale, shift and gamma, None where not needed."""
    grad = _dense("grad", grad, torch.float32)
    # Where only a bias and a residual followed, the sums were not kept: their gradient is the result's.
    sums: Tensor = grad if x is None else _dense("x", x, torch.float32)
    grads = [library.empty(p.shape) if p is not None and n else None for p, n in zip(parameters, needed, strict=False)]
    if sums is grad and not any(g is not None for g in grads):
        return grad, *grads
    grad_x = library.empty(sums.shape)
    arguments = library.FinishGradient(_threads(), len(sums), *(address(t) for t in (sums, grad, grad_x, *grads)))
    kept = rule.fill(arguments.finish, d, parameters)
    library.call("finish_gradient", _isa(rule.isa), byref(arguments), name="a gradient")
    del kept
    typed = [None if g is None or p is None else g.to(p.dtype) for g, p in zip(grads, parameters, strict=True)]
    return grad_x, *typed


def _weight_gradient(rule: _Rule, x: Tensor, grad: Tensor, weight: Tensor, table: Table | None) -> Tensor:
    """Return the gradient of `weight`, in the precision that its products are taken in."""
    isa = _isa(rule.isa)
    rounded = weight.dtype == torch.bfloat16 and ISAS[isa] == "amx"
    x, grad = (_dense(name, t, _kept(t) if rounded else torch.float32) for name, t in (("x", x), ("grad", grad)))
    total = library.empty(weight.shape)
    a, b = (grad, x) if table is None else (x, grad)
    pairs, *listed = _pairs(table, len(a), "a gradient")
    arguments = library.WeightGradient(
        *(_threads(), len(a), len(b), 1 if table is None else table.rows.shape[1], a.shape[1], b.shape[1]),
        *(_DTYPES[weight.dtype if rounded else torch.float32], _DTYPES[a.dtype], _DTYPES[b.dtype]),
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


def _pairs(table: Table | None, n: int, name: str) -> tuple[Any, ...]:
    """Return the structure with a table's pairs (none without one), and the tensors that it points to."""
    if table is None:
        return (library.Pairs(),)
    return table.made(("native pairs", n), lambda: _listed(table.rows, n, name))


def _listed(table: Tensor, n: int, name: str) -> tuple[Any, ...]:
    m, k = table.shape
    slots = library.empty((k + 1,), torch.int64)
    starts = library.empty((-(-m // library.PAIR_ROWS) + 1, k), torch.int32)
    library.call("count_pairs", _threads(), table, m, k, n, slots, starts, name=name)
    rows_in, rows = (library.empty((int(slots[-1]),), torch.int32) for _ in range(2))
    library.call("list_pairs", _threads(), table, m, k, slots, starts, rows_in, rows)
    return library.Pairs(*map(address, (slots, starts, rows_in, rows))), slots, starts, rows_in, rows


def _turned(table: Table, n: int) -> Table:
    """Return the table (n, k) of the opposite direction: where input row i goes, slot by slot."""
    m, k = table.rows.shape

    def turn() -> Table:
        turned = library.empty((n, k), torch.int32)
        library.call("turn", _threads(), table.rows, m, k, n, turned, name="a gradient")
        return Table(turned)

    return table.made(("native turned", n), turn)


def _attend_arguments(qkv, out, lse, offsets, window, dropout, seed, isa) -> tuple[ctypes.Structure, object]:
    """Return the structure, and what it points to."""
    starts = library.integers(offsets)
    n, _, h, e = qkv.shape
    return library.Attend(
        *(_threads(), n, h, e, len(offsets) - 1, window, seed, dropout, ctypes.addressof(starts)),
        *(address(tensor) for tensor in (qkv, out, lse)),
    ), starts


def _blend_arguments(features: Sequence[Tensor], corners: _Corners, out: Tensor) -> tuple[ctypes.Structure, object]:
    """Return the structure, and what it points to."""
    rows, weights, owner = corners.rows, corners.weights, corners.owner
    sizes = [
        library.integers(part)
        for part in zip(*((*f.shape, r.shape[1]) for f, r in zip(features, rows, strict=True)), strict=True)
    ]
    arrays = [*sizes, *(library.pointers(part) for part in (features, rows, weights))]
    return library.Blend(
        *(_threads(), len(out), len(rows[0]), len(features), _DTYPES[out.dtype]),
        *(ctypes.addressof(array) for array in arrays),
        *(address(owner), address(out)),
    ), (arrays, features, corners)


def _threads() -> int:
    return torch.get_num_threads()


# --- arguments ------------------------------------------------------------------------------------------------------


def _dense(name: str, tensor: Tensor, dtype: torch.dtype, dim: int | None = None) -> Tensor:
    """Return `tensor` as rows of `dtype` side by side; integers are never converted."""
    if tensor.device.type != "cpu":
        raise InputError(f"{name} is on {tensor.device}; the native backend takes CPU tensors: call .cpu() first.")
    if tensor.dtype != dtype and not (tensor.is_floating_point() and dtype.is_floating_point):
        raise InputError(f"{name} is {tensor.dtype}; it must be {dtype}.")
    if dim is not None and tensor.dim() != dim:
        raise InputError(f"{name} is {_shape(tensor)}; it needs {dim} dimensions.")
    tensor = plain(name, tensor)
    if tensor.dtype == dtype and tensor.is_contiguous() and not tensor.requires_grad:
        return tensor  # itself, with what is kept in its table
    return tensor.detach().to(dtype).contiguous()


def _require_matrix(name: str, x: Tensor) -> None:
    if x.dim() != 2 or not x.is_floating_point() or x.shape[1] == 0:
        raise InputError(f"{name} is {_shape(x)} of {x.dtype}; it needs rows of floating-point channels.")


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


# --- instruction sets -----------------------------------------------------------------------------------------------


def available() -> list[str]:
    """Return the instruction sets that this processor can run, the best last."""
    return [isa for index, isa in enumerate(ISAS) if library.load().msm3d_has(c_int64(index))]


def _isa(name: str | None) -> int:
    given, name = ("", name) if name else ("MSM3D_ISA: ", os.environ.get("MSM3D_ISA"))
    if not name:
        return _best()
    if name not in ISAS:
        raise BackendError(f"{given}unknown instruction set {name!r}; choose one of {', '.join(ISAS)}.")
    if name not in available():
        raise BackendError(f"{given}this processor cannot run {name!r}; it can run {', '.join(available())}.")
    return ISAS.index(name)


@functools.cache
def _best() -> int:
    """Return the best instruction set that agrees with the portable one; it may be one that we could not try."""
    *others, best = [isa for isa in available() if not library.load().msm3d_slow(c_int64(ISAS.index(isa)))]
    while others and (wrong := _disagrees(best)):
        warn(f"{best} computes {wrong} wrongly on this processor; msm3d uses {others[-1]} instead. Please report it.")
        best = others.pop()
    return ISAS.index(best)


def _disagrees(isa: str) -> str | None:
    """Return the first operation whose numbers differ from the portable ones, in a millisecond or two."""
    random = torch.Generator().manual_seed(0)
    x, weight = torch.randn(40, 48, generator=random), torch.randn(3, 48, 80, generator=random)
    table = torch.randint(-1, 40, (40, 3), generator=random, dtype=torch.int32)
    weights = torch.rand(40, 3, generator=random)
    examples = {
        "convolutions": lambda isa: conv(x, weight, table, activation="gelu", isa=isa),
        "bfloat16 convolutions": lambda isa: conv(x.bfloat16(), weight.bfloat16(), table, isa=isa).float(),
        "attention": lambda isa: attend(x.view(40, 3, 2, 8), (0, 25, 40), 9, isa=isa),
        "norms": lambda isa: normalize(x, ("layernorm", weight[0, 0, :48], weight[0, 1, :48]), isa=isa),
        "descriptors": lambda isa: blend([x], [table], [weights], dtype=torch.float16, isa=isa).float(),
    }
    with torch.no_grad():
        for name, run in examples.items():
            if not torch.allclose(run(isa), run("portable"), rtol=1e-2 if "bfloat16" in name else 2e-3, atol=2e-3):
                return name
    return None
