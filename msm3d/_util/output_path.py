"""Where scans come from and results go, looked at before any work is done."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import FileError, InputError
from .atomic import refusals


def require_there(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Raise FileError for the first path that does not exist."""
    for path in paths:
        if not os.path.exists(path):
            raise FileError(f"{path}: does not exist; check the path.")


def output_path(
    path: str | os.PathLike[str], suffixes: Sequence[str] = (), what: str = "", ending: str | None = None
) -> Path:
    """Return `path`, or fail if no such file can be written: its ending, or its folder, is not good.

    >>> output_path("report.txt", [".json"], "a report")
    Traceback (most recent call last):
    msm3d.errors.InputError: report.txt cannot hold a report; end it with .json.

    It may have any of `suffixes`, in lower case, or of all if there are none; a message says `what` is to be written,
    and the good `ending` in words.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        ending = ending or f"{'one of ' if len(suffixes) > 1 else ''}{', '.join(suffixes)}"
        raise InputError(f"{path} cannot hold {what}; end it with {ending}.")
    with refusals(path):
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the name of a file.")
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent}; make it first: mkdir -p {path.parent}")
    return path
