"""Tables between voxels; all instruction sets compute them alike."""

from ctypes import byref, c_int64, c_void_p

import torch
from torch import Tensor
from torch import get_num_threads as threads

from ... import curves, library
from ...contract import Levels, Tensors
from ...library import CODES, dense
from ...usual import plain


def lookup(keys: Tensor, queries: Tensor, isa: str | None = None) -> Tensor:
    """Return each query's row."""
    keys, queries = dense("keys", keys, torch.int64), dense("queries", queries, torch.int64)
    rows = library.empty(queries.shape, torch.int32)
    library.call("lookup", threads(), keys, len(keys), queries, queries.numel(), rows)
    return rows


def group(keys: Tensor, columns: Tensors, isa: str | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distinct keys, the group of each row and the row picked from each group."""
    keys = dense("keys", keys, torch.int64)
    kept = []
    for i, column in enumerate(columns):
        column = column if column.dtype in (torch.float64, torch.float32, torch.uint8) else column.double()
        kept.append(plain(f"columns[{i}]", column))
    unique, owner, picks = (library.empty(keys.shape, torch.int64) for _ in range(3))
    groups = c_int64()
    strides = [column.stride(0) * column.element_size() for column in kept]
    dtypes = [CODES[column.dtype] for column in kept]
    arrays = library.pointers(kept), library.integers(dtypes), library.integers(strides)
    library.call("group", threads(), len(keys), keys, len(kept), *arrays, unique, owner, picks, byref(groups))
    return unique[: groups.value].clone(), owner, picks[: groups.value].clone()


def octree(keys: Tensor, levels: int, isa: str | None = None) -> Levels:
    """Return each level's keys, parents, children and neighbours."""
    keys = dense("keys", keys, torch.int64)
    counts = (c_int64 * (curves.BITS + 1))()
    library.call("octree_counts", keys, len(keys), counts, name="octree")
    sizes = counts[:levels]
    sets = [keys, *(library.empty((m,), torch.int64) for m in sizes[1:])]
    parents = [*(library.empty((m,), torch.int32) for m in sizes[:-1]), None]
    children = [None, *(library.empty((m, 8), torch.int32) for m in sizes[1:])]
    neighbours = [library.empty((m, 27), torch.int32) for m in sizes]
    parts = (library.pointers(part) for part in (sets, parents, children, neighbours))
    library.call("octree", threads(), levels, counts, *parts)
    return list(zip(sets, parents, children, neighbours, strict=True))


def corners(
    cells: Tensor, ancestors: Tensor, neighbours: Tensor, level: int, scale: Tensor | None, isa: str | None = None
) -> tuple[Tensor, Tensor]:
    """Return the rows and the weights of a trilinear reading."""
    cells, neighbours = dense("cells", cells, torch.int32), dense("neighbours", neighbours, torch.int32)
    ancestors = dense("ancestors", ancestors, torch.int64)
    scale = None if scale is None else dense("scale", scale, torch.float64)
    r, scenes = len(ancestors), 0 if scale is None else len(scale)
    rows, weights = library.empty((r, 8), torch.int32), library.empty((r, 8))
    scales = scale if scenes else c_void_p()
    library.call(
        "corners", threads(), r, cells, ancestors, neighbours, len(neighbours), level, scales, scenes, rows, weights
    )
    return rows, weights
