"""What height alone says of features, and features without it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .colors import ColorBasis, bytes_of, product
from .rows import Copies, by_parts, evenly, sample

_ROWS = 50_000  # that it is fitted to, evenly spaced
_KNOTS = 12


@dataclass(frozen=True, eq=False)
class Height:
    """The mean feature vector at each height above the floor: linear between a few heights.

    >>> coord = np.random.default_rng(0).uniform(0, 2, (500, 3))
    >>> height = Height.fit([np.repeat(coord[:, 2:], 5, axis=1)], [coord])
    >>> round(height.share, 2)
    1.0
    """

    knots: np.ndarray
    """(k,) float64, rising: metres above the floor."""
    values: np.ndarray
    """(k, c) float32: the features there."""
    share: float
    """Of the features' variance, over all channels, that height alone explains: 0 to 1."""

    @classmethod
    def fit(cls, features: Sequence[np.ndarray | Copies], coords: Sequence[np.ndarray]) -> "Height":
        """Return the height of scenes that share it; at most 50,000 rows are looked at, evenly spaced.

        Args:
            features: (n, c) of each scene.
            coords: (n, 3) metres, z up, of each scene.
        """
        scenes, heights = sample(list(features), _ROWS), evenly([_above_floor(coord) for coord in coords], _ROWS)
        knots = np.unique(np.quantile(np.concatenate(heights), np.linspace(0, 1, _KNOTS)))
        n, each = sum(map(len, scenes)), list(zip(scenes, [_hats(z, knots) for z in heights], strict=True))
        mean = np.sum([product(part.counts[None].astype(np.float32), part.rows)[0] for part in scenes], axis=0) / n
        normal, sums, total = np.zeros((len(knots), len(knots))), np.zeros((len(knots), len(mean))), 0.0
        for part, hats in each:  # of features less their mean: the sums that the fit and what it leaves are made of
            rows = part.rows
            rows -= mean
            whole = np.stack([np.bincount(part.owner, weights, len(rows)) for weights in hats.T])  # (k, m)
            normal += product(hats.T, hats)
            sums += product(whole.astype(np.float32), rows)
            total += float(part.counts @ np.einsum("mc,mc->m", rows, rows))
        hats = normal.sum(0)  # at every point the hats add up to one
        normal[np.diag_indices(len(knots))] += 1e-6 * n  # a height at which there is nothing has zeros
        values = np.linalg.solve(normal, sums + hats[:, None] * mean)
        fitted = values - mean
        left = total - 2 * float((fitted * sums).sum()) + float((fitted * (normal @ fitted)).sum())
        return cls(knots, values.astype(np.float32), 1 - left / total if total > 0 else 0.0)

    def colors(self, features: Sequence[np.ndarray | Copies], coords: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the colours (n, 3) uint8 of each scene's features less those of their height, on one basis."""
        heights = [_above_floor(coord) for coord in coords]
        some = [part[:] for part in sample(list(features), _ROWS)]
        turn, shift = ColorBasis.fit(list(map(self._rest, some, evenly(heights, _ROWS)))).linear()
        of_knots, colors = self.values @ turn, []  # which spares the rest of every point
        for rows, z in zip(features, heights, strict=True):
            whole = by_parts(lambda part: product(part, turn) + shift, rows)
            colors.append(bytes_of(whole - _hats(z, self.knots) @ of_knots))
        return colors

    def rest(self, features: np.ndarray, coord: np.ndarray) -> np.ndarray:
        """Return the features (n, c) of one scene less those of their height, float32; `coord` (n, 3) is z up."""
        return by_parts(self._rest, features, _above_floor(coord))

    def _rest(self, rows: np.ndarray, z: np.ndarray) -> np.ndarray:
        return rows - _hats(z, self.knots) @ self.values


def _above_floor(coord: np.ndarray) -> np.ndarray:
    return coord[:, 2] - np.percentile(coord[:, 2], 1)


def _hats(z: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Return the weight (n, k) of each knot at each height."""
    return np.stack([np.interp(z, knots, row) for row in np.eye(len(knots))], 1).astype(np.float32)
