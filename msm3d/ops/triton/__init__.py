"""The operations on NVIDIA GPUs through Triton, which comes with torch's CUDA builds; forward and backward.

CHECKED BY INTERPRETER AND COMPILER ONLY: every kernel agrees with `reference` in Triton's interpreter and compiles for
the GPUs of compute capability 8.0 and 9.0, but none has run on a GPU yet, and no speed has been measured. Before its
first use on a GPU the backend therefore compares itself with `reference` there, see `why_not`.

The same input gives the same bits again on one GPU: nothing is added atomically, and block sizes are chosen by the
sizes of the operands. A batch equals its scenes up to rounding. Weights of float32, float16 or bfloat16 are multiplied
as they are, with float32 sums; float32 exactly, or as TF32 where torch was told so for its own products
(`torch.backends.cuda.matmul`) or with `precision="tf32"` ("tf32x3" is three such products, nearly exact). float64
goes to `reference`. Tables are not searched for rows beyond the last, for which the host would have to wait: those
count as absent.

The first call in a process compiles the kernels for the network's sizes, which Triton keeps on disk for later ones.
The operations' documentation is in `reference`, which has the same functions.
"""

import functools
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from ..._util.words import warn
from ...errors import InputError
from .. import reference
from ..reference import Norm
from ..table import Table
from ..values import plainly

NAME = "triton"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def why_not(device: torch.device) -> str | None:
    """Return None if `device` is a GPU on which a small example of each operation agrees with `reference`.

    The example runs once per process and GPU. Where it disagrees or fails there is a warning, once, and a backend that
    was not named falls back to the next.
    """
    if device.type != "cuda":
        return f"the triton backend runs on NVIDIA GPUs, not on {device.type}."
    if not torch.cuda.is_available():
        return f"there is no CUDA device, or torch {torch.__version__} was built without CUDA; see pytorch.org."
    if torch.version.cuda is None:
        return "the triton backend is for NVIDIA GPUs, and this torch is built for another maker's."
    if find_spec("triton") is None:
        return "triton is not installed; pip install triton, in the version that your torch names."
    index = torch.cuda.current_device() if device.index is None else device.index
    if torch.cuda.get_device_capability(index) < (8, 0):
        return (
            f"{torch.cuda.get_device_name(index)} is older than compute capability 8.0, which triton's products need."
        )
    return _why_not_on(index)


@functools.cache
def _why_not_on(index: int) -> str | None:
    name = torch.cuda.get_device_name(index)
    try:
        from .agreement import disagreement

        wrong = disagreement(sys.modules[__name__], torch.device("cuda", index))
    except Exception as e:  # whatever a compiler or a driver may raise
        said = (str(e).splitlines() or [""])[0]
        reason = f"the triton backend cannot run on {name}: {type(e).__name__}: {said}"
    else:
        if wrong is None:
            return None
        reason = f"the triton backend computes {wrong} wrongly on {name}."
    warn(f"{reason} It is not used; please report this with the output of `msm3d check`.")
    return reason


# --- geometry -------------------------------------------------------------------------------------------------------


def lookup(keys: Tensor, queries: Tensor) -> Tensor:
    """Return for each query its row in `keys`, which ascend without repeats, or -1 where it is absent."""
    return reference.lookup(keys, queries)


