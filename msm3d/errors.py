"""What msm3d raises: one sentence naming what was given, what is needed and what to type next."""

from reprlib import Repr


class Msm3dError(Exception):
    """Any failure that msm3d foresees; the command line prints it as one line and exits with 2."""


class InputError(Msm3dError, ValueError):
    """The points, an argument or a configuration cannot be used as given."""


class FileError(InputError):
    """A file is missing, truncated, of an unknown kind or not what its header says."""


class WeightsError(Msm3dError, RuntimeError):
    """Weights cannot be found, downloaded, verified or fitted to the network."""


class BackendError(Msm3dError, RuntimeError):
    """No backend, or not the one that was named, can run on the device."""


class DependencyError(Msm3dError, ImportError):
    """An optional package is needed; the message holds the `pip install` line."""


class Msm3dWarning(UserWarning):
    """Something was assumed about the input; the message says what to pass instead."""


def require(name: str, value: object, good: bool, needed: str) -> None:
    """Raise InputError, with the value and what it must be, unless `good`."""
    if not good:
        raise InputError(f"{name} is {quoted(value)}; it must be {needed}.")


def quoted(value: object, most: int = 80) -> str:
    """Return a value as a message quotes it: in one line and cut, since what others wrote may be of any length.

    >>> quoted("a" * 200, most=20), quoted([1, 2]), quoted({"a": None})
    ("'aaaaaa...aaaaaaa'", '[1, 2]', "{'a': None}")
    """
    short = Repr()
    short.maxlist = short.maxtuple = short.maxset = short.maxfrozenset = short.maxdict = 20
    short.maxstring = short.maxlong = short.maxother = most
    try:
        return cut(short.repr(value), most)
    except Exception:  # a number of 5,000 digits, or an object that cannot show itself
        return f"a value of type {type(value).__name__}"


def cut(text: object, most: int = 80) -> str:
    r"""Return the words of others, such as an error's, in one line of printable letters and cut in the middle.

    >>> cut("no\nsuch \x1b[31mfile"), cut("a" * 200, most=20)
    ('no such [31mfile', 'aaaaaaaaa...aaaaaaaa')
    """
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)[: 100 * most]).split())
    half = (most - 3) // 2
    return line if len(line) <= most else f"{line[: most - 3 - half]}...{line[-half:]}"
