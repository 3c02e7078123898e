"""What labels are worth: a confusion matrix that grows scene by scene, and the scores read from it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..datasets.classes import IGNORE
from ..errors import InputError

AVERAGES = ("present", "all")


@dataclass(frozen=True)
class Scores:
    """Scores of one confusion matrix, all within 0 to 1; a class that nothing is known of has None."""

    miou: float  # mean over classes of true positives / (true positives + false positives + false negatives)
    macc: float  # mean over classes of the share of their points that was found
    allacc: float  # share of all points that was predicted rightly
    iou: tuple[float | None, ...]  # of each class; None where it is neither in the ground truth nor predicted
    accuracy: tuple[float | None, ...]  # share of each class that was found; None where it is not in the ground truth
    points: tuple[int, ...]  # of each class in the ground truth

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


class Confusion:
    """Counts of points by true class (rows) and predicted class (columns), exact whatever the number of points.

    Points whose true label is `ignore` count nowhere, not even as false positives of what was predicted for them,
    as in ScanNet's and Pointcept's evaluation.

    >>> confusion = Confusion(3)
    >>> confusion.update([0, 0, 1, -1], [0, 1, 1, 2]).matrix.tolist()
    [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    >>> confusion.scores().miou, confusion.scores(average="all").miou
    (0.5, 0.3333333333333333)
    """

    def __init__(self, classes: int, ignore: int = IGNORE) -> None:
        self.ignore = ignore
        self.matrix = np.zeros((classes, classes), dtype=np.int64)

    def update(self, truth: Any, predicted: Any) -> "Confusion":
        """Count more points, by integer labels (n,) of 0 to classes - 1, in `truth` also the ignored one.

        Raises:
            InputError: the lengths differ, or a label is out of range.
        """
        truth, predicted = np.asarray(truth), np.asarray(predicted)
        if truth.shape != predicted.shape or truth.ndim != 1:
            raise InputError(
                f"truth has shape {truth.shape} and predicted {predicted.shape}; give one label per point in each."
            )
        known = truth != self.ignore
        truth, predicted, n = truth[known].astype(np.int64), predicted[known].astype(np.int64), len(self.matrix)
        for name, labels in (("truth", truth), ("predicted", predicted)):
            if len(labels) and not 0 <= labels.min() <= labels.max() < n:
                worst = labels.min() if labels.min() < 0 else labels.max()
                also = f", or {self.ignore} to ignore" if name == "truth" else ""
                raise InputError(f"{name} has the label {worst}; give 0 to {n - 1}{also}.")
        self.matrix += np.bincount(truth * n + predicted, minlength=n * n).reshape(n, n)
        return self

    def grown(self, classes: int) -> "Confusion":
        """Return the same counts with room for at least `classes` classes."""
        n, total = len(self.matrix), Confusion(max(classes, len(self.matrix)), self.ignore)
        total.matrix[:n, :n] = self.matrix
        return total

    def __add__(self, other: "Confusion") -> "Confusion":
        """Return the counts of both."""
        total = self.grown(0)
        total.matrix += other.matrix
        return total

    def scores(self, average: str = "present") -> Scores:
        """Return the scores; an `average` other than these two raises InputError.

        "present": mIoU over the classes in the ground truth or the prediction, mAcc over those in the ground truth, as
        ScanNet's evaluation does: what a small test set does not hold is no failure. "all": every class, absent ones
        as 0, as Pointcept's validation does. On ScanNet's and S3DIS's own test sets all are there: both are the same.
        """
        if average not in AVERAGES:
            raise InputError(f"average is {average!r}; choose one of {', '.join(AVERAGES)}.")
        hits, truth, predicted = np.diag(self.matrix), self.matrix.sum(1), self.matrix.sum(0)
        iou, accuracy = _shares(hits, truth + predicted - hits), _shares(hits, truth)
        allacc = int(hits.sum()) / max(1, int(truth.sum()))
        return Scores(_mean(iou, average), _mean(accuracy, average), allacc, iou, accuracy, tuple(truth.tolist()))


def class_table(scores: Scores, names: Sequence[str]) -> str:
    """Return the scores of each class as a Markdown table, in percent.

    >>> print(class_table(Confusion(2).update([0, 0], [0, 0]).scores(), ["wall", "floor"]))
    | class | IoU | accuracy | points |
    |---|---:|---:|---:|
    | wall | 100.0 | 100.0 | 2 |
    | floor | - | - | 0 |
    """
    each = zip(names, scores.iou, scores.accuracy, scores.points, strict=True)
    rows = [[name, percent(iou), percent(accuracy), points] for name, iou, accuracy, points in each]
    return table(["class", "IoU", "accuracy", "points"], rows, 1)


def table(titles: Sequence[str], rows: Iterable[Iterable[Any]], left: int) -> str:
    """Return a Markdown table, whose columns after the first `left` are numbers."""
    rule = "|" + "---|" * left + "---:|" * (len(titles) - left)
    first, *others = (f"| {' | '.join(map(str, row))} |" for row in [titles, *rows])
    return "\n".join([first, rule, *others])


def percent(value: float | None) -> str:
    """Return a share as text in percent, such as 68.7, and "-" for None."""
    return "-" if value is None else f"{100 * value:.1f}"


def _shares(part: np.ndarray, whole: np.ndarray) -> tuple[float | None, ...]:
    return tuple(int(a) / int(b) if b else None for a, b in zip(part, whole, strict=True))


def _mean(shares: tuple[float | None, ...], average: str) -> float:
    values = [share or 0.0 for share in shares if share is not None or average == "all"]
    return sum(values) / len(values) if values else 0.0
