"""From a scan to the class of each of its points, by a head on frozen descriptors."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._util import stages
from .._util.words import option
from ..batch import read
from ..datasets.classes import IGNORE
from ..errors import InputError
from ..io import as_cloud, labelled, results
from ..model import Model
from ..scan.cloud import PointCloud
from ..scan.options import ReadOptions
from .described import Described, described
from .fingerprint import Fingerprint
from .heads.base import Classifier

_PARTS = 1 << 16  # rows whose probabilities are held at a time


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Segmented:
    """A scan with the class of each of its points.

    Row i of `labels` and `confidence` is point i of `cloud`; `save` writes the rows of the scan's file.
    """

    cloud: PointCloud
    labels: np.ndarray
    """(n,) int32: numbers of classes, -1 where the head is not sure enough."""
    confidence: np.ndarray
    """(n,) float32, 0 to 1: the probability of the most likely class."""
    classes: Mapping[int, str]
    """The name of each class by its number."""
    palette: np.ndarray
    """(k, 3) uint8: the colour of each class, in the order of `classes`."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """What made it: model, head, licence and the like."""
    source: Path | None = None
    """The file of the scan, if it has one."""
    options: ReadOptions = field(default_factory=ReadOptions)
    """How the file was understood."""

    def __repr__(self) -> str:
        """Say how many points are of which class."""
        names = {**self.classes, IGNORE: "unsure"}
        parts = (f"{points:,} {names[label]}" for label, points, _ in self.counts() if points)
        return f"Segmented: {', '.join(parts)}"

    def colors(self) -> np.ndarray:
        """Return the colour (n, 3) uint8 of each point's class, dark grey where it is not sure."""
        table = np.concatenate([self.palette, [(70, 70, 74)]]).astype(np.uint8)
        at = np.searchsorted(list(self.classes), self.labels)
        return table[np.where(self.labels == IGNORE, len(self.palette), at)]

    def counts(self) -> list[tuple[int, int, float]]:
        """Return number, points and mean confidence of each class, and of -1 where some points are not sure."""
        found = []
        for label in (*self.classes, IGNORE):
            there = self.labels == label
            points = int(there.sum())
            if points or label != IGNORE:
                found.append((label, points, float(self.confidence[there].mean()) if points else 0.0))
        return found

    def table(self) -> str:
        """Return the classes as a table: points, share and mean confidence, the most frequent first."""
        names = {**self.classes, IGNORE: "unsure"}
        rows = sorted(self.counts(), key=lambda row: (row[0] == IGNORE, -row[1], row[0]))
        wide = max(len("class"), *(len(names[label]) for label, _, _ in rows))
        lines = [f"{'class':<{wide}}  {'points':>12}  {'share':>7}  confidence"]
        for label, points, mean in rows:
            mean_said = f"{mean:.2f}" if points else "-"
            share = 100 * points / max(len(self.labels), 1)
            lines.append(f"{names[label]:<{wide}}  {points:>12,}  {share:>5.1f} %  {mean_said:>10}")
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str], *, paint: bool = False) -> Path:
        """Write the scan with its labels, whole or not at all, and return the path.

        Args:
            path: ends with .ply, .las, .laz or .npz, in which the properties `label`, `confidence` and all that the
                scan has stand; or with .npy, for the labels alone.
            paint: replace the scan's colours with those of the classes.

        Raises:
            InputError: it cannot be written there.
        """
        stages.stage("writing")
        columns = labelled.Columns.of(self.cloud, self.source, self.options)
        parts: list[Any] = [self.labels, self.confidence, self.colors() if paint else None]
        if self.cloud.total is not None and self.cloud.rows is not None:
            empty = (IGNORE, 0.0, 70)
            parts = [_spread(part, self.cloud, value) for part, value in zip(parts, empty, strict=True)]
        return labelled.write(path, columns, parts[0], parts[1], self.meta, parts[2])


def segment(
    model: Model,
    head: Classifier,
    scan: Any,
    *,
    threshold: float = 0.0,
    options: ReadOptions | None = None,
    max_memory: int | str | None = None,
    progress: bool | None = False,
) -> Segmented:
    """Return the class of each point of a scan.

    Args:
        model: whose descriptors the head was fitted on; others are refused before they are computed.
        head: a classifier, such as of `teach` or `heads.load`.
        scan: whatever `Model.extract` takes as one scan, or a folder of Pointcept's layout.
        threshold: 0 to 1; where the most likely class is less likely, the label is -1.
        options: how the scan is to be understood.
        max_memory: as for `Model.extract`; likewise `progress`.
        progress: see `max_memory`.

    Raises:
        InputError: the head is of another network, or the scan or an argument cannot be used.
    """
    asked: dict[str, Any] = {"threshold": threshold, "options": options, "max_memory": max_memory}
    with segmented(model, head, scan, progress=progress, **asked) as (found, _):
        return found


