"""Scans to principal components of their descriptors, for `batch.extract`: on a basis that is fitted here or given."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._util import stages
from .._util.words import count, warn
from ..batch import Job, read
from ..describe.components import Components
from ..errors import Msm3dError
from ..io import results
from ..model import Model
from ..scan.cloud import PointCloud
from ..scan.options import ReadOptions
from ..scan.places import spread
from .described import described
from .fingerprint import Fingerprint

MOST = 16  # scans that a basis is fitted to
_ROWS = 50_000  # of each of them, evenly spaced


def fitted(
    model: Model,
    jobs: Sequence[Job],
    components: int,
    options: ReadOptions,
    levels: int | Sequence[int] | None = None,
    sampling: str | None = None,
    max_memory: int | str | None = None,
) -> Components:
    """Return the basis of scans' descriptors, at most 16 of them, evenly spaced; each has the same weight.

    A scan that cannot be read is left out with a warning, unless it is the only one.
    """
    rows, lost = [], list[Exception]()
    of, number = Fingerprint.of(model, levels, sampling), min(len(jobs), MOST)
    for job in [jobs[i * len(jobs) // number] for i in range(number)]:
        with stages.of(job.scan):
            try:
                cloud = read(job.scan, options)
                with described(model, _there(cloud), **of.asked, max_memory=max_memory, progress=None) as (found, _):
                    rows.append(found[np.arange(min(len(found), _ROWS)) * len(found) // min(len(found), _ROWS)])
            except Msm3dError as error:
                lost.append(error)
    if not rows:
        raise lost[0]
    if lost:
        warn(f"{count(len(lost), 'scan')} of {number} cannot be read, and the basis is fitted without: {lost[0]}")
    stages.stage("components")
    return Components.fit(rows, components, results.provenance(model, levels, sampling))


def reduced(model: Model, cloud: PointCloud, basis: Components, out: np.ndarray, **asked: Any) -> None:
    """Write the components of a scan's points to `out` (n, k); rows without a position get NaN.

    `asked` are `levels`, `sampling`, `max_memory` and `progress` as for `Model.extract`.
    """
    with described(model, _there(cloud), **asked) as (rows, owner):
        out[: len(owner)] = basis(rows)[owner]
    if cloud.total is not None and cloud.rows is not None:
        spread(out, cloud.rows)


def _there(cloud: PointCloud) -> PointCloud:
    return replace(cloud, total=None)
