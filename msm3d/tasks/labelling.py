"""Many scans to files with labels: what is done is left, and a scan that fails stops no other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from .._util.atomic import made
from .._util.words import count, megabytes
from ..batch import Job, Outcome, each, read_of
from ..io import labelled
from ..model import Model
from ..scan.options import ReadOptions
from .described import Described
from .heads.base import Classifier
from .segmenting import Segmented, described_by, fingerprint_of, segmented


@dataclass(frozen=True, kw_only=True)
class Labelled(Outcome):
    """What became of a scan."""

    result: Segmented | None = None  # None where nothing was done

    def __str__(self) -> str:
        """Return one line about it."""
        if self.error is not None or self.was_there:
            return super().__str__()
        return f"{self.job.target}: {count(self.points, 'point')} in {self.seconds:.1f} s, {megabytes(self.bytes)}"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be written of each scan."""

    threshold: float = 0.0  # as for `segment`
    paint: bool = False  # as for `Segmented.save`
    again: bool = False  # do what is there already, too
    max_memory: int | str | None = None  # as for `Model.extract`
    progress: bool | None = False
    look: Callable[[Segmented, Described], None] | None = None
    """Called with each result while its descriptors are there."""


def label_each(
    model: Model, head: Classifier, jobs: Sequence[Job], wanted: Wanted, options: ReadOptions | None = None
) -> Iterator[Labelled]:
    """Write the labels of each scan of a `batch.plan`, and say what became of it; of what was done the result is there
    until the next one.

    Raises:
        InputError: the head is of another network.
        OSError: the disk is full or read-only, which stops the others, too.
    """
    of, options = fingerprint_of(model, head), options or ReadOptions()
    options = replace(options, spacing=model.config.inputs.voxel_size)

    def done(outcome: Labelled) -> Labelled:
        job, start = outcome.job, perf_counter()
        meta = described_by(model, head, of, wanted.threshold, job.scan) | read_of(job.scan, options)
        meta["painted"] = wanted.paint
        if not wanted.again and meta["scan"] is not None and labelled.is_done(job.target, meta):
            return replace(outcome, was_there=True)
        kept: dict[str, Any] = {"threshold": wanted.threshold, "max_memory": wanted.max_memory}
        assert isinstance(job.target, Path)  # of a plan for labels
        with segmented(model, head, job.scan, options=options, progress=wanted.progress, **kept) as (found, rows):
            with made(job.target.parent):
                replace(found, meta=meta).save(job.target, paint=wanted.paint)
            if wanted.look is not None:
                wanted.look(found, rows)
        size, seconds = job.target.stat().st_size, perf_counter() - start
        return replace(outcome, points=len(found.labels), seconds=seconds, bytes=size, result=found)

    return each((Labelled(job=job) for job in jobs), done)