@contextmanager
def segmented(
    model: Model,
    head: Classifier,
    scan: Any,
    *,
    threshold: float = 0.0,
    options: ReadOptions | None = None,
    max_memory: int | str | None = None,
    progress: bool | None = False,
) -> Iterator[tuple[Segmented, Described]]:
    """Yield what `segment` returns, and the descriptors that it is from, which may lie on the disk for as long."""
    of = fingerprint_of(model, head)
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold!r}; give a probability from 0 to 1, such as 0.5.")
    options = replace(options or ReadOptions(), spacing=model.config.inputs.voxel_size)
    is_path = isinstance(scan, (str, os.PathLike))
    source = Path(scan) if is_path else None
    cloud = as_cloud(scan, options=options) if source is None else read(source, options)
    asked = of.asked | {"max_memory": max_memory, "progress": progress}
    with described(model, replace(cloud, total=None), **asked) as (rows, owner):
        stages.stage("labels")
        best, sure = _likeliest(head, rows)
        best, sure = best[owner], sure[owner]
        labels = np.where(sure >= threshold, head.classes_[best], IGNORE).astype(np.int32)
        found = Segmented(
            cloud=cloud,
            labels=labels,
            confidence=sure,
            classes=dict(zip(head.classes_.tolist(), head.about_.called(head.classes_), strict=True)),
            palette=palette_of(head),
            meta=described_by(model, head, of, threshold, source),
            source=source,
            options=options,
        )
        yield found, Described(rows, owner)


def fingerprint_of(model: Model, head: Classifier) -> Fingerprint:
    """Return what the head's descriptors are, or raise InputError where the model does not make them."""
    head.require_fitted()
    if not isinstance(head, Classifier):
        raise InputError(f"the head {type(head).__name__} tells no classes; give a classifier, as teach returns it.")
    known = head.fingerprint_
    if known is None:
        raise InputError("this head was not told which network its features are of; fit it again with of=model.")
    inside = all(level < model.config.levels for level in known.levels)
    given = Fingerprint.of(model, list(known.levels), known.reading) if inside else Fingerprint.of(model)
    if given != known:
        raise InputError(
            f"the head was fitted on descriptors of {known}, but the model's are of {given}; give "
            f"{option('model', known.name)} in the precision that it was fitted with, or fit the head again."
        )
    return known


def palette_of(head: Classifier) -> np.ndarray:
    """Return the colour (k, 3) uint8 of each class of a head: its own, or else those of the pictures."""
    from ..visualize.colors import label_colors

    own = head.about_.colors
    return np.array(own, np.uint8) if own else label_colors(np.arange(len(head.classes_)))


def described_by(
    model: Model, head: Classifier, of: Fingerprint, threshold: float = 0.0, source: Path | None = None
) -> dict[str, Any]:
    """Return what labels are made of, as plain values: those of `io.results.provenance`, and the head's."""
    meta = results.provenance(model, list(of.levels), of.reading, source)
    classes = dict(zip(map(str, head.classes_.tolist()), head.about_.called(head.classes_), strict=True))
    meta |= {"head": head.name, "head_sha256": head.digest(), "head_licence": head.about_.licence or "not stated"}
    meta |= {"head_source": head.about_.source}
    meta |= {"threshold": threshold, "classes": classes, "palette": palette_of(head).tolist()}
    return {name: value for name, value in meta.items() if name not in ("channels", "dtype")}


def _likeliest(head: Classifier, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of the likeliest class (m,) of each row among the head's, and its probability."""
    best, sure = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _PARTS):
        here = slice(start, start + _PARTS)
        likely = head.predict_proba(rows[here])
        best[here] = likely.argmax(1)
        sure[here] = np.take_along_axis(likely, best[here, None], 1)[:, 0]
    return best, sure


def _spread(part: np.ndarray | None, cloud: PointCloud, value: float) -> np.ndarray | None:
    """Return what a cloud's points have at the rows of its file, and a value at the others."""
    if part is None or cloud.rows is None or cloud.total is None:
        return part
    whole = np.full((cloud.total, *part.shape[1:]), value, part.dtype)
    whole[cloud.rows] = part
    return whole
