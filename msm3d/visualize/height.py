"""What height alone says of features, and features without it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .colors import ColorBasis, product, spaced

_ROWS = 50_000  # that it is fitted to, evenly spaced
_CHUNK = 65_536  # rows that are worked on at once
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
        share = max(_ROWS // len(features), 1)
        some = [spaced(len(scene), share) for scene in features]
        rows = np.concatenate([np.asarray(f[at], np.float32) for f, at in zip(features, some, strict=True)])
        z = np.concatenate([_above_floor(c)[at] for c, at in zip(coords, some, strict=True)])
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
        share = max(_ROWS // len(features), 1)
        some = [spaced(len(scene), share) for scene in features]
        rest = [self._rest(f[at], z[at]) for f, z, at in zip(features, heights, some, strict=True)]
        basis = ColorBasis.fit(rest)
        shown = []
        for scene, z in zip(features, heights, strict=True):
            starts = range(0, len(scene), _CHUNK)
            parts = [basis(self._rest(scene[s : s + _CHUNK], z[s : s + _CHUNK])) for s in starts]
            shown.append(np.concatenate(parts))
        return shown

    def _rest(self, rows: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.asarray(rows, np.float32) - _hats(z, self.knots) @ self.values


def _above_floor(coord: np.ndarray) -> np.ndarray:
    return coord[:, 2] - np.percentile(coord[:, 2], 1)


def _hats(z: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Return the weight (n, k) of each knot at each height."""
    return np.stack([np.interp(z, knots, row) for row in np.eye(len(knots))], 1).astype(np.float32)
