"""What a head is asked: some things of a scan, as it sees them, and sentences; and all that as rows of a cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError
from ...scan.cloud import PointCloud
from .objects import GEOMETRY, Objects
from .saying import SPOKEN

POINT, MEAN, MAXIMUM, SAID = range(4)
"""Kinds of rows, see `rows`."""
ROW = np.dtype([("kind", "i1"), ("values", "f4", (GEOMETRY + 1,)), ("text", "S320")])
"""What belongs to a row of descriptors; `rows` says how."""
LONGEST = 320  # bytes of a sentence to learn from


@dataclass(frozen=True, eq=False)
class Asked:
    """Things of a scan, k of them, and s sentences about them."""

    pooled: np.ndarray
    """(2, k, c) float32, the mean and the maximum of each thing's descriptors."""
    geometry: np.ndarray
    """(k, GEOMETRY) float32, see `Objects.geometry`."""
    texts: tuple[str, ...]
    """The s sentences."""
    meant: np.ndarray | None = None
    """(s, 5) int64, the thing that each means and its anchors, see `Sentence`; None where that is asked."""
    labels: np.ndarray | None = None
    """(k,) int64, the class of each thing; None where nobody knows."""

    @classmethod
    def of(cls, things: Objects, features: np.ndarray, owner: np.ndarray, texts: Sequence[str]) -> "Asked":
        """Return what is asked of some things; `features` (m, c) are descriptors and `owner` (n,) the row of each
        point."""
        return cls(things.pooled(features, owner), things.geometry, tuple(texts))


@dataclass(frozen=True, eq=False)
class Described:
    """A scan with its descriptors, and what is asked of its things."""

    features: np.ndarray
    """(m, c) descriptors."""
    owner: np.ndarray
    """(n,) the row of each point."""
    scan: PointCloud
    asked: Asked


@dataclass(frozen=True, eq=False)
class Answers:
    """How well each thing fits each sentence: of the things that were given, and of those that were found."""

    given: np.ndarray
    """(s, k) logits."""
    found: np.ndarray | None = None
    """(s, j) logits; None of a head that finds no things."""
    boxes: np.ndarray | None = None
    """(j, 7) of those that were found."""


def rows(asked: Asked, points: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a scan to learn from as rows: descriptors (r, c) float16, and `ROW`s (r,) that say what they are.

    First come points, with class and offset as `PointGroup` learns them, then the mean of each thing and the maximum
    of each, with geometry and class, and with the numbers of things and sentences as text, and then a row of zeros for
    each sentence, with the numbers of the things that it speaks of.
    """
    assert asked.meant is not None
    assert asked.labels is not None
    parts = [points, *asked.pooled, np.zeros((len(asked.texts), points.shape[1]))]
    found = np.zeros(sum(map(len, parts)), ROW)
    found["kind"] = np.repeat([POINT, MEAN, MAXIMUM, SAID], [len(part) for part in parts])
    found["values"][found["kind"] == POINT, :4] = offsets
    for kind in (MEAN, MAXIMUM):
        mine = found["kind"] == kind
        found["values"][mine] = np.column_stack([asked.geometry, asked.labels])
        found["text"][mine] = f"{len(asked.geometry)} {len(asked.texts)}".encode()
    said = found["kind"] == SAID
    found["values"][said, : asked.meant.shape[1]] = asked.meant
    found["text"][said] = [text.encode("ascii", "replace")[:LONGEST] for text in asked.texts]
    return np.concatenate(parts).astype(np.float16), found


def read(features: Any, targets: np.ndarray) -> tuple[Asked, tuple[np.ndarray, np.ndarray]]:
    """Return what is asked of a scan, and its points and their targets (p, 4), of what `rows` returned.

    Raises:
        InputError: the rows are others, or some are missing.
    """
    if targets.dtype != ROW:
        raise InputError(f"the targets are of {targets.dtype}; give those of the task grounding.")
    kind = targets["kind"]
    parts = [features[kind == one] for one in (POINT, MEAN, MAXIMUM, SAID)]
    mean = targets[kind == MEAN]
    sizes = [list(map(int, text.split())) for text in np.unique(targets["text"][(kind == MEAN) | (kind == MAXIMUM)])]
    there = [len(part) for part in parts[1:]]
    if any(there) and (sizes != [there[::2]] or there[0] != there[1]):
        raise InputError("some rows of a scene are missing; give all of them, as without a number of points.")
    said = targets[kind == SAID]
    texts = tuple(text.decode() for text in said["text"])
    pooled = np.stack(parts[1:3]).astype(np.float32)
    geometry, labels = mean["values"][:, :GEOMETRY], mean["values"][:, GEOMETRY].astype(np.int64)
    asked = Asked(pooled, geometry, texts, said["values"][:, :SPOKEN].astype(np.int64), labels)
    return asked, (parts[0], targets["values"][kind == POINT, :4])
