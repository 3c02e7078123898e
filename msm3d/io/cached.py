"""Objects of storage as files of this disk for a while: those used last stay, up to a limit of bytes."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from .._util.atomic import replacing
from .._util.words import megabytes
from ..errors import FileError, InputError
from .storage import Remote, fetch

T = TypeVar("T")
TRIES = 3  # for a file that others take away before it is read


@dataclass(frozen=True)
class Cache:
    """A folder that several processes may share.

    >>> Cache(Path("/tmp/cache"), 10**9).path(Remote("s3://bucket/hall.ply", "v1")).suffix
    '.ply'
    """

    folder: Path
    limit: int  # bytes

    def path(self, place: Remote) -> Path:
        """Return where an object lies while it is here; one that was replaced lies elsewhere."""
        name = sha256(f"{place.address}\n{place.version}".encode()).hexdigest()[:24]
        return self.folder / f"{name}{place.suffix.lower()}"

    def read(self, place: Remote, reader: Callable[[Path], T]) -> T:
        """Return what a reader makes of the file of an object, which is fetched where it is not here.

        Raises:
            InputError: the object alone is larger than the limit.
            FileError: the storage cannot be reached, or the file cannot be read or written.
        """
        path = self.path(place)
        for _ in range(TRIES):
            if not path.exists():
                self._fetch(place, path)
            with suppress(OSError):
                now = time.time_ns()  # the kernel's own stamp is up to 10 ms old: files used within it would tie
                os.utime(path, ns=(now, now))
            try:
                return reader(path)
            except FileError as error:
                if path.exists():
                    raise FileError(str(error).replace(str(path), str(place))) from error
        raise FileError(f"{place} was taken out of {self.folder} {TRIES} times before it was read; give more room.")

    def _fetch(self, place: Remote, path: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(path, settled=False) as partial:
            fetch(place, partial)
            if (size := partial.stat().st_size) > self.limit:
                raise InputError(
                    f"{place} has {megabytes(size)}, more than all files kept may have, {megabytes(self.limit)}; "
                    "give more room."
                )
            self._make_room(self.limit - size)

    def _make_room(self, limit: int) -> None:
        """Take away what was used longest ago until the rest has at most `limit` bytes."""
        files = []
        for path in self.folder.iterdir():
            with suppress(OSError):  # another process was faster
                state = path.stat()
                if not path.name.startswith("."):
                    files.append((state.st_mtime_ns, state.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= limit:
                return
            path.unlink(missing_ok=True)
            total -= size
