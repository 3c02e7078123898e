"""Whole files or nothing, however the writer ends, and never in the place of what is being read.

What is unfinished is called `.msm3d-HOST-RANDOM.partial`, and its writer holds a lock on it. A writer that was killed
cannot clean up, so the next one in that folder does: what nobody locks is dead.
"""

import errno
import os
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from types import FrameType

from ..errors import FileError, InputError, cut

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_DAY = 24 * 60 * 60
_START, _END = ".msm3d-", ".partial"
_HOST = sha256(socket.gethostname().encode()).hexdigest()[:8]
_CURES = {
    errno.ENOSPC: "make room, or give another folder",
    errno.EDQUOT: "make room, or give another folder",
    errno.EFBIG: "give another folder, or raise the limit (ulimit -f)",
    errno.EROFS: "give a folder that can be written",
    errno.EACCES: "give a folder that you may write to",
    errno.EPERM: "give a folder that you may write to",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOENT: "make its folder first",
    errno.EEXIST: "a file has this name already: give another",
    errno.ENOTDIR: "a file stands where its folder should be: give another folder",
}


@contextmanager
def replacing(path: Path, *, settled: bool = True) -> Iterator[Path]:
    """Yield a name beside `path` to write to; it becomes `path` at the end, or goes if anything fails.

    `settled` waits until the disk has it, so that a power cut cannot undo it; of large files that can be made again the
    wait is longer than the work.

    Raises:
        FileError: it cannot be written: a full disk, a folder that is read-only, too long a name.
    """
    with refusals(path):
        _require_name(path)
        with _unfinished(path.parent, folder=False) as partial:
            yield partial
            if settled:
                _settle(partial)
            partial.replace(path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to write in; it becomes `path` at the end, or goes if anything fails.

    A folder that is there is taken away only once the new one is whole.

    Raises:
        FileError: it cannot be written.
    """
    with refusals(path):
        _require_name(path)
        with _unfinished(path.absolute().parent, folder=True) as stage:
            yield stage
            if not path.exists():
                os.rename(stage, path)
                return
            with _unfinished(path.absolute().parent, folder=True) as old:  # which goes at the end
                os.rename(path, old / "old")
                try:
                    os.rename(stage, path)
                except OSError:
                    os.rename(old / "old", path)
                    raise


@contextmanager
def staged(directory: Path, last: str | None = None) -> Iterator[Path]:
    """Yield an empty folder to write in; at the end its files move to `directory`, or all go if anything fails.

    The directory is made where missing, and other files in it are left alone; the file `last` moves last, where its
    presence says that all are there.

    Raises:
        FileError: it cannot be written, or is a file.
    """
    with refusals(directory):
        _require_name(directory)
        require_folder(directory)
        parent = directory.absolute().parent
        with made(parent), _unfinished(parent, folder=True) as stage:
            yield stage
            files = sorted(stage.iterdir(), key=lambda file: (file.name == last, file.name))
            for file in files:
                _settle(file)
            if directory.exists():
                for file in files:
                    os.replace(file, directory / file.name)
            else:
                os.rename(stage, directory)


def require_folder(directory: Path) -> None:
    """Raise FileError where `directory` is a file."""
    if directory.exists() and not directory.is_dir():
        raise FileError(f"{directory} is a file; give the name of a folder.")


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Yield a folder in `folder` for what is too large for memory; it goes at the end."""
    with refusals(folder), _unfinished(folder, folder=True) as stage:
        yield stage


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder with its parents for what is written meanwhile; if that fails, no new folder is left."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):  # someone else has put something into it
                path.rmdir()
        raise


def claim(path: Path, size: int) -> None:
    """Make the file at `path` `size` bytes long, all of them on the disk, or raise OSError where there is no room.

    A store to a mapped file for which the disk has no room ends the process with SIGBUS, which nothing can catch.
    """
    try:
        with path.open("r+b", buffering=0) as file:
            there = file.seek(0, os.SEEK_END)
            try:
                os.posix_fallocate(file.fileno(), there, size - there)
                return
            except AttributeError:  # macOS and Windows have no such call
                pass
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV):
                    raise  # but for a disk that has no such thing
            while there < size:
                there += file.write(bytes(min(size - there, 1 << 20)))
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}, it takes {size / 1e6:,.1f} MB") from error


