"""Labelled features in pieces: arrays in memory or on disk that a head reads rows of, as if they were one."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...datasets.classes import IGNORE
from ...errors import InputError

ROWS = 1 << 12  # rows that are read at a time where all are passed through


class LabelledRows:
    """The labelled rows of several feature arrays, in order; nothing is copied until rows are asked for.

    >>> pieces = [(np.zeros((2, 3)), np.array([1, -1])), (np.ones((1, 3)), np.array([5]))]
    >>> rows = LabelledRows(pieces)
    >>> len(rows), rows.labels.tolist(), rows.take(np.array([1, 0])).tolist()
    (2, [1, 5], [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    """

    columns: np.ndarray | None = None
    """What `take` reads; None for all."""

    def __init__(self, X: Any, y: Any = None, ignore: int | None = IGNORE) -> None:
        """Hold features `X` (n, c) and labels `y` (n,), or where `y` is None an iterable of such pairs; with `ignore`
        None the labels are targets (n, ...) of any kind."""
        self.arrays: list[Any] = []
        kept, labels = [], []
        for features, truth in X if y is None else [(X, y)]:
            truth = as_labels(truth) if ignore is not None else _in_memory(truth)
            require_features(features, rows=len(truth), width=self.arrays[0].shape[1] if self.arrays else None)
            self.arrays.append(features)
            kept.append(np.arange(len(truth)) if ignore is None else np.flatnonzero(truth != ignore))
            labels.append(truth[kept[-1]])
        if not kept:
            raise InputError("there are no features; give at least one array.")
        self.labels = np.concatenate(labels)
        if not len(self.labels):
            every = "there is no label" if ignore is None else f"every label is {ignore}, which is ignored"
            raise InputError(f"{every}; give at least one point with a class.")
        self._rows = np.concatenate(kept)
        self._dtype = np.result_type(*{_in_memory(array[:0]).dtype for array in self.arrays})
        self._starts = np.concatenate([[0], np.cumsum([len(rows) for rows in kept])])

    def __len__(self) -> int:
        """Return the number of labelled rows."""
        return len(self.labels)

    @property
    def width(self) -> int:
        """Columns of the features as they were given."""
        return self.arrays[0].shape[1]

    def take(self, rows: np.ndarray) -> Tensor:
        """Return some rows (k, c), float32, in the order asked for."""
        order = np.argsort(rows, kind="stable")
        edges = np.searchsorted(rows[order], self._starts)
        out = np.empty((len(rows), self.width), self._dtype)
        for array, a, b in zip(self.arrays, edges, edges[1:], strict=False):
            if b > a:
                out[order[a:b]] = _in_memory(array[self._rows[rows[order[a:b]]]])
        read = torch.from_numpy(out).float()  # torch widens half precision several times as fast as numpy
        return read if self.columns is None else read[:, self.columns]

    def passes(self) -> Iterator[Tensor]:
        """Yield all rows once, in order, some at a time."""
        for start in range(0, len(self), ROWS):
            yield self.take(np.arange(start, min(start + ROWS, len(self))))


def columns_of(blocks: Iterable[slice] | None, width: int) -> np.ndarray | None:
    """Return the columns that some slices name, or None for all of `width` in their order.

    >>> columns_of([slice(0, 2), slice(3, 4)], 5).tolist()
    [0, 1, 3]
    """
    if blocks is None:
        return None
    blocks = list(blocks)
    if not blocks or any(not isinstance(block, slice) or not len(range(*block.indices(width))) for block in blocks):
        raise InputError(f"blocks is {blocks!r}; give slices that each hold some of the {width} columns.")
    columns = np.concatenate([np.arange(*block.indices(width)) for block in blocks])
    return None if np.array_equal(columns, np.arange(width)) else columns


def require_features(X: Any, rows: int | None = None, width: int | None = None) -> None:
    """Say what is wrong with `X`, which may stay on disk."""
    if not isinstance(X, (np.ndarray, Tensor)) or X.ndim != 2:
        raise InputError(f"the features have shape {np.shape(X)}; give an array (n, c), one row per point.")
    if rows is not None and len(X) != rows:
        raise InputError(f"there are {len(X)} rows of features and {rows} labels; give one label per row.")
    if width is not None:
        require_width(X.shape[1], width)


def require_width(given: int, width: int) -> None:
    """Say that features have the wrong number of columns."""
    if given != width:
        raise InputError(f"the features have {given} columns, {width} are needed; use the same model for all.")


def as_labels(y: Any) -> np.ndarray:
    """Return labels (n,) as int64."""
    labels = y.numpy(force=True) if isinstance(y, Tensor) else np.asarray(y)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"the labels have shape {labels.shape} and dtype {labels.dtype}; give (n,) integers.")
    return labels.astype(np.int64)


def as_tensor(X: Any) -> Tensor:
    """Return rows as float32 in memory, apart from `X`."""
    return torch.from_numpy(np.array(_in_memory(X))).float()


def _in_memory(X: Any) -> np.ndarray:
    """Return an array as it is, a tensor as an array that may share its memory."""
    return X if isinstance(X, np.ndarray) else (X.float() if X.dtype == torch.bfloat16 else X).numpy(force=True)
