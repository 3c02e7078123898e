"""A release behind its authors' public link to Google Drive: fetched by gdown, converted, remembered by its hash.

The only module that knows gdown. What arrives is kept until it is whole, so that a download that broke off goes on.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .._util.atomic import refusals, replacing
from .._util.stages import hidden, stage
from .._util.words import megabytes, warn
from ..errors import DependencyError, FileError, Msm3dError, WeightsError, cut
from . import hub, store
from .store import Source

_CONNECT, _READ = 20, 60  # seconds that Drive may be silent
_PART = ".part"  # gdown's ending of what is not whole yet
_LOCK = "lock"


def fetch(name: str, release: dict[str, Any], installed: Path) -> Path:
    """Download the authors' file of a release, convert it to `installed`, and remove it; return `installed`.

    The hash of the first download is kept beside `installed`, unless the table of releases knows it; another file
    under the link is refused from then on.

    Raises:
        WeightsError: Drive cannot be reached, hands nothing out, or hands out something else; the message says what to
            do, and how to go on by hand.
        DependencyError: gdown is not installed.
        FileError: the folder of `installed` cannot be written.
    """
    link = release["drive"]["id"]
    by_hand = f"or download https://drive.google.com/file/d/{link}/view in a browser and run `msm3d convert FILE`."
    if hub.offline():
        raise WeightsError(f"HF_HUB_OFFLINE is set, so {name!r} is not downloaded; unset it, {by_hand}")
    authors = release["source"].partition(";")[0]
    warn(f"the weights of {name!r} are not msm3d's, they are by {authors}; licence: {release['licence']}")
    known, record = _known(release, installed)
    with _alone(installed.with_name(f"{installed.name}.download"), by_hand) as folder:
        path = folder / "checkpoint.pth"
        if not path.is_file():  # else what came after it was interrupted
            stage("downloading")
            Transfer(link, path, release["page"], by_hand).run()
        found = store.sha256(path)
        try:
            if known not in (None, found):
                raise WeightsError(
                    f"the file behind the link of {name!r} is another than before: its sha256 is {found}, not {known}; "
                    f"see {release['page']} for the reason, and if it is the authors' will, "
                    + (f"delete {record} and run it again." if record.is_file() else "install a newer msm3d.")
                )
            _convert(path, name, installed, f"see {release['page']} for a newer link, {by_hand}")
        except Msm3dError:
            path.unlink(missing_ok=True)  # nobody would look at it again
            raise
        path.unlink()
        if known is None:
            with replacing(record) as partial:
                partial.write_text(f"{found}  {link}\n", encoding="utf-8")
    return installed


def _convert(path: Path, name: str, installed: Path, cure: str) -> None:
    from .convert import convert

    stage("converting")
    try:
        convert(path, installed, release=name, install=False)
    except Msm3dError as error:
        if isinstance(error, FileError) and str(path) not in str(error):  # of the place that is written to
            raise
        what = cut(str(error).replace(str(path), "the file").partition(";")[0], 200)
        raise WeightsError(
            f"what the link of {name!r} leads to is not these weights ({what}), so it was removed; {cure}"
        ) from error


def _known(release: dict[str, Any], installed: Path) -> tuple[str | None, Path]:
    """Return the hash that the file must have, if one is known, and where the first one is kept."""
    record = installed.with_name(f"{installed.name}.sha256")
    pinned = release["drive"]["sha256"]
    if pinned is None and record.is_file():
        found = re.fullmatch(r"([0-9a-f]{64})  (\S+)\n", record.read_text(encoding="utf-8", errors="replace"))
        pinned = found[1] if found and found[2] == release["drive"]["id"] else None
    return pinned, record


@contextmanager
def _alone(folder: Path, by_hand: str) -> Iterator[Path]:
    """Make a folder for a download, and keep other processes out of it meanwhile."""
    from filelock import FileLock, Timeout

    with refusals(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise WeightsError(f"another msm3d is downloading to {folder}; wait for it, {by_hand}") from error
        try:
            yield folder
        finally:
            lock.release()
            if {path.name for path in folder.iterdir()} <= {_LOCK}:
                shutil.rmtree(folder, ignore_errors=True)


class Transfer:
    """One file on its way from Drive."""

    def __init__(self, link: Source, path: Path, page: str, by_hand: str) -> None:
        self.link, self.path, self.page, self.by_hand = link, path, page, by_hand

    @property
    def parts(self) -> list[Path]:
        """What is there and not whole yet."""
        return sorted(self.path.parent.glob(f"*{_PART}"))

    @property
    def received(self) -> int:
        """Bytes of it."""
        return sum(part.stat().st_size for part in self.parts)

    def run(self) -> None:
        """Download it, going on where an earlier try ended; WeightsError says why that failed."""
        try:
            import gdown
            from gdown.exceptions import DownloadError, FileURLRetrievalError
            from requests import RequestException
        except ImportError as error:
            raise DependencyError(
                f'files on Google Drive need gdown; type: pip install "msm3d[drive]", {self.by_hand}'
            ) from error
        before = self.received
        options = {"id": self.link, "quiet": True, "use_cookies": False, "timeout": (_CONNECT, _READ), "retries": 2}
        try:
            with self._bar() as shown:
                gdown.download(output=str(self.path), resume=True, progress=shown, **options)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("what has arrived is kept: run it again, and it goes on from there.") from None
        except FileURLRetrievalError as error:
            raise WeightsError(self._refused(str(error))) from error
        except (DownloadError, RequestException) as error:
            if self.received > before:
                raise WeightsError(
                    f"the download from Google Drive broke off after {megabytes(self.received)}; run it again, and it "
                    f"goes on from there, {self.by_hand}"
                ) from error
            if not before or isinstance(error, RequestException) or isinstance(error.__cause__, RequestException):
                raise WeightsError(f"Google Drive cannot be reached; check the connection, {self.by_hand}") from error
            for part in self.parts:  # Drive does not go on in the middle of this file
                part.unlink()
            self.run()
        except (KeyError, ValueError, AssertionError) as error:  # a page that gdown does not know
            raise WeightsError(self._refused(f"{type(error).__name__}: {error}")) from error

    def _refused(self, said: str) -> str:
        if re.search("too many users|quota", " ".join(said.split()), re.IGNORECASE):
            return (
                "Google Drive hands this file out to nobody more for now, too many have asked for it; "
                f"try again tomorrow, {self.by_hand}"
            )
        return (
            "Google Drive does not hand out the file behind the authors' link, which may have moved; "
            f"look for the link in {self.page}, {self.by_hand}"
        )

    @contextmanager
    def _bar(self) -> Iterator[Callable[[int, int | None], None]]:
        from tqdm import tqdm

        with tqdm(unit="B", unit_scale=True, leave=False, disable=hidden(None)) as bar:

            def shown(received: int, total: int | None) -> None:
                bar.total = total
                bar.update(received - bar.n)

            yield shown
