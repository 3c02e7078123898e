"""Features of points, of which many have the same: each different row once, and which of them each point has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError

_CHUNK = 4096  # rows that are worked on at once: what is made of them stays in a core's cache


@dataclass(frozen=True, eq=False)
class Copies:
    """Features (n, c) that are copies of fewer rows: those of voxels, as `Model.extract(at="voxels")` returns them.

    >>> features = Copies(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([1, 0, 1, 2]))
    >>> features.shape, features[1:3].tolist()
    ((4, 2), [[1.0, 2.0], [3.0, 4.0]])
    >>> some = features.at(np.array([0, 2, 3]))  # without the row that none of these points has
    >>> len(some), some.rows.tolist(), some.counts.tolist()
    (3, [[3.0, 4.0], [5.0, 6.0]], [2, 1])
    """

    rows: np.ndarray
    """(m, c); may be a memory map."""
    owner: np.ndarray
    """(n,) the row of each point."""

    @classmethod
    def of(cls, features: Any) -> "Copies":
        """Return features (n, c) as they are, or each row as a point's own."""
        rows = checked(features)
        return rows if isinstance(rows, cls) else cls(rows, np.arange(len(rows)))

    def __len__(self) -> int:
        """Return how many points there are."""
        return len(self.owner)

    def __getitem__(self, points: Any) -> np.ndarray:
        """Return the features of some of the points."""
        return self.rows[self.owner[points]]

    @property
    def shape(self) -> tuple[int, int]:
        """Points and channels."""
        return len(self.owner), self.rows.shape[1]

    @property
    def counts(self) -> np.ndarray:
        """(m,) how many points have each row."""
        return np.bincount(self.owner, minlength=len(self.rows))

    def at(self, points: np.ndarray) -> "Copies":
        """Return the features of some of the points, with the rows that these have alone, as float32 of its own."""
        which, owner = np.unique(self.owner[points], return_inverse=True)
        return Copies(np.asarray(self.rows[which], np.float32), owner)


def spaced(n: int, most: int) -> np.ndarray:
    """Return at most `most` of the rows 0 to n - 1, evenly spaced."""
    return np.arange(n) if n <= most else (np.arange(most) * n) // most


def sample(features: Any, most: int) -> list[Copies]:
    """Return `evenly` spaced rows, float32, of one scene's features or of several scenes', given as a list."""
    scenes = [Copies.of(f) for f in (features if isinstance(features, (list, tuple)) else [features])]
    return [scene.at(points) for scene, points in zip(scenes, _evenly(scenes, most), strict=True)]


def evenly(scenes: Sequence[np.ndarray], most: int) -> list[np.ndarray]:
    """Return rows of each scene, evenly spaced and as many of each: `most` in all."""
    return [scene[points] for scene, points in zip(scenes, _evenly(scenes, most), strict=True)]


def _evenly(scenes: Sequence[Any], most: int) -> list[np.ndarray]:
    return [spaced(len(scene), max(most // len(scenes), 1)) for scene in scenes]


def by_parts(made: Callable[..., np.ndarray], features: Any, *others: np.ndarray) -> np.ndarray:
    """Return what is made of features (n, c), as float32, and of other arrays of as many rows: part by part.

    Of copies it is made once for each row; there cannot be others then.
    """
    if isinstance(features, Copies):
        return by_parts(made, features.rows)[features.owner]
    parts = [slice(start, start + _CHUNK) for start in range(0, len(features), _CHUNK)]
    return np.concatenate(
        [made(np.asarray(features[part], np.float32), *(other[part] for other in others)) for part in parts]
    )


def checked(features: Any) -> Any:
    """Return features as an array (n, c), without a copy where there need be none, or `Copies` as they are."""
    if isinstance(features, Copies):
        return features
    rows = plain(features)
    if rows.ndim != 2 or 0 in rows.shape or rows.dtype.kind not in "fiu":
        raise InputError(f"features has shape {rows.shape} and dtype {rows.dtype}; give (n, c) numbers.")
    return rows


def plain(values: Any) -> np.ndarray:
    """Return an array, or what is in a tensor."""
    if hasattr(values, "detach"):  # a tensor
        values = values.detach().cpu()
        return (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()
    return np.asarray(values)