def apart(outputs: Iterable[str | os.PathLike[str]], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Raise InputError where an output is an input, by whatever name; to be called before any work.

    >>> apart(["features.npz"], ["scan.ply"])
    >>> apart(["scan.ply"], ["./scan.ply"])
    Traceback (most recent call last):
    msm3d.errors.InputError: scan.ply is an input and would be replaced by the output; give the output another name.
    """
    read = {mark: os.fspath(path) for path in inputs for mark in _marks(path)}
    for path in [os.fspath(output) for output in outputs]:
        if (same := next((read[mark] for mark in _marks(path) if mark in read), None)) is not None:
            also = "" if os.path.normpath(path) == os.path.normpath(same) else f" (it is {same})"
            raise InputError(
                f"{path} is an input{also} and would be replaced by the output; give the output another name."
            )


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write `path`, or what is to become it, into one sentence."""
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        if not _concerns(error.filename, path):
            raise  # another file, such as one that is read meanwhile
        why = error.strerror or cut(error)  # numpy's own error has no number, and means a full disk
        cure = _CURES.get(error.errno or 0, _CURES[errno.ENOSPC])
        raise FileError(f"{path} cannot be written ({why}); {cure}.") from error


class Terminated(SystemExit):
    """A signal asked the process to end."""


@contextmanager
def on_termination() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the process as Ctrl-C does: whatever is unfinished is removed first.

    The exit code is 128 + the signal, as a shell gives it: 143 for SIGTERM. A signal that was ignored before, as nohup
    does, stays ignored. Outside the main thread nothing happens, since only it may handle signals.
    """
    kinds = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    main = threading.current_thread() is threading.main_thread()
    before = {kind: old for kind in kinds if main and (old := signal.getsignal(kind)) not in (signal.SIG_IGN, None)}

    def end(number: int, _: FrameType | None) -> None:
        for kind in before:
            signal.signal(kind, signal.SIG_IGN)  # a second one must not interrupt the cleaning
        raise Terminated(128 + number)

    try:
        for kind in before:
            signal.signal(kind, end)
        yield
    finally:
        for kind, old in before.items():
            signal.signal(kind, old)


def sweep(folder: Path) -> None:
    """Remove what killed writers left in `folder`: ours that nobody locks, and others' once they are a day old."""
    names = []
    with suppress(OSError):  # a folder that may be written but not listed
        names = [name for name in os.listdir(folder) if name.startswith(_START) and name.endswith(_END)]
    for path in map(folder.joinpath, names):
        with suppress(OSError):  # it went meanwhile, or is not ours to remove
            old = time.time() - path.lstat().st_mtime > _DAY
            if old or path.name.startswith(f"{_START}{_HOST}-"):  # another machine's lock may not be seen from here
                _remove_dead(path, old)


def _remove_dead(path: Path, old: bool) -> None:
    """Remove what is unfinished unless its writer lives, which its lock tells, or its age where there are no locks."""
    lock = None
    try:
        lock = _locked(path)
    except OSError as error:
        if isinstance(error, BlockingIOError) or not old:
            return  # its writer lives, or may live
    _release(path, lock)


@contextmanager
def _unfinished(parent: Path, *, folder: bool) -> Iterator[Path]:
    """Yield a new file or folder with a name of its own, locked where there are locks; what is left of it goes."""
    sweep(parent)
    path, lock = _begun(parent, folder=folder)
    try:
        yield path
    finally:
        _release(path, lock)


def _begun(parent: Path, *, folder: bool) -> tuple[Path, int | None]:
    """Return a new file or folder, and what holds its lock, where there are locks."""
    while True:
        path = parent / f"{_START}{_HOST}-{uuid.uuid4().hex[:16]}{_END}"
        path.mkdir() if folder else path.touch(exist_ok=False)
        try:
            lock = _locked(path)
        except (BlockingIOError, FileNotFoundError):
            continue  # swept between the two
        except OSError:
            return path, None
        if path.exists():
            return path, lock
        os.close(lock)


def _locked(path: Path) -> int:
    """Return a descriptor that holds the lock of `path`; BlockingIOError: another one holds it."""
    if fcntl is None:
        raise OSError(errno.ENOLCK, "no locks on this system", str(path))
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def _release(path: Path, lock: int | None) -> None:
    """Remove what is still there, then give up its lock."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    finally:
        if lock is not None:
            os.close(lock)


def _settle(path: Path) -> None:
    """Wait until a file is on the disk, safe from a power cut; a network disk may refuse stores to a map only here."""
    if not path.is_file():
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):  # a disk that has no such thing
            raise
    finally:
        os.close(handle)


def _require_name(path: Path) -> None:
    """Let the system refuse a name that is too long before the work, not at the renaming after it."""
    with suppress(FileNotFoundError):
        os.lstat(path)


def _marks(path: str | os.PathLike[str]) -> list[object]:
    """Return what makes a file the same one: where its name leads, and what lies there."""
    marks: list[object] = [os.path.normcase(os.path.realpath(path)), os.path.normcase(os.path.abspath(path))]
    with suppress(OSError):
        state = os.stat(path)
        marks.append((state.st_dev, state.st_ino))
    return marks


def _concerns(name: object, path: Path) -> bool:
    """Whether an error about the file `name` is one about writing `path`: it, a folder above it, or what is unfinished.

    >>> _concerns("/a/.msm3d-1-2.partial/x", Path("/b")), _concerns("/b", Path("/b/c/d")), _concerns("/c", Path("/b"))
    (True, True, False)
    """
    if not isinstance(name, (str, bytes)):  # a file that is open has no name in its errors
        return True
    asked, target = os.path.abspath(os.fsdecode(name)), os.path.abspath(path)
    return _START in asked or asked == target or target.startswith(os.path.join(asked, ""))
