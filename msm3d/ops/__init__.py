"""Operations on sparse voxels, the backends that compute them, and the choice among these.

A backend is a `Backend`: its methods are the operations, which check their arguments; behind them are the bare kernels
of one module. `reference` defines the numbers of all.

| geometry | `lookup(keys, queries)`, `group(keys, columns)`, `octree(keys, levels)` |
|          | `corners(cells, ancestors, neighbours, level, scale)` |
| network  | `normalize(x, norm)`, `linear(x, weight, bias, **around)`, `conv(x, weight, table, bias, **around)` |
|          | `attend(qkv, offsets, window)`, `blend(features, rows, weights, owner)` |
| heads    | `nearest(x, bank, k, ends, choices)` |
"""

import functools
from types import ModuleType

import torch

from .._util.plugins import installed
from ..errors import BackendError
from . import library
from .contract import Norm as Norm
from .operations import Backend as Backend
from .table import Table as Table

native = Backend("native", f"{__name__}.kernels.native")
triton = Backend("triton", f"{__name__}.kernels.triton")
reference = Backend("reference", f"{__name__}.kernels.reference")
spconv = Backend("spconv", f"{__name__}.kernels.spconv")

BACKENDS = {ops.NAME: ops for ops in (native, triton, reference, spconv)}
"""Name to backend, best first: native is for CPUs, triton for NVIDIA GPUs. What comes after `reference`, which always
runs, is used only where it is named: spconv, and what others register."""


def register(name: str, kernels: str | ModuleType) -> Backend:
    """Add a backend of one's own, whose name users then give: `msm3d.load(..., backend=name)`.

    A package that is installed registers its own without being imported, by an entry point in the group
    `msm3d.backends`, with the same name and the module of its kernels.

    Args:
        name: of the backend.
        kernels: the module, or its name; `Backend` says what is in it.

    Returns:
        the backend.

    Raises:
        BackendError: there is one of this name.
    """
    if name in BACKENDS:
        raise BackendError(f"there is a backend {name!r} already; give yours another name.")
    BACKENDS[name] = Backend(name, kernels)
    return BACKENDS[name]


@functools.cache
def _register_installed() -> None:
    for entry in installed("msm3d.backends"):
        if entry.name not in BACKENDS:
            register(entry.name, entry.module)


def backend(device: torch.device | str, name: str | None = None) -> Backend:
    """Return the backend for `device`: the one named, or else the first that can run there.

    >>> backend("cpu", "reference").NAME
    'reference'
    >>> backend("cpu", "referense")
    Traceback (most recent call last):
    msm3d.errors.BackendError: unknown backend 'referense'; choose one of native, triton, reference, spconv.

    Raises:
        BackendError: the name is unknown, or the backend cannot run on `device`; a named one never falls back.
    """
    library.expect_forks()
    device = torch.device(device)
    if name is not None and name not in BACKENDS:
        _register_installed()
        if name not in BACKENDS:
            raise BackendError(f"unknown backend {name!r}; choose one of {', '.join(BACKENDS)}.")
    reasons = {}
    for candidate in BACKENDS if name is None else [name]:
        ops = BACKENDS[candidate]
        reasons[candidate] = ops.why_not(device)
        if reasons[candidate] is None:
            return ops
    raise BackendError(f"no backend can run on {device}: " + " ".join(f"{n}: {r}" for n, r in reasons.items()))
