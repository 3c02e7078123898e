"""Many scans to files: a folder is walked, what is done is left, and a scan that fails stops no other."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ._util import stages
from ._util.atomic import apart
from ._util.output_path import require_there
from ._util.words import count, cut, either, megabytes, warn
from .errors import FileError, InputError
from .io import READERS, WRITERS, as_cloud, check, labelled, read_folder, results, storage
from .io.arrays import is_weights
from .io.bags import is_bag
from .io.ept import is_ept
from .io.reading import FOLDER
from .io.recordings import layout
from .io.storage import Remote
from .scan.cloud import PointCloud
from .scan.options import ReadOptions

if TYPE_CHECKING:
    from .describe.components import Components
    from .model import Model

_PLAIN = ReadOptions()
TILE = ".tile"  # a part of a scan, see `tiling`
_SCENE = "coord.npy"  # a folder with this file is one scan, in Pointcept's layout: an array per field
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what no other scan would get around


class Product(NamedTuple):
    """What is written of each scan."""

    what: str  # in words
    verb: str  # of the command line that writes it
    suffixes: Callable[[], Sequence[str]]
    check: Callable[[Any], Any]  # raises InputError for a path that cannot hold it


FEATURES = Product("features", "extract", WRITERS.suffixes, storage.check_format)
LABELS = Product("labels", "segment", lambda: labelled.SUFFIXES, labelled.check_path)


@dataclass(frozen=True)
class Job:
    """One scan and the file of what becomes of it."""

    scan: Path  # a file, or a folder with coord.npy and the like, or of RGB-D frames
    target: Path | Remote


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    jobs: list[Job]
    alone: bool  # whether it is one scan that was named: its failure is the whole call's
    others: int  # files in the folders that are of no kind that is read


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a job."""

    job: Job
    points: int = 0
    channels: int = 0
    dtype: str = "float32"
    seconds: float = 0.0
    bytes: int = 0  # of the file
    was_there: bool = False  # the file was whole, and of the scan as it is, so nothing was done
    error: Exception | None = None  # why there is no file

    def __str__(self) -> str:
        """Return one line about it."""
        if self.error is not None:
            return f"{self.job.scan}: failed"
        if self.was_there:
            return f"{self.job.target}: is there"
        return (
            f"{self.job.target}: {count(self.points, 'point')} x {self.channels} channels ({self.dtype}) in "
            f"{self.seconds:.1f} s, {megabytes(self.bytes)}"
        )


Done = TypeVar("Done", bound=Outcome)


def plan(
    scans: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    ending: str = "npz",
    product: Product = FEATURES,
) -> Plan:
    """Return what goes where, checked before any work is done; nothing is made yet.

    Args:
        scans: files; or folders, whose scans keep their places below `output`. What is hidden is left out.
        output: a file for one scan; else a folder, which need not exist; or an address in object storage, for features.
        ending: of the files in a folder, such as npz or ply; one of `product`.
        product: what the files are to hold.

    Raises:
        InputError: the output cannot be used, two scans would become one file, or a folder holds no scan.
        FileError: a scan does not exist, or is of a kind that is not read.
    """
    paths = [Path(scan) for scan in scans]
    require_there(paths)
    folder = _place(output, product)
    into = (folder.is_dir() and not results.is_store(folder)) or os.fspath(output).endswith(("/", os.sep))
    alone = len(paths) == 1 and _is_scan(paths[0])
    if alone and not into:
        job = Job(_checked(paths[0]), product.check(folder))
        apart([job.target], [job.scan])
        return Plan([job], True, 0)
    if folder.suffix and not into:
        what = f"{len(paths)} scans do" if len(paths) > 1 else f"the scans in {paths[0]} do"
        good = folder.suffix.lower() in product.suffixes()
        cure = f"give -o a folder{'' if good else f', {folder}/ with a stroke'}"
        raise InputError(f"{what} not fit into the file {folder}; {cure}.")
    if folder.exists() and not into:
        raise InputError(f"{folder} is a file; give -o a folder.")
    if f".{ending}" not in (good := product.suffixes()):
        raise InputError(f"{ending} files cannot hold {product.what}; choose one of {', '.join(good)}.")
    if isinstance(folder, Remote):
        storage.check_format(folder / f"a.{ending}")
    jobs, others = list[Job](), 0
    for path in paths:
        if _is_scan(path):
            jobs.append(Job(_checked(path, len(paths) > 1), folder / f"{_stem(path)}.{ending}"))
            continue
        if folder.resolve() == path.resolve():
            raise InputError(f"the results would lie among the scans in {path}; give -o another folder.")
        found, rest = walk(path, without=folder)
        # results of an earlier call are no scans, unless they are all that there is
        scans = [scan for scan in found if not _is_result(scan)] or found
        others += rest + len(found) - len(scans)
        jobs += [Job(scan, folder / scan.relative_to(path).parent / f"{_stem(scan)}.{ending}") for scan in scans]
    _require_different(jobs, product)
    apart([job.target for job in jobs], [job.scan for job in jobs])
    return Plan(jobs, alone, others)


