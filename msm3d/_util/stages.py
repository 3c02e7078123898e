"""Where the work is: said by the functions that do it, shown by whoever runs them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
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
def during(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Give a variable a value meanwhile."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def listening(listener: Callable[[str], None]) -> AbstractContextManager[None]:
    """Send every stage to `listener`."""
    return during(_LISTENER, listener)


def of(scan: object) -> AbstractContextManager[None]:
    """Say that the work is on one scan of several: warnings on the command line then name it."""
    return during(_SCAN, str(scan))


def scan() -> str | None:
    """Return the scan that the work is on, where that was said."""
    return _SCAN.get()


def silent() -> AbstractContextManager[None]:
    """Show no bars, whatever they were told."""
    return during(_SILENT, True)


def hidden(progress: bool | None) -> bool | None:
    """Return tqdm's `disable`: True shows a bar, None shows it in a terminal only, False hides it.

    >>> hidden(True), hidden(None), hidden(False)
    (False, None, True)
    """
    if _SILENT.get():
        return True
    return None if progress is None else not progress
