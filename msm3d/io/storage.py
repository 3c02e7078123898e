"""Where results go: files, or objects in storage such as `s3://bucket/features/a.npz`, whole ones or nothing.

An object is written as a file of this machine and then put in its place at once, through fsspec. Beside it lies
`NAME.json`, which says what it is: it goes before the object is replaced and comes back after, so that what it
describes is whole.
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from .._util.atomic import made, scratch
from .._util.words import cut
from ..errors import DependencyError, FileError, InputError, Msm3dError
from ..scan.cloud import PointCloud
from . import results
from .registry import WRITERS


@dataclass(frozen=True)
class Remote:
    """The address of an object, or of all that begin with it; it stands where a `Path` would.

    >>> place = Remote("s3://bucket/features") / "hall/a.npz"
    >>> str(place), place.suffix, place.name
    ('s3://bucket/features/hall/a.npz', '.npz', 'a.npz')
    """

    address: str
    version: str = field(default="", repr=False)  # of the object, where it was listed

    def __str__(self) -> str:
        return self.address

    def __fspath__(self) -> str:
        return self.address

    def __truediv__(self, name: str | os.PathLike[str]) -> "Remote":
        parts = PurePosixPath(name).parts  # none of "."
        return Remote("/".join([self.address.rstrip("/"), *parts]))

    @property
    def name(self) -> str:
        """The last part of it."""
        return PurePosixPath(self.address).name

    @property
    def suffix(self) -> str:
        """The ending, with its point."""
        return PurePosixPath(self.address).suffix

    def is_dir(self) -> bool:
        """Say no: there are no folders in object storage."""
        return False

    exists = is_dir  # what is there is replaced, or left where it is done

    def resolve(self) -> "Remote":
        """Return it: there are no links in object storage."""
        return self


def place(path: str | os.PathLike[str] | Remote) -> Path | Remote:
    """Return the place in object storage that a path names, or that on this machine.

    >>> place("s3://bucket/features")
    Remote(address='s3://bucket/features')
    """
    if isinstance(path, str) and re.match(r"[A-Za-z][\w+.-]+://", path):
        return Remote(path)
    return path if isinstance(path, Remote) else Path(path)


def reached(place: Remote) -> Remote:
    """Return `place` once its storage has answered, which is asked before any work is done.

    Raises:
        InputError: there is no such storage, or not the bucket.
        DependencyError: the package that reaches it is not installed.
    """
    with _storage(place, "reached") as (storage, path):
        bucket = path.split("/")[0]
        try:
            storage.info(bucket)
        except FileNotFoundError as error:
            raise InputError(
                f"{place} cannot be reached: there is no bucket {bucket!r}; make it, or check its name."
            ) from error
    return place


def check_format(place: str | os.PathLike[str] | Remote) -> Path | Remote:
    """Return `place` as `results.check_format` does, or fail if no features are written to what ends like this."""
    if not isinstance(place, Remote):
        return results.check_format(place)
    good = [suffix for kind in WRITERS if not kind.folder for suffix in kind.suffixes]  # an object is one file
    if place.suffix.lower() not in good:
        raise InputError(f"{place} cannot hold features; end it with one of {', '.join(good)}, or with a stroke.")
    return place


@contextmanager
def writing(
    place: Path | Remote, cloud: PointCloud, channels: int, dtype: str, meta: Mapping[str, Any], source: Path | None
) -> Iterator[np.ndarray]:
    """Yield the array to fill as `results.writing` does, with its arguments; at the end it is the file or the object.

    Raises:
        FileError: it cannot be put there, or written on this machine before.
    """
    if isinstance(place, Path):
        with made(place.parent), results.writing(place, cloud, channels, dtype, meta, source) as feat:
            yield feat
        return
    with scratch(Path(tempfile.gettempdir())) as folder:
        file = folder / place.name
        with results.writing(file, cloud, channels, dtype, meta, source) as feat:
            yield feat
        said = {**meta, "bytes": file.stat().st_size}
        with _storage(place, "written") as (storage, path):
            with suppress(FileNotFoundError):
                storage.rm_file(f"{path}.json")
            storage.put_file(str(file), path)
            storage.pipe_file(f"{path}.json", json.dumps(said).encode())


def is_done(place: Path | Remote, meta: Mapping[str, Any]) -> bool:
    """Whether the features that `meta` describes are there, see `results.is_done`.

    Raises:
        FileError: the storage cannot be reached.
    """
    if isinstance(place, Path):
        return results.is_done(place, meta)
    with _storage(place, "read") as (storage, path):
        try:
            there = json.loads(storage.cat_file(f"{path}.json"))
            return results.same(there, meta) and storage.size(path) == there["bytes"]
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):  # or another's file of this name
            return False


def listed(place: Remote, suffixes: Sequence[str]) -> list[Remote]:
    """Return the objects below an address whose names end with one of `suffixes`, by their names.

    Raises:
        FileError: the storage cannot be reached.
    """
    with _storage(place, "read") as (storage, path):
        found = storage.find(path, detail=True)
        marks = {name: [about.get(key) for key in ("size", "ETag", "etag", "mtime")] for name, about in found.items()}
        names = [name for name in sorted(found) if PurePosixPath(name).suffix.lower() in suffixes]
        return [Remote(place.address.rstrip("/") + name[len(path.rstrip("/")) :], str(marks[name])) for name in names]


def fetch(place: Remote, path: Path) -> None:
    """Write an object to a file of this machine.

    Raises:
        FileError: the storage cannot be reached, or has no such object.
    """
    with _storage(place, "read") as (storage, name):
        storage.get_file(name, str(path))


def size(place: Path | Remote) -> int:
    """Return the bytes of a file or an object."""
    if isinstance(place, Path):
        return results.size(place)
    with _storage(place, "read") as (storage, path):
        return storage.size(path)


@contextmanager
def _storage(place: Remote, doing: str) -> Iterator[tuple[Any, str]]:
    """Yield the storage as it is now, and the path in it; whatever its client raises is one sentence."""
    kind = place.address.split("://")[0]
    try:
        from fsspec.core import url_to_fs

        folders = {"auto_mkdir": True} if kind in ("file", "local") else {}  # elsewhere names have none
        storage, path = url_to_fs(place.address, use_listings_cache=False, **folders)
        storage.invalidate_cache()
        yield storage, path
    except Msm3dError:
        raise
    except ImportError as error:
        package = "msm3d[s3]" if kind in ("s3", "s3a") else f"fsspec[{kind}]"
        raise DependencyError(f'{kind}:// needs a client ({cut(error)}); type: pip install "{package}".') from error
    except Exception as error:  # each client has errors of its own
        why = cut(error) or type(error).__name__
        raise FileError(
            f"{place} cannot be {doing} ({why}); check the address, your credentials and the network."
        ) from error
