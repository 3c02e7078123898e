"""What both probes share: parameters as scikit-learn's tools expect them, streaming prediction, scores."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, Msm3dError
from .blocks import Blocks, as_features, as_labels, as_tensor
from .metrics import Confusion, Scores

Self = TypeVar("Self", bound="Probe")


class NotFittedError(Msm3dError, RuntimeError):
    """A probe was asked for predictions before `fit`."""


class Probe(ABC):
    """A classifier of features. `sklearn.base.clone` copies it, though scikit-learn is not needed.

    Probes see arrays, never a model: features come from `ModelFeatures`, which takes models in evaluation mode only.
    """

    classes_: np.ndarray
    """(k,) the labels met in `fit`, ascending."""
    n_features_in_: int
    """Width of the features given to `fit`."""

    ignore: int
    blocks: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments.

        Args:
            deep: accepted for scikit-learn; nothing here is nested.
        """
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self: Self, **params: Any) -> Self:
        """Change constructor's arguments by name; takes effect at the next `fit`."""
        known = list(inspect.signature(type(self)).parameters)
        for name, value in params.items():
            if name not in known:
                raise InputError(f"{type(self).__name__} has no parameter {name!r}; choose among {', '.join(known)}.")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        """Show the parameters."""
        values = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({values})"

    @abstractmethod
    def fit(self: Self, X: Any, y: Any = None) -> Self:
        """Learn from features `X` (n, c) and labels `y` (n,); see the probe."""

    @abstractmethod
    def _values(self, X: Tensor) -> Tensor:
        """Return (n, k), the larger the likelier, for `X` (n, c) float32 on the probe's device."""

    @property
    @abstractmethod
    def _device(self) -> torch.device:
        """Where the work is done."""

    def predict(self, X: Any) -> np.ndarray:
        """Return the label (n,) of each row of `X` (n, c); of equally likely ones the smallest."""
        best = [values.argmax(1).cpu() for values in self._passes(X)]
        return self.classes_[torch.cat(best).numpy()] if best else np.zeros(0, dtype=np.int64)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return (n, k) float32 probabilities of `classes_`, each row summing to 1."""
        parts = [self._probabilities(values).cpu() for values in self._passes(X)]
        return torch.cat(parts).numpy() if parts else np.zeros((0, len(self.classes_)), dtype=np.float32)

    def _probabilities(self, values: Tensor) -> Tensor:
        return values.softmax(1)

    def _passes(
        self, X: Any, function: Callable[[Tensor], Tensor] | None = None, rows: int | None = None
    ) -> Iterator[Tensor]:
        """Yield `function`, or else `_values`, of some rows of `X` after the other."""
        if not hasattr(self, "classes_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit(features, labels) first.")
        as_features(X, width=self.n_features_in_)
        with torch.no_grad():
            rows = rows or self._rows
            for start in range(0, len(X), rows):
                yield (function or self._values)(as_tensor(X[start : start + rows]).to(self._device))

    @property
    def _rows(self) -> int:
        """Rows to work on at a time."""
        return 1 << 14

    def confusion(self, X: Any, y: Any = None) -> Confusion:
        """Return the confusion matrix over labelled features.

        Args:
            X: (n, c), or an iterable of pairs (features, labels) of which one at a time is held.
            y: (n,) labels, None with an iterable.
        """
        confusion = Confusion(0, self.ignore)
        for features, labels in [(X, y)] if y is not None else X:
            truth, predicted = as_labels(labels), self.predict(features)
            top = max(int(truth[truth != self.ignore].max(initial=0)), int(self.classes_.max()))
            confusion = confusion.grown(top + 1).update(truth, predicted)
        return confusion

    def scores(self, X: Any, y: Any = None) -> Scores:
        """Return every score, means over the classes present; arguments as for `confusion`."""
        return self.confusion(X, y).scores()

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mIoU over the classes present, 0 to 1; not the accuracy, as of scikit-learn's classifiers."""
        return self.scores(X, y).miou


def gathered(probe: Probe, X: Any, y: Any) -> Blocks:
    """Return the labelled rows that `fit` was given, and note what they are on the probe."""
    blocks = Blocks.of(X, y, probe.ignore)
    probe.n_features_in_ = blocks.arrays[0].shape[1]
    probe.classes_ = np.unique(blocks.labels)
    return blocks
