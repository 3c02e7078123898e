"""The operations in plain PyTorch: any device, no compiler. They define the numbers of every other backend.

Sizes: n and m rows (voxels), c and d channels, k slots of a table (27 neighbours, 8 children), h heads of e channels.
A table is an (m, k) int32 tensor, or a `Table` of one: for each output row and slot the input row, or -1. Within a
slot no input row appears twice, so a table can be turned around, and the gradient of a convolution is a convolution.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from . import curves
from .derivatives import Operation, learning
from .table import Table

NAME = "reference"
EPS = 1e-4  # of every norm [released code]
ROW_BUDGET = 1 << 18  # values of one chunk of rows: what a core's cache holds beside the products
BLEND_ROWS = 1 << 11  # rows of descriptors written at a time
QUERIES = 128  # rows of one block of attention: small enough to waste little outside the window

Norm = tuple[str, Tensor, Tensor | None]
"""("rmsnorm", scale, None) or ("layernorm", scale, shift)."""


def why_not(device: torch.device) -> str | None:
    """Return None: PyTorch runs wherever PyTorch runs."""
    return None


# --- geometry -------------------------------------------------------------------------------------------------------


def lookup(keys: Tensor, queries: Tensor) -> Tensor:
    """Return for each query its row in `keys`, which ascend without repeats, or -1 where it is absent.

    >>> lookup(torch.tensor([2, 5, 9]), torch.tensor([[9, 4], [2, 10]])).tolist()
    [[2, -1], [0, -1]]
    """
    if len(keys) == 0:
        return torch.full_like(queries, -1, dtype=torch.int32)
    rows = torch.searchsorted(keys, queries.contiguous()).clamp_(max=len(keys) - 1)
    return torch.where(keys[rows] == queries, rows, -1).to(torch.int32)


def group(keys: Tensor, columns: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Put what has the same key together, and pick from each group the row with the smallest `columns`.

    Args:
        keys: (n,) int64, in any order.
        columns: of n numbers each, the first decides, the others in turn where there are ties.

    Returns:
        the distinct keys (m,), ascending, the group (n,) of each row and the row (m,) picked from each group.

    >>> group(torch.tensor([7, 3, 7]), [torch.tensor([0.5, 0.1, 0.2])])
    (tensor([3, 7]), tensor([1, 0, 1]), tensor([1, 2]))
    """
    unique, owner = torch.unique(keys, return_inverse=True)
    left = torch.arange(len(keys), device=keys.device)
    for column in columns:
        if len(left) == len(unique):
            break
        values, groups = column[left].double(), owner[left]
        least = values.new_full((len(unique),), torch.inf).scatter_reduce_(0, groups, values, "amin")
        left = left[values == least[groups]]
    picks = torch.full_like(unique, len(keys)).scatter_reduce_(0, owner[left], left, "amin")  # the rest are twins
    return unique, owner, picks


def octree(keys: Tensor, levels: int) -> list[tuple[Tensor, Tensor | None, Tensor | None, Tensor]]:
    """Build `levels` voxel sets over ascending Morton `keys`, fine to coarse, with the tables between them.

    Returns:
        for each level `(keys (m,), parents (m,), children (m, 8), neighbours (m, 27))`: the row of each voxel's cell
        in the next coarser level (None at the coarsest), the rows of its octants in the next finer level (None at the
        finest) and the rows around it, itself in slot 13. Slots count x, then y, then z, the last fastest.
    """
    chain: list[tuple[Tensor, Tensor | None, Tensor | None]] = []
    fine, children = keys, None
    for _ in range(levels - 1):
        coarse, parents = torch.unique_consecutive(fine >> 3, return_inverse=True)
        chain.append((fine, parents.to(torch.int32), children))
        children = fine.new_full((len(coarse), 8), -1, dtype=torch.int32)
        children[parents, fine & 7] = torch.arange(len(fine), dtype=torch.int32, device=fine.device)
        fine = coarse
    chain.append((fine, None, children))

    neighbours = _root_neighbours(fine, levels - 1)
    tables = [(*chain[-1], neighbours)]
    for level in range(levels - 2, -1, -1):
        keys, parents, _ = chain[level]
        neighbours = _finer_neighbours(keys, parents, chain[level + 1][2], neighbours)
        tables.append((*chain[level], neighbours))
    return tables[::-1]