def found(path: str | os.PathLike[str]) -> list[Path]:
    """Return the scans that a path stands for: itself, or those in a folder and below it, see `walk`."""
    return [Path(path)] if _is_scan(Path(path)) else walk(Path(path))[0]


def walk(folder: Path, without: Path | Remote | None = None) -> tuple[list[Path], int]:
    """Return the scans below a folder, some at least, and the number of files of other kinds; links are followed once.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.ply", "a.PLY", ".hidden.ply", "notes.md"):
    ...         Path(folder, name).touch()
    ...     scans, others = walk(Path(folder))
    >>> [scan.name for scan in scans], others
    (['a.PLY', 'b.ply'], 1)
    """
    seen: set[object] = set() if without is None else {without.resolve()}

    def below(here: Path) -> Iterator[Path]:
        if here.resolve() in seen:
            return
        seen.add(here.resolve())
        for path in sorted(here.iterdir()):
            if not path.name.startswith("."):
                yield from [path] if _is_scan(path) else below(path)

    try:
        found = list(below(folder))
        scans = [path for path in found if path.is_dir() or READERS.find(path)]
        weights = [path for path in scans if not path.is_dir() and is_weights(path)]
        scans = [path for path in scans if path not in set(weights)]
    except OSError as error:
        raise FileError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions.") from error
    if weights and scans:
        some = cut(", ".join(str(path.relative_to(folder)) for path in weights), 200)
        warn(f"{folder}: {count(len(weights), 'file')} of weights left out, which are not scans: {some}.")
    if not scans:
        raise InputError(f"{folder}: holds no scan; give a folder with some of {', '.join(READERS.suffixes())}.")
    return scans, len(found) - len(scans)