def group(keys: Tensor, columns: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Put what has the same key together, and pick from each group the row with the smallest `columns`.

    Points are grouped where they are, on the CPU by the backend that is best there.
    """
    if keys.device.type == "cpu":
        from .. import backend

        return backend(keys.device).group(keys, columns)
    return reference.group(keys, columns)


def octree(keys: Tensor, levels: int) -> list[tuple[Tensor, Tensor | None, Tensor | None, Tensor]]:
    """Build `levels` voxel sets over ascending Morton `keys`, fine to coarse, with the tables between them."""
    from . import geometry

    return geometry.octree(keys, levels)


def corners(
    cells: Tensor, ancestors: Tensor, neighbours: Tensor, level: int, scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the eight voxels of a level around the centres of finest cells, and their weights."""
    return reference.corners(cells, ancestors, neighbours, level, scale)


# --- network --------------------------------------------------------------------------------------------------------


@plainly
def normalize(x: Tensor, norm: Norm) -> Tensor:
    """Scale each row of `x` (n, c) to unit root mean square, or to zero mean and unit variance."""
    if x.dtype == torch.float64:
        return reference.normalize(x, norm)
    _require_matrix("x", x)
    return _finished(x, x.dtype, None, None, norm, None, None)


@plainly
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
    precision: str | None = None,
) -> Tensor:
    """Multiply each row of `x` (n, c) by `weight` (d, c), as `torch.nn.Linear` does, and finish.

    The product is torch's own, by its own settings; `precision` is there for the sake of `conv`'s callers.
    """
    x = x if pre_norm is None else normalize(x, pre_norm)
    if torch.float64 in (x.dtype, weight.dtype):
        finish = {"activation": activation, "norm": norm, "gamma": gamma, "residual": residual}
        return reference.linear(x, weight, bias, **finish)
    _require_matrix("x", x)
    if weight.dim() != 2 or weight.shape[1] != x.shape[1]:
        raise InputError(f"weight is {_shape(weight)}; it needs (d, {x.shape[1]}) for x {_shape(x)}.")
    _require_finish(len(x), len(weight), weight, bias, activation, norm, gamma, residual)
    if activation is None and norm is None and gamma is None and residual is None:
        if bias is None or bias.dtype == weight.dtype:
            return F.linear(x.to(weight.dtype), weight, bias).to(x.dtype)
    return _finished(F.linear(x.to(weight.dtype), weight), x.dtype, bias, activation, norm, gamma, residual)


@plainly
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
    precision: str | None = None,
) -> Tensor:
    """Sum over the slots of `table` (m, k) the rows of `x` (n, c) times the slot's `weight` (k, c, d), and finish."""
    x = x if pre_norm is None else normalize(x, pre_norm)
    if torch.float64 in (x.dtype, weight.dtype):
        finish = {"activation": activation, "norm": norm, "gamma": gamma, "residual": residual}
        return reference.conv(x, weight, table, bias, **finish)
    from . import launch, products

    _require_matrix("x", x)
    table = Table.of(table)
    rows = table.rows
    if rows.dim() != 2 or rows.dtype != torch.int32:
        raise InputError(f"table is {_shape(rows)} of {rows.dtype}; it must be (m, k) of torch.int32.")
    if weight.dim() != 3 or weight.shape[:2] != (rows.shape[1], x.shape[1]):
        raise InputError(
            f"weight is {_shape(weight)}; it needs ({rows.shape[1]}, {x.shape[1]}, d) "
            f"for table {_shape(rows)} and x {_shape(x)}."
        )
    m, d = len(rows), weight.shape[2]
    _require_finish(m, d, weight, bias, activation, norm, gamma, residual)
    _require_device(x, weight=weight, table=rows)
    how, table = launch.precision(precision), table if rows.is_contiguous() else Table(rows.contiguous())
    kind, scale, shift = norm or (None, None, None)
    parameters = [bias, scale, shift, gamma, residual]
    learning = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, *parameters))
    if learning or activation == "geglu" or (norm is not None and d > products.FUSED):
        y = products.Conv.apply(x, weight, table, how)
        if activation is None and all(t is None for t in parameters):
            return y
        return _finished(y, x.dtype, bias, activation, norm, gamma, residual)
    finish = [None if t is None else t.detach().contiguous() for t in parameters]
    given = x.detach().to(weight.dtype).contiguous()
    return products.product(given, weight.detach(), table, how, x.dtype, activation == "gelu", kind, finish)


@plainly
def attend(
    qkv: Tensor,
    offsets: Sequence[int],
    window: int,
    dropout: float = 0.0,
    seed: int = 0,
    *,
    precision: str | None = None,
) -> Tensor:
    """Softmax attention of each row to the `window` rows before it and as many after, within its scene.

    Dropout draws other numbers than `reference` does from the same seed.
    """
    if qkv.dtype == torch.float64:
        return reference.attend(qkv, offsets, window, dropout, seed)
    from . import attention, launch

    if qkv.dim() != 4 or qkv.shape[1] != 3 or qkv.dtype not in DTYPES:
        raise InputError(f"qkv is {_shape(qkv)} of {qkv.dtype}; it needs (n, 3, heads, channels) of floats.")
    ascending = all(a <= b for a, b in pairwise(offsets))
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(qkv) or not ascending:
        raise InputError(f"offsets is {list(offsets)}; it needs the first row of each scene, from 0 up to {len(qkv)}.")
    if window < 0 or not 0 <= dropout < 1:
        raise InputError(f"window is {window} and dropout {dropout}; they must be >= 0, and dropout below 1.")
    return attention.Attend.apply(qkv, tuple(offsets), window, dropout, seed, launch.precision(precision))


