"""Sentences in the reader's words: what to type next is an argument in Python and an option on the command line."""

import inspect
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from pathlib import Path

from ..errors import InputError, Msm3dWarning
from ..errors import cut as cut
from ..errors import quoted as quoted
from .stages import during

_TYPED = ContextVar("typed", default=False)
_PACKAGE = str(Path(__file__).parents[1])


def of_the_command_line() -> AbstractContextManager[None]:
    """Speak of options instead of arguments."""
    return during(_TYPED, True)


def either(python: str, typed: str) -> str:
    """Return the words that fit where the user is: in Python, or on the command line.

    >>> either("pass color= (n, 3)", "put red, green and blue into the file")
    'pass color= (n, 3)'
    >>> with of_the_command_line():
    ...     either("pass color= (n, 3)", "put red, green and blue into the file")
    'put red, green and blue into the file'
    """
    return typed if _TYPED.get() else python


def option(name: str, value: object = None) -> str:
    """Return what to type to give the option `name`, with its value or, for None, without.

    >>> option("up", "-y"), option("units")
    ("up='-y'", 'units=')
    >>> with of_the_command_line():
    ...     option("up", "-y"), option("max_memory", "4GB")
    ('--up -y', '--max-memory 4GB')
    """
    flag = "--" + name.replace("_", "-")
    if value is None:
        return either(f"{name}=", flag)
    return either(f"{name}={value!r}", f"{flag} {value}")


def choices(given: object, good: Sequence[str]) -> str:
    """Return the end of a sentence about a word that is not among the good ones.

    >>> choices("scannt", ["rooms", "scannet"]), choices("x", ["m", "cm"])
    ("did you mean 'scannet'?", 'choose one of m, cm.')
    """
    from difflib import get_close_matches  # only where something was mistyped

    close = get_close_matches(str(given), good, n=1, cutoff=0.7)
    return f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(good)}."


def require_one_of(name: str, value: object, good: Sequence[str]) -> None:
    """Raise InputError unless `value` is one of some words, whatever kind of thing it is.

    >>> require_one_of("precision", "fp32", ["fp32", "bf16"])
    >>> require_one_of("precision", "fp23", ["fp32", "bf16"])
    Traceback (most recent call last):
    msm3d.errors.InputError: precision is 'fp23'; did you mean 'fp32'?
    """
    if not isinstance(value, str) or value not in good:
        raise InputError(f"{name} is {quoted(value)}; {choices(value if isinstance(value, str) else '', good)}")


def count(number: int, thing: str) -> str:
    """Return how many of a thing there are.

    >>> count(1, "point"), count(12_345, "point")
    ('1 point', '12,345 points')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def megabytes(size: int) -> str:
    """Return a number of bytes as people say it.

    >>> megabytes(1_234_567), megabytes(454_321_000), megabytes(12_300_000_000)
    ('1.2 MB', '454 MB', '12.3 GB')
    """
    if size >= 10**10:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:,.1f} MB" if size < 10**7 else f"{size / 1e6:,.0f} MB"


def warn(message: str, category: type[Warning] = Msm3dWarning) -> None:
    """Warn at the line of the user's that led here: the first one outside the package."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
