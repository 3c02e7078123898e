"""Descriptors: weighted sums of rows of each level, side by side."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...contract import Tensors
from ...derivatives import learning

BLEND_ROWS = 1 << 11  # rows of descriptors written at a time


def blend(
    features: Tensors,
    rows: Tensors,
    weights: Tensors,
    owner: Tensor | None,
    dtype: torch.dtype,
    out: Tensor | None = None,
) -> Tensor:
    """Return the sums of each level's rows times their weights, side by side."""
    levels = []
    for f, r, w in zip(features, rows, weights, strict=True):
        levels.append((f, r.long().clamp(min=0), torch.where(r < 0, 0, w.to(f.dtype))))
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