def corners(
    cells: Tensor, ancestors: Tensor, neighbours: Tensor, level: int, scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the eight voxels of a level around the centres of finest cells, and their weights in a trilinear reading.

    Args:
        cells: (r, 4) int32, scene and place of the finest cells.
        ancestors: (r,) int64, the row of each one's cell in the level.
        neighbours: (m, 27) int32, of the level.
        level: how many times coarser than the cells.
        scale: (scenes, 3) float64, up to 1: what centres in units of the level's cells are multiplied by. Without it
            they are moved by half a cell instead, so that a voxel's value stands at its centre.

    Returns:
        rows (r, 8) int32, -1 where there is no voxel, and weights (r, 8) float32 that sum to 1.
    """
    position = (cells[:, 1:].double() + 0.5) / 2**level
    if scale is None:
        position -= 0.5
    else:
        position *= scale[cells[:, 0].long()]
    low = position.floor()
    high = (position - low).float()
    lowest = low.int() - (cells[:, 1:] >> level) + 1  # 0 or 1: the corners lie among the ancestor's neighbours
    rows = ancestors * 27 + (lowest * lowest.new_tensor([9, 3, 1])).sum(1)
    steps = torch.tensor([0, 1, 3, 4, 9, 10, 12, 13], device=rows.device)
    x, y, z = torch.stack([1 - high, high], 2).unbind(1)
    weights = x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]
    return neighbours.flatten()[rows[:, None] + steps], weights.flatten(1)


def _root_neighbours(keys: Tensor, level: int) -> Tensor:
    """Neighbours (m, 27) of a level that has no coarser one: by search."""
    cells = curves.cells(keys, level)
    steps = torch.tensor([(0, x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)])
    around = cells[:, None] + steps.to(cells)
    inside = (around[..., 1:] >= 0).all(-1) & (around[..., 1:] < 1 << curves.BITS - level).all(-1)
    return lookup(keys, torch.where(inside, curves.morton(around, level), -1))


# Around a voxel in octant q of its parent, slot s is octant _OCTANT[q, s] of the parent's neighbour _PARENT[q, s].
_AROUND = torch.cartesian_prod(*[torch.arange(-1, 2)] * 3) + torch.cartesian_prod(*[torch.arange(2)] * 3)[:, None]
_PARENT = (((_AROUND >> 1) + 1) * torch.tensor([9, 3, 1])).sum(-1)
_OCTANT = ((_AROUND & 1) * torch.tensor([4, 2, 1])).sum(-1)


def _finer_neighbours(keys: Tensor, parents: Tensor, children: Tensor, neighbours: Tensor) -> Tensor:
    """Neighbours (m, 27) of a level from those of the next coarser one: no search."""
    parent_slot, octant_slot = _PARENT.to(keys.device), _OCTANT.to(keys.device)
    table = torch.empty(len(keys), 27, dtype=torch.int32, device=keys.device)
    children = children.flatten()
    for rows in torch.arange(len(keys), device=keys.device).split(1 << 16):
        octant = keys[rows] & 7
        parent = neighbours[parents[rows]].gather(1, parent_slot[octant])
        child = children[parent.long().clamp_(min=0) * 8 + octant_slot[octant]]
        table[rows] = torch.where(parent < 0, -1, child)
    return table


# --- network --------------------------------------------------------------------------------------------------------


def normalize(x: Tensor, norm: Norm) -> Tensor:
    """Scale each row of `x` (n, c) to unit root mean square, or to zero mean and unit variance.

    The root mean square has eps added to it, not to its square [released code].
    """
    kind, scale, shift = norm
    if kind == "layernorm":
        return F.layer_norm(x, scale.shape, scale.to(x.dtype), None if shift is None else shift.to(x.dtype), EPS)
    rms = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * x.shape[-1] ** -0.5
    return x / (rms + EPS) * scale.to(x.dtype)


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
) -> Tensor:
    """Multiply each row of `x` (n, c) by `weight` (d, c), as `torch.nn.Linear` does, and finish."""
    x = x if pre_norm is None else normalize(x, pre_norm)
    product = F.linear(x.to(weight.dtype), weight).to(x.dtype)
    return _finish(product, bias, activation, norm, gamma, residual)


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
) -> Tensor:
    """Sum over the slots of `table` (m, k) the rows of `x` (n, c) times the slot's `weight` (k, c, d), and finish.

    Submanifold, strided and transposed convolutions differ in their table alone: a voxel's neighbours, its children,
    or its parent in the slot of its own octant.

    >>> conv(torch.tensor([[1.0], [2.0]]), torch.tensor([[[10.0]], [[1.0]]]), torch.tensor([[0, 1], [-1, 0]])).tolist()
    [[12.0], [1.0]]
    """
    x = x if pre_norm is None else normalize(x, pre_norm)
    table = table.rows if isinstance(table, Table) else table
    if learning(x, weight):
        return _finish(_Conv.apply(x, weight, table), bias, activation, norm, gamma, residual)
    chunks = []
    for rows, product in _products(x, weight, table):  # finishing each chunk while it is in cache
        rest = None if residual is None else residual[rows]
        chunks.append(_finish(product, bias, activation, norm, gamma, rest))
    return torch.cat(chunks)


def attend(qkv: Tensor, offsets: Sequence[int], window: int, dropout: float = 0.0, seed: int = 0) -> Tensor:
    """Softmax attention of each row to the `window` rows before it and as many after, within its scene.

    Args:
        qkv: (n, 3, h, e) queries, keys and values; rows of a scene in the order of its curve.
        offsets: first row of each scene, and n.
        window: rows to either side.
        dropout: share of the attention weights set to zero, for training.
        seed: of the dropout.

    Returns:
        (n, h, e). The work is n * window; the memory, forward and backward, that of a block of 128 rows.
    """
    return _Attend.apply(qkv, offsets, window, dropout, seed)


def blend(
    features: Sequence[Tensor],
    rows: Sequence[Tensor],
    weights: Sequence[Tensor],
    owner: Tensor | None = None,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Concatenate weighted sums of rows: out[i] = cat over levels of sum_j weights[l][i, j] features[l][rows[l][i, j]].

    Args:
        features: per level (m_l, c_l).
        rows: per level (m, k_l) int32 rows of `features`, -1 for an empty corner, which counts as zeros.
        weights: per level (m, k_l) float.
        owner: (n,) the row of the result that each point takes; None for the (m, sum c) rows themselves.
        dtype: of the result; that of the features by default.
        out: contiguous tensor of the result's shape and dtype to write to and return, without gradients.

    Returns:
        (n, sum of c_l): the values of point p are those of row `owner[p]`.
    """
    levels = []
    for f, r, w in zip(features, rows, weights, strict=True):
        levels.append((f, r.long().clamp(min=0), torch.where(r < 0, 0, w.to(f.dtype))))
    dtype = dtype or features[0].dtype
    if out is None and learning(*features):
        read = torch.cat([_weighted(*level) for level in levels], 1)
        return (read if owner is None else read[owner]).to(dtype)
    m, n = len(rows[0]), len(rows[0]) if owner is None else len(owner)
    size = n, sum(f.shape[1] for f in features)
    target = torch.empty(size, dtype=dtype, device=features[0].device) if out is None else out
    if owner is None:
        places = members = torch.arange(m, device=target.device)
    else:
        places = owner.argsort()  # the points of each row, one row after another
        members = owner[places]
    bounds = torch.searchsorted(members, torch.arange(0, m + BLEND_ROWS, BLEND_ROWS, device=target.device)).tolist()
    for start, first, last in zip(range(0, m, BLEND_ROWS), bounds, bounds[1:], strict=False):
        part = slice(start, start + BLEND_ROWS)
        bags = [F.embedding_bag(r[part], f, mode="sum", per_sample_weights=w[part]) for f, r, w in levels]
        read = torch.cat(bags, 1).to(dtype)  # in cache, and every page of the result is written once
        target.index_copy_(0, places[first:last], read.index_select(0, members[first:last] - start))
    return target


def _weighted(features: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Return the sums of rows times weights by operations that have every derivative, as embedding_bag has not."""
    total = features.new_zeros(len(rows), features.shape[1])
    for row, weight in zip(rows.unbind(1), weights.unbind(1), strict=True):
        total = total + features.index_select(0, row) * weight[:, None]
    return total


# --- products -------------------------------------------------------------------------------------------------------


def _finish(
    y: Tensor,
    bias: Tensor | None,
    activation: str | None,
    norm: Norm | None,
    gamma: Tensor | None,
    residual: Tensor | None,
) -> Tensor:
    if bias is not None:
        y = y + bias.to(y.dtype)
    if activation == "gelu":
        y = F.gelu(y)
    elif activation == "geglu":
        gate, value = y.chunk(2, -1)
        y = F.gelu(gate) * value
    if norm is not None:
        y = normalize(y, norm)
    if gamma is not None:
        y = y * gamma.to(y.dtype)
    return y if residual is None else y + residual


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


def _turned(table: Tensor, n: int) -> Tensor:
    """Return the table (n, k) of the opposite direction: where input row i goes, slot by slot."""
    rows, slots = (table >= 0).nonzero(as_tuple=True)
    turned = table.new_full((n, table.shape[1]), -1)
    turned[table[rows, slots].long(), slots] = rows.to(table.dtype)
    return turned


class _Conv(Operation):
    """Keeps the inputs alone, where autograd through `_products` would keep every gathered row."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, table: Tensor) -> Tensor:
        return torch.cat([product for _, product in _products(x, weight, table)])

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, table = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = conv(grad, weight.transpose(1, 2).contiguous(), _turned(table, len(x)))
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


class _Attend(Operation):
    """Keeps queries, keys and values alone and computes the weights of each block again on the way back."""

    @staticmethod
    def forward(qkv: Tensor, offsets: Sequence[int], window: int, dropout: float, seed: int) -> Tensor:
        out = torch.empty_like(qkv[:, 0])
        for rows, around, weights, kept in _weights(qkv, offsets, window, dropout, seed):
            out[rows] = ((weights * kept) @ qkv[around, 2].transpose(0, 1)).transpose(0, 1)
        return out

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        qkv, *ctx.arguments = inputs
        ctx.save_for_backward(qkv)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (qkv,) = ctx.saved_tensors
        total = torch.zeros_like(qkv)
        scale = qkv.shape[-1] ** -0.5
        for rows, around, weights, kept in _weights(qkv, *ctx.arguments):
            q, k, v = (part.transpose(0, 1) for part in (qkv[rows, 0], qkv[around, 1], qkv[around, 2]))
            g = grad[rows].transpose(0, 1)
            total[around, 2] += ((weights * kept).transpose(1, 2) @ g).transpose(0, 1)
            of_weights = (g @ v.transpose(1, 2)) * kept
            of_scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdim=True)) * scale
            total[rows, 0] += (of_scores @ k).transpose(0, 1)
            total[around, 1] += (of_scores.transpose(1, 2) @ q).transpose(0, 1)
        return total, None, None, None, None


def _weights(
    qkv: Tensor, offsets: Sequence[int], window: int, dropout: float, seed: int
) -> Iterator[tuple[slice, slice, Tensor, Tensor | float]]:
    """Yield blocks of rows, the rows around them, their attention weights (h, rows, around) and what dropout keeps."""
    random = torch.Generator(qkv.device).manual_seed(seed) if dropout else None
    for start, stop in pairwise(offsets):
        for first in range(start, stop, QUERIES):
            rows = slice(first, min(first + QUERIES, stop))
            around = slice(max(first - window, start), min(rows.stop + window, stop))
            places = torch.arange(around.start, around.stop, device=qkv.device)
            outside = (places[rows.start - around.start :][: rows.stop - first, None] - places).abs() > window
            q = qkv[rows, 0].transpose(0, 1) * qkv.shape[-1] ** -0.5
            scores = (q @ qkv[around, 1].permute(1, 2, 0)).masked_fill_(outside, -torch.inf)
            weights = scores.softmax(-1)
            kept = 1.0
            if random is not None:
                kept = torch.rand(weights.shape, generator=random, device=qkv.device) >= dropout
                kept = kept.to(weights.dtype) / (1 - dropout)
            yield rows, around, weights, kept
