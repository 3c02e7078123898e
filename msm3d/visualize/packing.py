"""A scene in few bytes: points as places in small cells, and for each cell its features in int8."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..ops import curves
from .colors import ColorBasis, axes, bytes_of, lengths, product, unit
from .rows import Copies, spaced

CHANNELS = 64  # numbers that a cell's features are packed into, over all levels
MOST_CELLS = 250_000  # of a packed scene; they are made larger until there are no more
FINEST = 0.02  # edge of the smallest cells where nothing is known of the network, metres
_LEAST = 4  # numbers for each level
_ROWS = 40_000  # that the packing is fitted to, evenly spaced
_CHUNK = 32_768
_PAIRS = 48, 4096  # points and other points that the loss is measured on


@dataclass(frozen=True, eq=False)
class Cells:
    """Which points are in which cell of a grid. Cells are in Morton order, and so are the points."""

    edge: float  # metres
    corner: np.ndarray  # (3,) float64, metres: where cell (0, 0, 0) begins
    cells: np.ndarray  # (m, 3) int64
    counts: np.ndarray  # (m,) int64: points in each
    rows: np.ndarray  # (n,) int64: the point at each place

    @classmethod
    def of(cls, coord: np.ndarray, most: int = MOST_CELLS, finest: float = FINEST) -> "Cells":
        """Return the finest grid of at most `most` occupied cells."""
        corner = coord.min(0)
        edge = max(finest, float(np.ptp(coord, axis=0).max()) / ((1 << curves.BITS) - 2))
        while True:
            cells = np.floor((coord - corner) / edge).astype(np.int64)
            keys = curves.morton(torch.from_numpy(np.pad(cells, ((0, 0), (1, 0))))).numpy()
            order = np.argsort(keys, kind="stable")
            new = np.diff(keys[order], prepend=-1) != 0
            if new.sum() <= most:
                break
            edge *= 1.25
        starts = np.flatnonzero(new)
        return cls(edge, corner, cells[order[starts]], np.diff(starts, append=len(order)), order)

    @property
    def cell_of_point(self) -> np.ndarray:
        """(n,) int64: the cell of the point at each place."""
        return np.repeat(np.arange(len(self.cells)), self.counts)


@dataclass(frozen=True, eq=False)
class Packed:
    """Features of cells in int8, such that cosines can be read from them."""

    channels: tuple[int, ...]  # numbers kept of each level
    values: np.ndarray  # (m, sum of channels) int8
    scales: np.ndarray  # (sum of channels,) float32: what one step of each number is worth
    weights: np.ndarray  # (m, levels) uint8: the share of each level in a descriptor's length
    colors: np.ndarray  # (m, groups, 3) uint8: principal components as colours, of all levels and then of each

    def similarity(self, cell: np.ndarray, others: np.ndarray, level: int | None = None) -> np.ndarray:
        """Return cosines of the cells (k,) with others (j,), over all levels or one, as the page computes them."""
        total = np.zeros((len(cell), len(others)), np.float32)
        stop = np.cumsum(self.channels)
        share, shares = (unit(self.weights[rows].astype(np.float32)) for rows in (cell, others))
        for k, (first, last) in enumerate(zip(stop - self.channels, stop, strict=True)):
            if level in (None, k):
                mine, theirs = (unit(self.values[r, first:last] * self.scales[first:last]) for r in (cell, others))
                total += (share[:, k, None] * shares[:, k] if level is None else 1) * (mine @ theirs.T)
        return total


def pack(
    features: Any, cells: Cells, levels: Sequence[slice], bases: Sequence[ColorBasis], channels: int = CHANNELS
) -> Packed:
    """Return the features (n, c) of the points, averaged over each cell and reduced to `channels` numbers.

    Each level, some of the columns, is a direction, for which the principal components that keep cosines best are kept,
    and a length. The `bases` are for colours of all columns, and of each level's where there are several.
    """
    features = Copies.of(features)
    kept = _kept(features.at(cells.rows[spaced(len(cells.rows), _ROWS)]), levels, channels)
    linear, widths = [basis.linear() for basis in bases], [part.shape[1] for part in kept]
    columns = [*levels, slice(None), *(levels if len(levels) > 1 else [])]
    turns, first = np.zeros((features.shape[1], sum(widths) + 3 * len(bases)), np.float32), 0
    for where, part in zip(columns, [*kept, *(turn for turn, _ in linear)], strict=True):
        turns[where, first : first + part.shape[1]] = part
        first += part.shape[1]
    means = _means(features, cells, levels, widths, turns)
    values, colors, length = np.split(means, [sum(widths), first], axis=1)
    colors = bytes_of(colors + np.concatenate([shift for _, shift in linear])).reshape(len(means), -1, 3)
    scales = np.maximum(np.abs(values).max(0) / 127, 1e-9).astype(np.float32)
    weights = np.rint(unit(length) * 255).astype(np.uint8)
    return Packed(tuple(widths), np.rint(values / scales).astype(np.int8), scales, weights, colors)


def _means(
    features: Copies, cells: Cells, levels: Sequence[slice], widths: Sequence[int], turns: np.ndarray
) -> np.ndarray:
    """Return what `turns` makes of features, levels as directions, and their lengths: the mean of each cell."""
    m, ends, first = len(cells.cells), np.append(0, np.cumsum(cells.counts)), 0
    means = np.empty((m, turns.shape[1] + len(levels)), np.float32)
    while first < m:  # whole cells at a time
        last = max(int(np.searchsorted(ends[:-1], ends[first] + _CHUNK)), first + 1)
        some = features.at(cells.rows[ends[first] : ends[last]])
        length = np.stack([lengths(some.rows[:, level]) for level in levels], 1)
        made = product(some.rows, turns)
        made[:, : sum(widths)] /= np.maximum(np.repeat(length, widths, axis=1), 1e-20)
        made = np.concatenate([made, length], 1)
        places = (torch.from_numpy(each) for each in (some.owner, made, ends[first:last] - ends[first]))
        means[first:last] = torch.nn.functional.embedding_bag(*places, mode="mean").numpy()
        first = last
    return means


def loss(features: Copies, cells: Cells, packed: Packed, levels: Sequence[slice]) -> list[tuple[float, float]]:
    """Return how far the packed cosines are from the features': mean and 95th percentile of the difference.

    Over all levels and then over each, for 48 points and 4,096 others, evenly spaced.
    """
    n, cell = len(cells.rows), cells.cell_of_point
    some, others = (spaced(n, count) for count in _PAIRS)
    query, rows = (np.asarray(features[cells.rows[at]], np.float32) for at in (some, others))
    result = []
    for level in [None, *range(len(levels) if len(levels) > 1 else 0)]:
        columns = slice(None) if level is None else levels[level]
        exact = unit(query[:, columns]) @ unit(rows[:, columns]).T
        difference = np.abs(exact - packed.similarity(cell[some], cell[others], level))
        result.append((float(difference.mean()), float(np.percentile(difference, 95))))
    return result


def _kept(some: Copies, levels: Sequence[slice], channels: int) -> list[np.ndarray]:
    """Return for each level the axes (c, k) to keep: the strongest of all levels, and at least four of each."""
    if channels < _LEAST * len(levels):
        raise InputError(f"channels is {channels}; give at least {_LEAST} for each of {len(levels)} levels.")
    share, found = np.sqrt(some.counts / len(some)), []
    for level in levels:
        rows = some.rows[:, level]
        rows = rows * (share / np.maximum(lengths(rows), 1e-20)).astype(np.float32)[:, None]  # directions
        found.append(axes(product(rows.T, rows)))
    rest = sorted((-value, k) for k, (strength, _) in enumerate(found) for value in strength[_LEAST:])
    least = [min(_LEAST, len(strength)) for strength, _ in found]
    chosen = [k for _, k in rest[: channels - sum(least)]]
    counts = [count + chosen.count(k) for k, count in enumerate(least)]
    return [np.ascontiguousarray(a[:, :count], np.float32) for (_, a), count in zip(found, counts, strict=True)]
