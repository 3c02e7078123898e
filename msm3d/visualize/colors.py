"""Features to colours: principal components on a basis that scenes can share, and similarity to one of the points."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._util.atomic import replacing
from ..errors import FileError, InputError
from .rows import by_parts, checked, plain, sample

_ROWS = 50_000  # that a basis is fitted to, evenly spaced
_ENDS = 1.0, 99.0  # percentiles of a component that become the two colours below
_RANGE = 28.0, 236.0  # neither black nor glaring, so that shading is seen on every colour
_RANKS = 20_000  # similarities, evenly spaced, in which a threshold is looked for

_HEAT = np.array(
    [(126, 3, 168), (156, 23, 158), (182, 48, 139), (203, 70, 121), (221, 94, 102)]
    + [(236, 120, 83), (247, 149, 64), (253, 180, 47), (251, 213, 36), (240, 249, 33)],
    np.float32,
)  # steps of plasma (S. van der Walt and N. Smith, CC0): readable in grey and by the colour-blind
LABELS = np.array(
    [(174, 178, 190), (196, 164, 120), (58, 120, 190), (232, 142, 74), (126, 184, 72), (150, 84, 58)]
    + [(236, 142, 158), (206, 62, 66), (176, 152, 224), (58, 158, 138), (240, 206, 74), (112, 208, 224)]
    + [(222, 102, 44), (150, 88, 186), (78, 84, 196), (44, 128, 72), (218, 74, 166), (104, 196, 158)]
    + [(110, 148, 240), (128, 122, 82), (98, 100, 106)],
    np.uint8,
)
"""(21, 3) a colour for each label, which repeat after the last."""


@dataclass(frozen=True, eq=False)
class ColorBasis:
    """Which three directions of feature space are red, green and blue, and which stretch of each is dark to bright.

    Fit it once and give it to `pca_colors` for every scene whose colours are to be compared.

    >>> rng = np.random.default_rng(0)
    >>> here, there = rng.normal(size=(500, 32)), rng.normal(size=(200, 32))
    >>> basis = ColorBasis.fit([here, there])
    >>> pca_colors(there, basis)[0].shape
    (200, 3)
    """

    mean: np.ndarray
    """(c,) float32."""
    components: np.ndarray
    """(3, c) float32, unit rows of falling variance, the largest entry of each positive."""
    low: np.ndarray
    """(3,) float32, what becomes 28, dark."""
    high: np.ndarray
    """(3,) float32, what becomes 236, bright."""

    @classmethod
    def fit(cls, features: Any) -> "ColorBasis":
        """Return the basis of one scene's features (n, c), or of several scenes', given as a list.

        Every scene has the same weight. At most 50,000 rows are looked at, evenly spaced; nothing is drawn at random.

        Raises:
            InputError: the features are no (n, c) numbers, hold NaN, or differ in width.
        """
        return cls.of_each(features, [slice(None)])[0]

    @classmethod
    def of_each(cls, features: Any, columns: Sequence[slice]) -> list["ColorBasis"]:
        """Return a basis of some of the columns each, as if it were fitted to those alone.

        Raises:
            InputError: as `fit`.
        """
        scenes = sample(features, _ROWS)
        if len({part.shape[1] for part in scenes}) != 1:
            widths = ", ".join(str(part.shape[1]) for part in scenes) or "nothing"
            raise InputError(f"the scenes have features of {widths} channels; give at least one, all of one width.")
        bad = sum(int(part.counts[~np.isfinite(part.rows).all(1)].sum()) for part in scenes)
        if bad:
            raise InputError(f"features has {bad} rows with NaN or infinity; drop them, and the same points.")
        share = np.concatenate([part.counts / (len(part) * len(scenes)) for part in scenes])
        rows = np.concatenate([part.rows for part in scenes]) if len(scenes) > 1 else scenes[0].rows
        mean = product(share[None].astype(np.float32), rows)[0]
        rows -= mean
        weight = np.sqrt(share).astype(np.float32)[:, None]
        rows *= weight
        spread, firsts = product(rows.T, rows), np.cumsum([0, *(len(part.rows) for part in scenes)])
        owner = np.concatenate([part.owner + first for part, first in zip(scenes, firsts, strict=False)])
        return [cls._of(mean[part], spread[part, part], rows[:, part], weight, owner) for part in columns]

    @classmethod
    def _of(
        cls, mean: np.ndarray, spread: np.ndarray, rows: np.ndarray, weight: np.ndarray, owner: np.ndarray
    ) -> "ColorBasis":
        """Return the basis of weighed `rows` less their mean, of covariance `spread`, of which points own some."""
        vectors = axes(spread)[1].T[:3]
        if len(vectors) < 3:  # fewer than three channels: the others stay empty
            vectors = np.concatenate([vectors, np.zeros((3 - len(vectors), vectors.shape[1]))])
        largest = vectors[np.arange(3), np.abs(vectors).argmax(1)]
        components = (vectors * np.where(largest < 0, -1, 1)[:, None]).astype(np.float32)
        scores = product(rows, components.T) / weight
        low, high = np.percentile(scores[owner], _ENDS, axis=0).astype(np.float32)
        return cls(mean, components, low, high)

    def __call__(self, features: Any) -> np.ndarray:
        """Return the colours (n, 3) uint8 of features (n, c)."""
        rows = checked(features)
        if rows.shape[1] != len(self.mean):
            raise InputError(
                f"the features have {rows.shape[1]} channels, the basis {len(self.mean)}; "
                "fit it to features of the same model and levels."
            )
        turn, shift = self.linear()
        return by_parts(lambda part: bytes_of(product(part, turn) + shift), rows)

    def linear(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the matrix (c, 3) and the shift (3,) that turn features into colours, before they are clipped."""
        span = self.high - self.low
        dark, bright = _RANGE
        scale = np.divide(bright - dark, span, out=np.zeros_like(span), where=span > 0)
        turn = np.ascontiguousarray((self.components * scale[:, None]).T)
        shift = np.where(span > 0, dark - self.low * scale, 127.5) - self.mean @ turn
        return turn, shift.astype(np.float32)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write an .npz file that `load` reads.

        Raises:
            InputError: the name does not end with .npz.
        """
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise InputError(f"{path} cannot hold a basis; end it with .npz.")
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, mean=self.mean, components=self.components, low=self.low, high=self.high)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ColorBasis":
        """Return the basis that `save` wrote.

        Raises:
            FileError: there is no such file, or it holds something else.
        """
        try:
            with np.load(path) as file:
                parts = {name: file[name].astype(np.float32) for name in ("mean", "components", "low", "high")}
        except Exception as error:  # files are hostile, and so are the ways in which they fail
            raise FileError(
                f"{path}: is not a basis of colours; write one with ColorBasis.save or `msm3d pca --save-basis`."
            ) from error
        c = len(parts["mean"])
        if [part.shape for part in parts.values()] != [(c,), (3, c), (3,), (3,)]:
            raise FileError(f"{path}: holds arrays of other shapes than a basis of colours; write it again.")
        return cls(**parts)


def pca_colors(features: Any, basis: ColorBasis | None = None) -> tuple[np.ndarray, ColorBasis]:
    """Return a colour for each feature vector: its first three principal components as red, green and blue.

    >>> features = np.random.default_rng(0).normal(size=(1000, 16))
    >>> colors, basis = pca_colors(features)
    >>> colors.shape, colors.dtype.name, bool((pca_colors(features[:10], basis)[0] == colors[:10]).all())
    ((1000, 3), 'uint8', True)

    Args:
        features: (n, c) array or tensor.
        basis: of other scenes, for colours that mean the same; by default one is fitted here.

    Returns:
        (n, 3) uint8, and the basis. The 1st and 99th percentile of a component are 28 and 236; the largest entry of
        each component is positive, so signs never flip between runs.

    Raises:
        InputError: the features are no (n, c) numbers, or do not fit the basis.
    """
    basis = ColorBasis.fit(features) if basis is None else basis
    return basis(features), basis


def similarity(features: Any, index_or_point: Any, coord: Any = None) -> np.ndarray:
    """Return the cosine of every feature vector with that of one point.

    >>> features = np.array([[1, 0], [2, 0], [0, 1], [-1, 0]])
    >>> similarity(features, 0).tolist()
    [1.0, 1.0, 0.0, -1.0]
    >>> similarity(features, [0.9, 0, 0], coord=np.eye(4, 3)).tolist()  # the point nearest to (0.9, 0, 0) is row 0
    [1.0, 1.0, 0.0, -1.0]

    Args:
        features: (n, c) array or tensor.
        index_or_point: the row of a point; or x, y, z, for which the nearest point is taken.
        coord: (n, 3) positions of the points, needed with x, y, z.

    Returns:
        (n,) float32 in [-1, 1]; 0 for rows of zeros.

    Raises:
        InputError: there is no such row, or positions are missing.
    """
    rows = checked(features)
    n = len(rows)
    if isinstance(index_or_point, (int, np.integer)):
        index = int(index_or_point)
        if not -n <= index < n:
            raise InputError(f"index is {index}, but there are {n} points; give 0 to {n - 1}.")
    else:
        point = np.asarray(index_or_point, np.float64)
        if point.shape != (3,) or not np.isfinite(point).all():
            raise InputError(f"index_or_point is {index_or_point!r}; give the row of a point, or x, y, z.")
        if coord is None:
            raise InputError("x, y, z were given without positions; pass coord= (n, 3) too.")
        positions = plain(coord)
        if positions.shape != (n, 3):
            raise InputError(f"coord has shape {positions.shape}; give ({n}, 3), one row per feature vector.")
        index = int(((positions - point) ** 2).sum(1).argmin())
    query = np.asarray(rows[index], np.float32)
    query = query / max(float(np.linalg.norm(query)), 1e-20)
    return np.clip(by_parts(lambda part: part @ query / np.maximum(lengths(part), 1e-20), rows), -1, 1)


def threshold(similar: Any) -> float:
    """Return from where on points are similar to the one that was asked about: the middle of the widest gap.

    A gap is a stretch of similarities that holds 1 % of the points. Its width is weighed by the fourth root of the
    share of points above it, so that the few next to the asked one do not make a gap of their own; it begins where at
    least half of the points are below, and at least 0.3 % are above.

    >>> rest, alike = np.linspace(-0.2, 0.6, 8000), np.linspace(0.8, 1, 2000)
    >>> round(threshold(np.concatenate([rest, alike])), 2)
    0.7

    Args:
        similar: (n,) as from `similarity`.

    Raises:
        InputError: the similarities are no (n,) finite numbers.
    """
    values = plain(similar)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise InputError(f"similar has shape {values.shape}; give (n,) finite numbers, as similarity() returns.")
    rank = np.sort(values)[(np.arange(_RANKS) * len(values)) // _RANKS].astype(np.float64)
    first, wide = np.arange(_RANKS // 2, _RANKS * 997 // 1000 - _RANKS // 100), _RANKS // 100
    width = rank[first + wide] - rank[first]
    at = first[(width * (1 - (first + wide / 2) / _RANKS) ** 0.25).argmax()]
    return float(rank[at] + rank[at + wide]) / 2


def similarity_colors(similar: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """Return colours (n, 3) uint8 of similarities (n,): violet through red to yellow, the most similar.

    >>> similarity_colors(np.array([1.0, 0.5, 0.0])).tolist()[0]
    [240, 249, 33]

    Args:
        similar: (n,) as from `similarity`.
        threshold: what is violet, and all below it; the median of the scene by default.
    """
    low = float(np.median(similar)) if threshold is None else threshold
    place = np.clip((similar - low) / max(1 - low, 1e-6), 0, 1) * (len(_HEAT) - 1)
    step = np.minimum(place.astype(np.int64), len(_HEAT) - 2)
    part = (place - step)[:, None]
    return np.rint(_HEAT[step] * (1 - part) + _HEAT[step + 1] * part).astype(np.uint8)


def label_colors(labels: Any) -> np.ndarray:
    """Return colours (n, 3) uint8 of integer labels (n,); negative ones and 255, "not labelled", are dark grey.

    >>> label_colors(np.array([0, 21, -1])).tolist()
    [[174, 178, 190], [174, 178, 190], [70, 70, 74]]
    """
    labels = plain(labels)
    unknown = (labels < 0) | (labels == 255)
    return np.where(unknown[:, None], np.array([70, 70, 74], np.uint8), LABELS[labels % len(LABELS)])


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return `a @ b` on torch's threads: numpy's would compete with them."""
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


def lengths(rows: np.ndarray) -> np.ndarray:
    """Return the length (n,) of each row (n, c)."""
    return np.sqrt(np.einsum("nc,nc->n", rows, rows))


def unit(rows: np.ndarray) -> np.ndarray:
    """Return rows scaled to length one."""
    return rows / np.maximum(lengths(rows), 1e-20)[:, None]


def bytes_of(colors: np.ndarray) -> np.ndarray:
    """Return colours as uint8, 0 to 255."""
    return np.rint(np.clip(np.nan_to_num(colors), 0, 255)).astype(np.uint8)


def axes(symmetric: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues (c,) of a symmetric matrix, falling, and its eigenvectors as columns (c, c); float64.

    One thread does it: several spend most of their time on waiting for each other.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        values, vectors = torch.linalg.eigh(torch.from_numpy(symmetric).double())
    finally:
        torch.set_num_threads(threads)
    return values.numpy()[::-1], vectors.numpy()[:, ::-1]