@plainly
def blend(
    features: Sequence[Tensor],
    rows: Sequence[Tensor],
    weights: Sequence[Tensor],
    owner: Tensor | None = None,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Concatenate, level by level, the sums of rows of `features` times `weights`."""
    if not features or not len(features) == len(rows) == len(weights):
        raise InputError(f"{len(features)} features, {len(rows)} rows and {len(weights)} weights; give one per level.")
    if any(f.dtype == torch.float64 for f in features) or dtype == torch.float64:
        return reference.blend(features, rows, weights, owner, dtype, out)
    from . import blending

    for level, (f, r, w) in enumerate(zip(features, rows, weights, strict=True)):
        _require_matrix(f"features[{level}]", f)
        if r.dim() != 2 or r.shape != w.shape or len(r) != len(rows[0]):
            raise InputError(
                f"rows[{level}] is {_shape(r)} and weights[{level}] is {_shape(w)}; both need ({len(rows[0])}, k)."
            )
    dtype = dtype or features[0].dtype
    if dtype not in DTYPES:
        raise InputError(f"dtype is {dtype}; it must be one of {', '.join(map(str, DTYPES))}.")
    features, rows, weights = ([t.contiguous() for t in part] for part in (features, rows, weights))
    owner = None if owner is None else owner.contiguous()
    if out is None:
        return blending.Blend.apply(rows, weights, owner, dtype, *features)
    shape = len(rows[0]) if owner is None else len(owner), sum(f.shape[1] for f in features)
    if out.shape != shape or out.dtype != dtype or not out.is_contiguous() or out.device != features[0].device:
        raise InputError(
            f"out is {_shape(out)} {out.dtype} on {out.device}; "
            f"it must be contiguous {shape} {dtype} on {features[0].device}."
        )
    return blending.blended([f.detach() for f in features], rows, weights, owner, out)


# --- arguments ------------------------------------------------------------------------------------------------------


def _finished(x, dtype, bias, activation, norm, gamma, residual) -> Tensor:
    from .finish import Finish

    kind, scale, shift = norm or (None, None, None)
    if norm is not None:
        _require_finish(len(x), x.shape[1], x, bias, activation, norm, gamma, residual)
    return Finish.apply(x, dtype, activation, kind, bias, scale, shift, gamma, residual)


def _require_finish(m, d, weight, bias, activation, norm, gamma, residual) -> None:
    """Check the weight's dtype, and what follows the product of m rows of d channels."""
    if activation not in (None, "gelu", "geglu"):
        raise InputError(f"activation is {activation!r}; it must be 'gelu', 'geglu' or None.")
    kind, scale, shift = norm or (None, None, None)
    if kind not in (None, "rmsnorm", "layernorm"):
        raise InputError(f"norm is {kind!r}; it must be 'rmsnorm' or 'layernorm'.")
    if weight.dtype not in DTYPES:
        raise InputError(f"weight is {weight.dtype}; it must be one of {', '.join(map(str, DTYPES))}.")
    if weight.numel() == 0 and weight.dim() != 2:
        raise InputError(f"weight is {_shape(weight)}; it needs at least one slot and channel.")
    if activation == "geglu" and d % 2:
        raise InputError(f"geglu halves the channels, but there are {d}; give the weight an even number.")
    e = d // 2 if activation == "geglu" else d
    parameters = (bias, (d,)), (scale, (e,)), (shift, (e,)), (gamma, (e,)), (residual, (m, e))
    names = "bias", "the norm's scale", "the norm's shift", "gamma", "residual"
    for name, (value, shape) in zip(names, parameters, strict=True):
        if value is not None and tuple(value.shape) != shape:
            raise InputError(f"{name} is {_shape(value)}; it needs {shape}.")


def _require_matrix(name: str, x: Tensor) -> None:
    if x.dim() != 2 or x.dtype not in DTYPES or x.shape[1] == 0:
        raise InputError(f"{name} is {_shape(x)} of {x.dtype}; it needs rows of floating-point channels.")


def _require_device(x: Tensor, **others: Tensor) -> None:
    for name, tensor in others.items():
        if tensor.device != x.device:
            raise InputError(f"{name} is on {tensor.device} and x on {x.device}; move both to one with .to().")


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
