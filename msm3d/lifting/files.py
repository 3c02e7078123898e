"""Many scans with their frames to files of lifted features: what is done is left, a scan that fails stops no other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .. import __version__
from .._util.atomic import replacing
from .._util.words import either
from ..batch import Job, Outcome, Product, each, read, read_of
from ..errors import FileError
from ..io import WRITERS, results
from ..io.recordings import layout
from ..scan.options import ReadOptions
from .lifted import Lifted, lift
from .networks import ImageNetwork
from .view import views

LIFTED = Product("lifted features", "lift", WRITERS.suffixes, results.check_format)
FRAMES = "frames"
"""The folder in a scan's own one where its frames are looked for."""
_PLAIN = ReadOptions()


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be written of each scan."""

    frames: Path | None = None  # a folder of frames; None is the scan's own, see `frames_of`
    every: int = 1  # as for `views`
    rules: str = "usual"  # as for `lift`, and so are the next two
    weights: str = "even"
    unseen: str = "nearest"
    dtype: str = "float32"  # of the file
    again: bool = False  # do what is there already, too
    progress: bool | None = False


@dataclass(frozen=True, kw_only=True)
class Raised(Outcome):
    """What became of a scan."""

    seen: int = 0  # points that some frame saw

    def __str__(self) -> str:
        """Return one line about it."""
        said = super().__str__()
        return f"{said}; {100 * self.seen / self.points:.1f} % of the points seen" if self.points else said


def frames_of(scan: Path) -> Path:
    """Return the folder of frames that belongs to a scan: `frames` in the scan's folder or beside its file, or itself.

    Raises:
        FileError: there is none.
    """
    near = (scan / FRAMES, scan) if scan.is_dir() else (scan.parent / FRAMES,)
    found = next((folder for folder in near if folder.is_dir() and layout(folder)), None)
    if found is None:
        cure = either("give frames=", "lift it alone, and name its folder of frames")
        raise FileError(f"{scan}: has no folder {FRAMES} with RGB-D frames in it; {cure}.")
    return found


def lift_each(network: ImageNetwork, jobs: Sequence[Job], wanted: Wanted) -> Iterator[Raised]:
    """Write the lifted features of each scan of a `batch.plan`, and beside NAME.npy NAME.count.npy, how many frames saw
    each point (n,); say what became of it.

    Raises:
        OSError: the disk is full or read-only, which stops the others, too.
    """

    def done(outcome: Raised) -> Raised:
        job, start = outcome.job, perf_counter()
        assert isinstance(job.target, Path), "of a plan for lifted features"
        frames = wanted.frames or frames_of(job.scan)
        meta, counts = _meta(network, job.scan, frames, wanted), counts_beside(job.target)
        if not wanted.again and meta["scan"] is not None and counts.is_file() and results.is_done(job.target, meta):
            return replace(outcome, was_there=True)
        cloud = read(job.scan, _PLAIN)
        how: dict[str, Any] = {name: getattr(wanted, name) for name in ("rules", "weights", "unseen", "progress")}
        found = lift(cloud, views(frames, every=wanted.every), network, **how)
        _write(job, cloud, found, meta, wanted.dtype)
        points, channels = found.features.shape
        size, seen = results.size(job.target), int(found.seen.sum())
        many: dict[str, Any] = {"points": points, "channels": channels, "dtype": wanted.dtype, "bytes": size}
        return replace(outcome, **many, seen=seen, seconds=perf_counter() - start)

    return each((Raised(job=job) for job in jobs), done)


def counts_beside(file: Path) -> Path:
    """Return the file of counts that belongs to one of features.

    >>> counts_beside(Path("lifted/room.npz")).as_posix()
    'lifted/room.count.npy'
    """
    return file.with_name(f"{file.stem}.count.npy")


def _write(job: Job, cloud: Any, found: Lifted, meta: dict[str, Any], dtype: str) -> None:
    assert isinstance(job.target, Path)
    source = None if job.scan.is_dir() else job.scan
    job.target.parent.mkdir(parents=True, exist_ok=True)
    meta = {**meta, "channels": [found.features.shape[1]]}
    with results.writing(job.target, cloud, found.features.shape[1], dtype, meta, source) as rows:
        rows[...] = found.features
        with replacing(counts_beside(job.target)) as partial, partial.open("wb") as file:
            np.save(file, found.counts)


def _meta(network: ImageNetwork, scan: Path, frames: Path, wanted: Wanted) -> dict[str, Any]:
    """Return what lifted features are, as `results.provenance` does for descriptors."""
    how = {name: getattr(wanted, name) for name in ("every", "rules", "weights", "unseen")}
    about = {"msm3d": __version__, "model": network.name, "sha256": network.sha256, "licence": network.licence}
    about |= {"lifted": how, "frames": read_of(frames, _PLAIN)["scan"], "dtype": wanted.dtype}
    return about | {"units": "m", "up": "z", "source": scan.name} | read_of(scan, _PLAIN)