def largest_first(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs by the bytes of their scans, so that none is left with a large one when all others are done."""
    return sorted(jobs, key=lambda job: -size(job.scan))


def shard(jobs: Sequence[Job], part: int, parts: int) -> list[Job]:
    """Return the jobs of one of several calls that share the work, each of about the same size; `part` counts from 1.

    Where the folder changes between the calls, so do the parts: what one call has done, another one knows by its file.
    """
    return largest_first(jobs)[part - 1 :: parts]


def size(scan: Path) -> int:
    """Return the bytes of a scan, 0 where they cannot be seen."""
    return (_state(scan) or {"bytes": 0})["bytes"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be written of each scan; as for `Model.extract`."""

    levels: Sequence[int] | None = None
    sampling: str | None = None
    dtype: str = "float32"
    max_memory: int | str | None = None
    progress: bool | None = False
    basis: "Components | None" = None  # write these components of the descriptors instead


def extract(
    model: "Model", jobs: Sequence[Job], *, options: ReadOptions | None = None, again: bool = False, **asked: Any
) -> Iterator[Outcome]:
    """Write the descriptors of each scan, and say what became of it; a scan that fails stops no other.

    Args:
        model: what describes.
        jobs: of a `plan`.
        options: how the files are to be understood.
        again: do what is there already, too.
        asked: `levels`, `sampling`, `dtype`, `max_memory` and `progress`, as for `Model.extract`; and `basis`, the
            `msm3d.describe.components.Components` that are written instead of whole descriptors.

    Raises:
        InputError: the basis is of other descriptors.
        OSError: the disk is full or read-only, which stops the others, too.
    """
    wanted = Asked(**asked)
    options = replace(options or ReadOptions(), spacing=model.config.inputs.voxel_size)
    width = model.channels(wanted.levels)
    if wanted.basis is not None:
        wanted.basis.require_of(results.provenance(model, wanted.levels, wanted.sampling))
        width = len(wanted.basis)
    outcomes = (Outcome(job=job, channels=width, dtype=wanted.dtype) for job in jobs)
    yield from each(outcomes, lambda outcome: _done(model, outcome, options, wanted, again))


def each(outcomes: Iterable[Done], work: Callable[[Done], Done]) -> Iterator[Done]:
    """Do the work of each job and say what became of it; a scan that fails stops no other, but a full disk does."""
    for outcome in outcomes:
        with stages.of(outcome.job.scan):
            try:
                outcome = work(outcome)
            except Exception as error:
                if stops_all(error):
                    raise
                outcome = replace(outcome, error=error)
        yield outcome


def read(scan: Path, options: ReadOptions, more: Sequence[str] = ()) -> PointCloud:
    """Return the scan of a job: of a file, a folder with coord.npy and the like and `more`, or RGB-D frames."""
    return read_folder(scan, options, more=more) if (scan / _SCENE).is_file() else as_cloud(scan, options=options)


def _done(model: "Model", outcome: Outcome, options: ReadOptions, asked: Asked, again: bool) -> Outcome:
    job, start = outcome.job, perf_counter()
    if job.scan.suffix == TILE:
        from .tiling import compute

        return compute(model, outcome)
    meta = meta_of(model, job.scan, options, asked.levels, asked.sampling, asked.dtype)
    if asked.basis is not None:
        meta |= {"channels": [len(asked.basis)], "pca": asked.basis.described()}
    if not again and meta["scan"] is not None and storage.is_done(job.target, meta):
        return replace(outcome, was_there=True)
    cloud = read(job.scan, options)
    source = None if job.scan.is_dir() else job.scan
    with storage.writing(job.target, cloud, outcome.channels, asked.dtype, meta, source) as feat:
        named = {name: value for name, value in vars(asked).items() if name != "basis"}
        if asked.basis is None:
            model.extract(cloud, out=feat, **named)
        else:
            from .tasks.reducing import reduced

            named.pop("dtype")
            reduced(model, cloud, asked.basis, feat, **named)
        stages.stage("writing")
    written, points = storage.size(job.target), cloud.total or len(cloud)
    return replace(outcome, points=points, seconds=perf_counter() - start, bytes=written)


def meta_of(
    model: "Model", scan: Path, options: ReadOptions, levels: Any, sampling: str | None, dtype: str
) -> dict[str, Any]:
    """Return what the file of a scan says of its features, by which another call knows that it is done."""
    return results.provenance(model, levels, sampling, scan, dtype) | read_of(scan, options)


def read_of(scan: Path, options: ReadOptions) -> dict[str, Any]:
    """Return, for metadata, how a scan is read and the state that it is in: a result of another state is not whole."""
    read = {name: value for name, value in asdict(options).items() if value != getattr(_PLAIN, name)}
    return {"read": read, "scan": _state(scan)}


def _state(scan: Path) -> dict[str, int] | None:
    """Return what changes with a scan, None where it cannot be seen: a copy may well be older than what it replaces."""
    files = [scan] if not scan.is_dir() else [path for name in FOLDER if (path := scan / f"{name}.npy").is_file()]
    try:
        if not files:  # a recording
            files = [path for path in scan.rglob("*") if path.is_file()]
        found = [file.stat() for file in files]
    except OSError:
        return None
    return {"bytes": sum(one.st_size for one in found), "modified_ns": max(one.st_mtime_ns for one in found)}


def _place(output: str | os.PathLike[str], product: Product) -> Path | Remote:
    """Return where results go: on this machine or, for features, in storage that is in reach."""
    place = storage.place(output)
    if isinstance(place, Remote) and product is not FEATURES:
        raise InputError(f"{output} is in object storage, to which only features are written; give -o a folder.")
    return storage.reached(place) if isinstance(place, Remote) else place


def _is_scan(path: Path) -> bool:
    whole = (layout, is_bag, is_ept, _is_store)  # folders that are one scan
    return not path.is_dir() or (path / _SCENE).is_file() or any(known(path) for known in whole)


def _is_store(path: Path) -> bool:
    """Return whether a folder is one file of a kind that is read."""
    kind = READERS.find(path)
    return kind is not None and kind.folder and path.is_dir()


def _checked(path: Path, may_fail: bool = False) -> Path:
    """Return the path of a scan of a kind that is read; an empty one of several may fail when its turn comes."""
    if not path.is_dir() and not (may_fail and READERS.find(path)):
        check(path)
    return path


def _is_result(path: Path) -> bool:
    """Return whether a file holds features, or labels that were made of some, and says so."""
    return bool(WRITERS.find(path) or path.suffix.lower() in labelled.SUFFIXES) and "sha256" in labelled.metadata(path)


def _stem(scan: Path) -> str:
    return scan.name if scan.is_dir() and not _is_store(scan) else scan.stem


def _require_different(jobs: Sequence[Job], product: Product) -> None:
    firsts: dict[object, Job] = {}
    for job in jobs:
        if (first := firsts.setdefault(job.target, job)) is not job:
            cure = either("plan them one by one", f"{product.verb} them one by one with -o FILE")
            raise InputError(
                f"two scans would both become {job.target}, {first.scan} and {job.scan}; rename one of them, or {cure}."
            )


def stops_all(error: BaseException | None) -> bool:
    """Return whether the disk is full, or cannot be written to."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False
