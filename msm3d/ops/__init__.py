"""Backends: modules of operations on bare tensors, and the choice among them.

A backend is a module with a `NAME`, `why_not(device)` (None, or a sentence that tells the user what is missing) and
these functions. `reference` defines their numbers; each row below is documented there.

| geometry  | `lookup(keys, queries)`, `group(keys, columns)`, `octree(keys, levels)` |
|           | `corners(cells, ancestors, neighbours, level, scale)` |
| network   | `normalize(x, norm)`, `linear(x, weight, bias, **around)`, `conv(x, weight, table, bias, **around)` |
|           | `attend(qkv, offsets, window)`, `blend(features, rows, weights, owner)` |

`around` is what precedes a product, `pre_norm`, and what follows it while its rows are at hand, in this order:
`activation` ("gelu" or "geglu"), `norm`, `gamma` (a weight per channel) and `residual`. The weight's dtype is the
precision of the products; what goes in and out keeps the dtype of the features. A `table` is a bare tensor, or a
`Table`, which keeps what a backend makes of it from one call to the next.
"""

import importlib
from types import ModuleType

import torch

from ..errors import BackendError
from . import forks
from .table import Table as Table

BACKENDS = {
    "native": "msm3d.ops.native",
    "triton": "msm3d.ops.triton",
    "reference": "msm3d.ops.reference",
    "spconv": "msm3d.ops.spconv",
}
"""Name to module, best first: native is for CPUs, triton for NVIDIA GPUs. spconv, after one that always runs, is used
only where it is named: it is there for those who trust it, and adds nothing that triton does not have."""


def backend(device: torch.device | str, name: str | None = None) -> ModuleType:
    """Return the module of operations for `device`: the one named, or else the first that can run there.

    >>> backend("cpu", "reference").NAME
    'reference'
    >>> backend("cpu", "referense")
    Traceback (most recent call last):
    msm3d.errors.BackendError: unknown backend 'referense'; choose one of native, triton, reference, spconv.

    Raises:
        BackendError: the name is unknown, or the backend cannot run on `device`; a named one never falls back.
    """
    forks.expected()
    device = torch.device(device)
    if name is not None and name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}; choose one of {', '.join(BACKENDS)}.")
    reasons = {}
    for candidate in BACKENDS if name is None else [name]:
        ops = importlib.import_module(BACKENDS[candidate])
        reasons[candidate] = ops.why_not(device)
        if reasons[candidate] is None:
            return ops
    raise BackendError(f"no backend can run on {device}: " + " ".join(f"{n}: {r}" for n, r in reasons.items()))
