"""The fields of a shape as strangers write them: JSON's values as those that are meant, and names that are none."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from math import inf, isfinite
from numbers import Integral, Real
from typing import Any, get_args, get_origin

from ..errors import InputError, quoted, require


def require_known(names: Iterable[str], known: Sequence[str]) -> None:
    """Raise an InputError for the first name that is no field, with the one that may be meant."""
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "choose among " + ", ".join(known) + "."
            raise InputError(f"unknown configuration field {quoted(name)}; {hint}")


def typed(name: str, value: Any, kind: Any) -> Any:
    """Return what JSON or numpy has as the Python value that is meant; what means something else stays.

    >>> typed("heads", [0, 4], tuple[int, ...])
    (0, 4)
    """
    if get_origin(kind) is tuple:
        require(name, value, isinstance(value, (list, tuple)), "a list")
        return tuple(typed(name, entry, get_args(kind)[0]) for entry in value)
    if isinstance(value, Integral) and not isinstance(value, bool) and kind in (int, float):
        return inf if kind is float and abs(int(value)) > 1 << 1000 else int(value)  # JSON has numbers of any size
    return float(value) if kind is float and isinstance(value, Real) and not isinstance(value, bool) else value


def is_int(value: object, least: int) -> bool:
    """Whether a value is an integer from `least` on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
