"""Where the work is: said by the functions that do it, shown by whoever runs them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LISTENER: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)
_SCAN: ContextVar[str | None] = ContextVar("scan", default=None)
_SILENT = ContextVar("silent", default=False)


def stage(name: str) -> None:
    """Say that the work called `name` begins, to whoever listens.

    >>> said = []
    >>> with listening(said.append):
    ...     stage("reading")
    >>> stage("voxels")
    >>> said
    ['reading']
    """
    listener = _LISTENER.get()
    if listener is not None:
        listener(name)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Send every stage to `listener`."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


@contextmanager
def of(scan: object) -> Iterator[None]:
    """Say that the work is on one scan of several: warnings on the command line then name it."""
    token = _SCAN.set(str(scan))
    try:
        yield
    finally:
        _SCAN.reset(token)


def scan() -> str | None:
    """Return the scan that the work is on, where that was said."""
    return _SCAN.get()


@contextmanager
def silent() -> Iterator[None]:
    """Show no bars, whatever they were told."""
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


def hidden(progress: bool | None) -> bool | None:
    """Return tqdm's `disable`: True shows a bar, None shows it in a terminal only, False hides it.

    >>> hidden(True), hidden(None), hidden(False)
    (False, None, True)
    """
    if _SILENT.get():
        return True
    return None if progress is None else not progress
