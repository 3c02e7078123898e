"""Descriptors to fewer numbers: their principal components, on a basis that is kept and fits other scans, too."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._util.atomic import replacing
from .._util.words import option
from ..errors import FileError, InputError, quoted

_PART = 1 << 16  # rows at a time
_FORMAT = "msm3d-components"
_ARRAYS = ("mean", "variance", "axes")
_SAME = ("model", "sha256", "precision", "levels", "sampling")  # what descriptors of one kind share, of `provenance`
_TELLING = ("sha256", "levels", "sampling")  # of these, what must be the same; the others are for sentences


@dataclass(frozen=True, eq=False)
class Components:
    """A basis of descriptors: numbers along a few directions in which they differ most, around their mean.

    >>> rng = np.random.default_rng(0)
    >>> rows = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 12)) + 5
    >>> basis = Components.fit([rows], 2)
    >>> basis(rows).shape, round(basis.explained, 3)
    ((500, 2), 1.0)
    """

    mean: np.ndarray
    """(c,) float32."""
    axes: np.ndarray
    """(k, c) float32, unit rows of falling variance; the largest entry of each is positive."""
    variance: np.ndarray
    """(k,) float32, along each of them."""
    explained: float
    """The share of the whole variance that they explain, 0 to 1."""
    of: Mapping[str, Any] = field(default_factory=dict)
    """What the descriptors are: model, sha256, precision, levels and sampling as `io.results.provenance` says."""

    @classmethod
    def fit(cls, scenes: Sequence[np.ndarray], count: int, of: Mapping[str, Any] | None = None) -> "Components":
        """Return the basis of `count` directions of scenes' descriptors (m, c); every scene has the same weight.

        Sums are float64 and taken around the mean: those of float32 lose small directions where the mean is large.

        Raises:
            InputError: there are not so many directions, or a row is not finite.
        """
        widths = {scene.shape[1] for scene in scenes if scene.ndim == 2 and len(scene)}
        if len(widths) != 1:
            raise InputError(f"the scenes have {len(widths)} widths of descriptors; give some rows, all of one width.")
        [width] = widths
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= width:
            raise InputError(f"pca is {quoted(count)}; give a whole number from 1 to {width}, the channels.")
        scenes = [scene for scene in scenes if len(scene)]
        mean = np.mean([scene.mean(0, dtype=np.float64) for scene in scenes], axis=0)
        scatter = np.zeros((width, width))
        for scene in scenes:
            for start in range(0, len(scene), _PART):
                part = torch.from_numpy(scene[start : start + _PART].astype(np.float64) - mean)
                scatter += (part.T @ part).numpy() / (len(scene) * len(scenes))
        if not np.isfinite(scatter).all():
            raise InputError("some descriptors are not finite; leave those rows out.")
        values, vectors = torch.linalg.eigh(torch.from_numpy(scatter))
        values, axes = values.numpy()[::-1].clip(0), vectors.numpy()[:, ::-1].T[:count]
        largest = axes[np.arange(count), np.abs(axes).argmax(1)]
        axes = (axes * np.where(largest < 0, -1, 1)[:, None]).astype(np.float32)
        share = float(values[:count].sum() / values.sum()) if values.sum() > 0 else 1.0
        known = {name: (of or {}).get(name) for name in _SAME} if of else {}
        return cls(mean.astype(np.float32), axes, values[:count].astype(np.float32), share, known)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the components (n, k) float32 of descriptors (n, c)."""
        if rows.ndim != 2 or rows.shape[1] != len(self.mean):
            raise InputError(
                f"the descriptors have shape {rows.shape}, the basis is of {len(self.mean)} channels; give those of "
                "the model and the levels that it was fitted to."
            )
        turn, found = torch.from_numpy(self.axes.T.copy()), np.empty((len(rows), len(self.axes)), np.float32)
        for start in range(0, len(rows), _PART):
            part = torch.from_numpy(np.asarray(rows[start : start + _PART], np.float32) - self.mean)
            found[start : start + _PART] = (part @ turn).numpy()
        return found

    def __len__(self) -> int:
        return len(self.axes)

    def digest(self) -> str:
        """Return 64 hexadecimal digits: components with the same ones mean the same."""
        return hashlib.sha256(self.mean.tobytes() + self.axes.tobytes()).hexdigest()

    def described(self) -> dict[str, Any]:
        """Return what metadata say of components."""
        return {"components": len(self), "explained": round(self.explained, 4), "basis_sha256": self.digest()}

    def require_of(self, meta: Mapping[str, Any]) -> None:
        """Raise InputError where descriptors, of which `meta` is the `provenance`, are not what the basis is of."""
        given = json.loads(json.dumps(dict(meta)))
        differ = [name for name in _TELLING if self.of.get(name) != given.get(name)]
        if self.of and differ:
            mine, theirs = ({name: one.get(name) for name in ("model", *differ)} for one in (self.of, given))
            raise InputError(
                f"the basis is of other descriptors, {quoted(mine, 200)} where these have {quoted(theirs, 200)}; give "
                f"the same {option('model')} and {option('levels')}, or fit another basis."
            )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a .json file that `load` reads: format, version, explained, of, mean, variance and axes.

        Raises:
            InputError: the name does not end with .json.
        """
        path = checked(path)
        values = {"format": _FORMAT, "version": 1, "explained": self.explained, "of": dict(self.of)}
        values |= {name: getattr(self, name).tolist() for name in _ARRAYS}
        with replacing(path) as partial:
            partial.write_text(json.dumps(values), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Components":
        """Return what `save` wrote, to the last bit.

        Raises:
            FileError: the file is missing, or holds something else.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            mean, variance, axes = (np.array(values[name], np.float32) for name in _ARRAYS)
            good = values["format"] == _FORMAT and values["version"] == 1
            good &= mean.ndim == 1 and len(mean) > 0 and len(variance) > 0 and axes.shape == (len(variance), len(mean))
            good &= all(np.isfinite(part).all() for part in (mean, axes, variance))
            explained, of = float(values["explained"]), dict(values["of"])
        except FileNotFoundError as error:
            raise FileError(f"{path}: does not exist; check the path.") from error
        except Exception as error:  # files are hostile, and so are the ways in which they fail
            raise FileError(f"{path}: holds no basis of components; write one with msm3d extract --pca.") from error
        if not good:
            raise FileError(f"{path}: holds no basis of components; write one with msm3d extract --pca.")
        return cls(mean, axes, variance, explained, of)


def checked(path: str | os.PathLike[str]) -> Path:
    """Return the path of a basis; InputError unless it ends with .json."""
    path = Path(path)
    if path.suffix.lower() != ".json":
        raise InputError(f"{path} cannot hold a basis of components; end it with .json.")
    return path
