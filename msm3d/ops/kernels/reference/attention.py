"""Attention within a window of rows, a block of queries at a time."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ...derivatives import Operation

QUERIES = 128  # rows of one block: small enough to waste little outside the window


def attend(qkv: Tensor, offsets: Sequence[int], window: int, dropout: float = 0.0, seed: int = 0) -> Tensor:
    """Return softmax(q k / sqrt(e)) v over the window of each row."""
    return _Attend.apply(qkv, offsets, window, dropout, seed)


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
