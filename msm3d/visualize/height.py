"""What height alone says of features, and features without it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .colors import ColorBasis, by_parts, evenly, product, sample

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
    def fit(cls, features: Sequence[np.ndarray], coords: Sequence[np.ndarray]) -> "Height":
        """Return the height of scenes that share it; at most 50,000 rows are looked at, evenly spaced.

        Args:
            features: (n, c) of each scene.
            coords: (n, 3) metres, z up, of each scene.
        """
        rows = np.concatenate(sample(list(features), _ROWS))
        z = np.concatenate(evenly([_above_floor(coord) for coord in coords], _ROWS))
        knots = np.unique(np.quantile(z, np.linspace(0, 1, _KNOTS)))
        hats = _hats(z, knots)
        normal = product(hats.T.copy(), hats).astype(np.float64)
        normal[np.diag_indices(len(knots))] += 1e-6 * len(rows)  # a height at which there is nothing has zeros
        values = np.linalg.solve(normal, product(hats.T.copy(), rows)).astype(np.float32)
        total = float(((rows - rows.mean(0)) ** 2).sum())
        left = float(((rows - hats @ values) ** 2).sum())
        return cls(knots, values, 1 - left / total if total > 0 else 0.0)

    def colors(self, features: Sequence[np.ndarray], coords: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the colours (n, 3) uint8 of each scene's features less those of their height, on one basis."""
        heights = [_above_floor(coord) for coord in coords]
        basis = ColorBasis.fit(list(map(self._rest, sample(list(features), _ROWS), evenly(heights, _ROWS))))
        pairs = zip(features, heights, strict=True)
        return [by_parts(lambda part, above: basis(self._rest(part, above)), rows, z) for rows, z in pairs]

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
