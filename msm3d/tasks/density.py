"""Dense places of feature space, by HDBSCAN of scikit-learn (the extra `cluster`)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DependencyError

Found = tuple[np.ndarray, np.ndarray]  # the cluster of each row, -1 for none, and how sure that is, 0 to 1
MOST = 12_000  # rows that are looked at, evenly spaced: the time grows with their square
_AXES = 8  # principal components of directions: in more, distances say less and take longer
_NEIGHBOURS = 5  # that make a place dense


def dense(features: Sequence[np.ndarray], smallest: int, levels: Sequence[slice]) -> list[Found]:
    """Return the cluster of each row of scenes (m, c), -1 between clusters, and how sure that is.

    Args:
        features: of the scenes, which share their clusters; the largest one is 0.
        smallest: rows in the smallest cluster.
        levels: columns that count the same, whatever their scale.

    Raises:
        DependencyError: scikit-learn is not installed.
    """
    from ..visualize.colors import axes, product, unit
    from ..visualize.kinds import levelled
    from ..visualize.rows import by_parts

    hdbscan, neighbours = _learned()
    if sum(map(len, features)) < 2:  # of which HDBSCAN has nothing to say
        return [(np.zeros(len(scene), np.int64), np.ones(len(scene), np.float32)) for scene in features]
    rows, mean, scale = levelled(features, levels, MOST)
    seen = unit((rows - mean) * scale)
    middle = seen.mean(0)
    turn = axes(product((seen - middle).T.copy(), seen - middle))[1][:, :_AXES].astype(np.float32)

    def placed(part: np.ndarray) -> np.ndarray:
        return product(unit((part - mean) * scale) - middle, turn)

    sampled = placed(rows)
    share = len(rows) / sum(map(len, features))
    least = min(max(round(smallest * share), 2), len(rows))
    made = hdbscan(min_cluster_size=least, min_samples=min(_NEIGHBOURS, len(rows)), copy=False).fit(sampled)
    labels, sure = by_size(made.labels_), made.probabilities_.astype(np.float32)
    nearest = neighbours(n_neighbors=1).fit(sampled)
    found = []
    for scene in features:
        at = by_parts(lambda part: nearest.kneighbors(placed(part), return_distance=False)[:, 0], scene)
        found.append((labels[at], sure[at]))
    return found


def require_there() -> None:
    """Raise DependencyError, before any work is done, where scikit-learn is missing."""
    _learned()


def _learned() -> tuple[Any, Any]:
    try:
        from sklearn.cluster import HDBSCAN
        from sklearn.neighbors import NearestNeighbors
    except ImportError as error:
        raise DependencyError('HDBSCAN needs scikit-learn; type: pip install "msm3d[cluster]".') from error
    return HDBSCAN, NearestNeighbors


def by_size(labels: np.ndarray) -> np.ndarray:
    """Return labels from 0 in the order of how many rows have them; -1 stays.

    >>> by_size(np.array([-1, 0, 7, 7])).tolist()
    [-1, 1, 0, 0]
    """
    values, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(np.where(values < 0, 1, -counts), kind="stable")
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(len(values))
    return np.where(labels < 0, -1, rank[place])
