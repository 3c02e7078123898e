"""Which levels of a descriptor to judge, in words; needs neither numpy nor torch."""

import re
from collections.abc import Sequence

from ..errors import InputError, quoted


def chosen_levels(levels: bool | str | Sequence[str]) -> tuple[str, ...]:
    """Return the choices of levels to judge, from words, from text with commas, or from whether to judge each.

    `all` side by side, which is always judged; the `last` that a network computes; `each` alone and all but each; or
    one, by its number from 0 for the finest.

    >>> chosen_levels("all,last"), chosen_levels(True), chosen_levels(False)
    (('all', 'last'), ('all', 'each'), ('all',))
    """
    words = levels.split(",") if isinstance(levels, str) else ["each"] * levels if isinstance(levels, bool) else levels
    words = [str(word).strip() for word in words]
    for word in words:
        if word not in ("all", "last", "each") and not re.fullmatch("[0-9]+", word):
            raise InputError(f"levels has {quoted(word)}; give all, last, each or a level's number, or several.")
    return tuple(dict.fromkeys(["all", *words]))
