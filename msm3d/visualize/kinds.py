"""Features to a few kinds of things: k-means on directions, the same on every run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from .colors import product, unit
from .rows import by_parts, checked, sample

_ROWS = 20_000  # that the kinds are found in, evenly spaced
_STARTS, _STEPS = 4, 30  # of k-means


@dataclass(frozen=True, eq=False)
class Kinds:
    """Centres of clusters of features, the largest first.

    Fit them to all scenes whose colours are to be compared.

    >>> rng = np.random.default_rng(0)
    >>> wall, chair = rng.normal(size=(300, 8)) + [9, *[0] * 7], rng.normal(size=(100, 8)) - [0, 9, *[0] * 6]
    >>> kinds = Kinds.fit(np.concatenate([wall, chair]), 2)
    >>> np.bincount(kinds(wall)).tolist(), set(kinds(chair).tolist())
    ([300], {1})
    """

    mean: np.ndarray
    """(c,) float32."""
    scale: np.ndarray
    """(c,) float32: what a column is multiplied by, so that levels count the same."""
    centres: np.ndarray
    """(count, c) float32, unit rows."""

    @classmethod
    def fit(cls, features: Any, count: int = 8, *, levels: Sequence[slice] = ()) -> "Kinds":
        """Return the kinds of one scene's features (n, c), or of several scenes', given as a list.

        At most 20,000 rows are looked at, evenly spaced; the starts of k-means are drawn with a fixed seed.

        Args:
            features: of one or several scenes.
            count: kinds to find.
            levels: columns that count the same, whatever their scale; all of them together by default.

        Raises:
            InputError: the features are no (n, c) numbers, hold NaN, or there are fewer rows than kinds.
        """
        rows, mean, scale = levelled(features, levels, _ROWS)
        if not 1 <= count <= len(rows):
            raise InputError(f"count is {count} for {len(rows)} features; give a number from 1 to {len(rows)}.")
        return cls(mean, scale, _means(torch.from_numpy(unit((rows - mean) * scale)), count).numpy())

    def __call__(self, features: Any) -> np.ndarray:
        """Return the kind (n,) int64 of each feature vector (n, c)."""
        turn = (self.centres * self.scale).T.copy()
        return by_parts(lambda part: product(part - self.mean, turn).argmax(1), checked(features))

    def nearness(self, features: Any) -> np.ndarray:
        """Return how near each vector (n, c) is to the middle of its kind: a cosine, of which below 0 is 0; (n,)."""
        turn = self.centres.T.copy()
        near = by_parts(lambda part: product(unit((part - self.mean) * self.scale), turn).max(1), checked(features))
        return near.clip(0, 1)


def levelled(features: Any, levels: Sequence[slice], most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `most` rows of one or several scenes, evenly spaced, their mean (c,), and what to multiply columns by (c,)
    so that all levels count the same."""
    rows = np.concatenate([part[:] for part in sample(features, most)])
    if not np.isfinite(rows).all():
        raise InputError("features has rows with NaN or infinity; drop them, and the same points.")
    scale = np.ones(rows.shape[1], np.float32)
    for columns in levels or [slice(None)]:
        scale[columns] = 1 / max(float(rows[:, columns].std()), 1e-9)
    return rows, rows.mean(0), scale


def _means(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Return the centres (count, k) of k-means on unit rows, of the best of a few starts, the largest first."""
    chance = torch.Generator().manual_seed(0)
    best, most = rows[:count], -1.0
    for _ in range(_STARTS):
        centres = _spread(rows, count, chance)
        for _ in range(_STEPS):
            members = torch.nn.functional.one_hot((rows @ centres.T).argmax(1), count)
            sums = members.float().T @ rows
            found = torch.nn.functional.normalize(torch.where(sums.any(1, keepdim=True), sums, centres), dim=1)
            if torch.equal(found, centres):
                break
            centres = found
        near = (rows @ centres.T).amax(1).sum().item()
        if near > most:
            best, most = centres, near
    size = (rows @ best.T).argmax(1).bincount(minlength=count)
    return best[size.argsort(descending=True, stable=True)]


def _spread(rows: torch.Tensor, count: int, chance: torch.Generator) -> torch.Tensor:
    """Return rows far from each other to start from: k-means++ of D. Arthur and S. Vassilvitskii, 2007."""
    chosen = [int(torch.randint(len(rows), (1,), generator=chance))]
    apart = torch.full((len(rows),), torch.inf)
    while len(chosen) < count:
        apart = torch.minimum(apart, (1 - rows @ rows[chosen[-1]]).clamp(min=0))
        weight = apart if apart.sum() > 0 else torch.ones_like(apart)
        chosen.append(int(torch.multinomial(weight, 1, generator=chance)))
    return rows[chosen]
