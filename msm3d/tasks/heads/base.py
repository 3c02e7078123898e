"""What all heads share: parameters as scikit-learn's tools expect them, what their descriptors were, streaming."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...datasets.classes import IGNORE
from ...errors import InputError, Msm3dError, require
from ...model import Model
from ..confusion import Confusion, Scores
from ..fingerprint import Fingerprint
from .about import About
from .rows import LabelledRows, as_labels, as_tensor, columns_of, require_features, require_width
from .saved import Saved

Self = TypeVar("Self", bound="Head")
Of = Model | Fingerprint | None


class NotFittedError(Msm3dError, RuntimeError):
    """A head was asked for predictions before `fit`."""


class Constraint(NamedTuple):
    """What a parameter must be."""

    needed: str  # in words
    holds: Callable[[Any], bool]

    def or_none(self) -> "Constraint":
        """Return the same, or None."""
        return Constraint(f"{self.needed}, or None", lambda value: value is None or self.holds(value))


AT_LEAST_1 = Constraint("at least 1", lambda value: value >= 1)
ABOVE_0 = Constraint("above 0", lambda value: value > 0)
SHARE = Constraint("within 0 to 1", lambda value: 0 <= value < 1)


@dataclass(kw_only=True, eq=False, repr=False)
class Head(Saved, ABC):
    """An estimator that is fitted on descriptors. `sklearn.base.clone` copies it, though scikit-learn is not needed.

    Heads see arrays, never a network: `of=` says which network, or `Fingerprint`, the arrays are of, and a head that
    was told so in `fit` refuses others. A subclass is a dataclass of keyword parameters, has a `name`, and defines
    `_learn` and `_values`; to be saved also `_state`, `_shapes` and `_restore`.
    """

    name: ClassVar[str]
    """In the registry, in files and in reports."""
    constraints: ClassVar[Mapping[str, Constraint]] = {}
    """What parameters must be, checked in `fit`."""
    one_fit: ClassVar[bool] = False
    """Whether what was fitted on all columns also predicts from any choice of them, see `predictions`."""

    blocks: Any = None
    """Slices of the columns to learn from, such as one per level of a descriptor; None for all."""
    random_state: int = 0
    """Seed of everything random in `fit`."""
    device: str = "cpu"
    """Where to work, such as "cpu" or "cuda"."""

    n_features_in_: int = field(init=False)
    """Width of the features given to `fit`."""
    fingerprint_: Fingerprint | None = field(init=False)
    """Which descriptors these were, if `fit` was told."""

    @classmethod
    def parameters(cls) -> list[str]:
        """Return the names of the constructor's arguments, those of the subclass first."""
        kinds = [set(vars(kind).get("__dataclass_fields__", ())) for kind in cls.__mro__]
        return sorted((f.name for f in fields(cls) if f.init), key=lambda name: sum(name in kind for kind in kinds[1:]))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments; `deep` is accepted for scikit-learn, nothing here is nested."""
        return {name: getattr(self, name) for name in self.parameters()}

    def set_params(self: Self, **params: Any) -> Self:
        """Change parameters by name, for the next `fit`, or raise InputError for one that there is not."""
        known = self.parameters()
        for name, value in params.items():
            if name not in known:
                raise InputError(f"{type(self).__name__} has no parameter {name!r}; choose among {', '.join(known)}.")
            setattr(self, name, value)
        return self

    def check_params(self) -> None:
        """Raise InputError unless every parameter is what it must be."""
        for name, constraint in self.constraints.items():
            value = getattr(self, name)
            try:
                good = constraint.holds(value)
            except TypeError:
                good = False
            require(name, value, good, constraint.needed)

    def __repr__(self) -> str:
        """Show the parameters."""
        values = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({values})"

    def fit(self: Self, X: Any, y: Any = None, *, of: Of = None) -> Self:
        """Learn from features and what belongs to them.

        Args:
            X: (n, c) features in any float type, in memory or memory-mapped: what is learned from at a time is copied.
                With `y=None` an iterable of pairs (features, targets), walked once and kept as it is.
            y: (n,) integer labels of a classifier; of others whatever they learn, (n, ...).
            of: the model that made the features, all of its levels, or their `Fingerprint`.

        Raises:
            InputError: a parameter is out of range, or features and targets do not fit together.
        """
        self.check_params()
        data = self._gathered(X, y)
        self.n_features_in_ = data.width
        data.columns = columns_of(self.blocks, data.width)
        self.described_by(of, data.width)
        self._learn(data)
        return self

    def described_by(self, of: Of, width: int) -> None:
        """Remember what the head's descriptors, of some width, are of, or raise InputError where they are wider."""
        self.fingerprint_ = None if of is None else Fingerprint.of(of)
        if self.fingerprint_ is not None:
            require_width(width, self.fingerprint_.channels)

    def _gathered(self, X: Any, y: Any) -> LabelledRows:
        return LabelledRows(X, y, ignore=None)

    @abstractmethod
    def _learn(self, data: LabelledRows) -> None:
        """Learn from some rows, of which `data.take` returns the columns of `blocks`."""

    @abstractmethod
    def _values(self, X: Tensor) -> Tensor:
        """Return what `X` (n, c) float32, on the head's device, leads to: a row for each."""

    def predict(self, X: Any, *, of: Of = None) -> np.ndarray:
        """Return what each row of `X` (n, c) leads to; `of` is the model that made them, or their `Fingerprint`.

        Raises:
            InputError: the features are of another width, or of another network than those of `fit`.
        """
        return torch.cat([values.cpu() for values in self._passes(X, of=of)]).numpy()

    def predictions(
        self, X: Any, choices: Mapping[str, Sequence[slice]], each: Sequence[int] = ()
    ) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yield the name of a choice of columns, that of a variant, and what `predict` returns for these.

        Of `choices`, slices by name, there is more than one only where there is `one_fit` for all; `each` are variants
        that one fit can be asked for, such as numbers of neighbours.
        """
        for name in choices:
            yield name, "", self.predict(X)

    def require_fitted(self) -> None:
        """Raise NotFittedError before `fit`."""
        if not hasattr(self, "n_features_in_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit(features, labels) first.")

    def require_same(self, X: Any, of: Of = None) -> None:
        """Raise InputError unless features are of the width, and, where it is given, of the network of `fit`."""
        self.require_fitted()
        require_features(X, width=self.n_features_in_)
        self.require_matching(of)

    def require_matching(self, of: Of) -> None:
        """Raise InputError where features of a network, or `Fingerprint`, are not those of `fit`; None is anything."""
        if of is not None and self.fingerprint_ is None:
            raise InputError("this head was not told which network its features are of; fit it again with of=model.")
        if of is not None and (given := Fingerprint.of(of)) != self.fingerprint_:
            raise InputError(
                f"the features are of {given}, but this head was fitted on those of {self.fingerprint_}; "
                "extract them with that model, or fit the head again."
            )

    def _passes(
        self, X: Any, function: Callable[[Tensor], Tensor] | None = None, rows: int | None = None, of: Of = None
    ) -> Iterator[Tensor]:
        """Apply `function`, or else `_values`, to `X` chunk by chunk."""
        self.require_same(X, of)
        rows = rows or self._rows
        with torch.no_grad():
            for start in range(0, max(len(X), 1), rows):  # of no rows one pass says the width
                yield (function or self._values)(as_tensor(X[start : start + rows]).to(self._device))

    @property
    def _device(self) -> torch.device:
        return torch.device(self.device)

    @property
    def _rows(self) -> int:
        """Rows to work on at a time."""
        return 1 << 14

    @property
    def _width(self) -> int:
        """Columns that are learned from."""
        columns = columns_of(self.blocks, self.n_features_in_)
        return self.n_features_in_ if columns is None else len(columns)


@dataclass(kw_only=True, eq=False, repr=False)
class Classifier(Head):
    """A head that tells classes; its `_values` are (n, k), the larger the likelier."""

    ignore: int = IGNORE
    """The label of rows to leave out."""

    classes_: np.ndarray = field(init=False)
    """(k,) the labels met in `fit`, ascending."""
    about_: About = field(init=False, default=About())
    """What they are called, whose the head is, and how it was judged; nothing after a bare `fit`."""

    def _gathered(self, X: Any, y: Any) -> LabelledRows:
        data = LabelledRows(X, y, self.ignore)
        self.classes_, self.about_ = np.unique(data.labels), About()
        return data

    def predict(self, X: Any, *, of: Of = None) -> np.ndarray:
        """Return the label (n,) of each row of `X` (n, c), see `Head.predict`; of equally likely ones the smallest."""
        best = [values.argmax(1).cpu() for values in self._passes(X, of=of)]
        return self.classes_[torch.cat(best).numpy()]

    def predict_proba(self, X: Any, *, of: Of = None) -> np.ndarray:
        """Return (n, k) float32 probabilities of `classes_`, each row summing to 1; see `Head.predict`."""
        parts = [self._probabilities(values).cpu() for values in self._passes(X, of=of)]
        return torch.cat(parts).numpy()

    def _probabilities(self, values: Tensor) -> Tensor:
        return values.softmax(1)

    def confusion(self, X: Any, y: Any = None) -> Confusion:
        """Return the confusion matrix over features (n, c) and labels (n,), or for `y=None` over an iterable of such
        pairs, of which one at a time is held."""
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
