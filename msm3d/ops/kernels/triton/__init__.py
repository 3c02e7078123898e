"""The operations on NVIDIA GPUs through Triton, which comes with torch's CUDA builds; forward and backward.

Run on one H100 for a few minutes: there each operation agreed with `reference`, and benchmarks/README.md has the speed.
tests/test_cuda.py has not been through there: of the first 106 of its and test_triton.py's tests 11 failed, whose names
were lost. Before its first use on a GPU the backend compares itself with `reference`, see `why_not`.

The same input gives the same bits again on one GPU: nothing is added atomically, and block sizes are chosen by the
sizes of the operands. A batch equals its scenes up to rounding. Weights of float32, float16 or bfloat16 are multiplied
as they are, with float32 sums; float32 exactly, or as TF32 where torch was told so for its own products
(`torch.backends.cuda.matmul`) or with `precision="tf32"` ("tf32x3" is three such products, nearly exact). Rows beyond
the last count as absent: to search tables for them, the host would have to wait.

The first call in a process compiles the kernels for the network's sizes, which Triton keeps on disk for later ones.
Dropout draws other numbers than `reference` does from the same seed.
"""

import functools
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from ...contract import Epilogue, Levels, Norm, Tensors
from ...table import Table
from ...usual import plainly
from .. import gpu, reference
from ..reference.geometry import grown

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def why_not(device: torch.device) -> str | None:
    """Return None if `device` is a GPU on which a small example of each operation agrees with `reference`.

    The example runs once per process and GPU. Where it disagrees or fails there is a warning, once, and a backend that
    was not named falls back to the next.
    """
    if reason := gpu.missing("triton", device):
        return reason
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
    def wrong() -> str | None:
        from ... import triton as ops
        from .agreement import disagreement

        return disagreement(ops, torch.device("cuda", index))

    cure = "It is not used; please report this with the output of `msm3d check`."
    return gpu.unusable("the triton backend", index, wrong, cure)


def group(keys: Tensor, columns: Tensors) -> tuple[Tensor, Tensor, Tensor]:
    """Group points where they are: on the CPU by the backend that is best there."""
    if keys.device.type == "cpu":
        from ... import backend

        return backend(keys.device).group(keys, columns)
    return reference.group(keys, columns)


def octree(keys: Tensor, levels: int) -> Levels:
    """Return each level's keys, parents, children and neighbours."""
    from .geometry import finer

    return grown(keys, levels, finer)


@plainly
def normalize(x: Tensor, norm: Norm) -> Tensor:
    """Return the rows over their root mean square or spread."""
    return _finished(x, x.dtype, Epilogue(norm=norm))


@plainly
def linear(
    x: Tensor, weight: Tensor, pre_norm: Norm | None, epilogue: Epilogue, *, precision: str | None = None
) -> Tensor:
    """Return x weight^T, finished.

    The product is torch's own, by its own settings; `precision` is there for the sake of `conv`'s callers.
    """
    x = x if pre_norm is None else normalize(x, pre_norm)
    bias, *rest = epilogue
    if all(part is None for part in rest) and (bias is None or bias.dtype == weight.dtype):
        return F.linear(x.to(weight.dtype), weight, bias).to(x.dtype)
    return _finished(F.linear(x.to(weight.dtype), weight), x.dtype, epilogue)


@plainly
def conv(
    x: Tensor, weight: Tensor, table: Table, pre_norm: Norm | None, epilogue: Epilogue, *, precision: str | None = None
) -> Tensor:
    """Return the sums over the slots of x[table] weight, finished."""
    from . import launch, products

    x = x if pre_norm is None else normalize(x, pre_norm)
    table = table if table.rows.is_contiguous() else Table(table.rows.contiguous())
    how, parameters, d = launch.precision(precision), epilogue.tensors, weight.shape[2]
    learning = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, *parameters))
    if learning or epilogue.activation == "geglu" or (epilogue.norm is not None and d > products.FUSED):
        y = products.Conv.apply(x, weight, table, how)
        if epilogue.activation is None and all(t is None for t in parameters):
            return y
        return _finished(y, x.dtype, epilogue)
    given = x.detach().to(weight.dtype).contiguous()
    return products.product(given, weight.detach(), table, how, x.dtype, epilogue)


@plainly
def attend(
    qkv: Tensor, offsets: tuple[int, ...], window: int, dropout: float, seed: int, *, precision: str | None = None
) -> Tensor:
    """Return softmax(q k / sqrt(e)) v over the window of each row."""
    from . import attention, launch

    return attention.Attend.apply(qkv, offsets, window, dropout, seed, launch.precision(precision))


@plainly
def blend(
    features: Tensors, rows: Tensors, weights: Tensors, owner: Tensor | None, dtype: torch.dtype, out: Tensor | None
) -> Tensor:
    """Return the sums of each level's rows times their weights, side by side."""
    from . import blending

    features, rows, weights = ([t.contiguous() for t in part] for part in (features, rows, weights))
    owner = None if owner is None else owner.contiguous()
    if out is None:
        return blending.Blend.apply(rows, weights, owner, dtype, *features)
    return blending.blended([f.detach() for f in features], rows, weights, owner, out)


def _finished(x: Tensor, dtype: torch.dtype, epilogue: Epilogue) -> Tensor:
    from .finish import Finish, Rule

    return Finish.apply(x, dtype, Rule.of(epilogue), *epilogue.tensors)
