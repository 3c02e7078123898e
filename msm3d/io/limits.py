"""What a file may ask for: a share of the free memory, compared before anything of that size is made."""

from typing import BinaryIO

import numpy as np

from .._util.memory import available
from ..errors import FileError

SHARE = 0.5  # of what is free: what is read is converted next, and then still there


def fits(needed: int, what: str) -> None:
    """Raise FileError where `needed` bytes are more than a file may take.

    >>> fits(1000, "stands for arrays")
    >>> fits(10**18, "stands for arrays")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    msm3d.errors.FileError: stands for arrays of 1e+09 GB, more than half of the ... GB that are free; ...
    """
    free = available()
    if needed > free * SHARE:
        raise FileError(
            f"{what} of {needed / 1e9:.3g} GB, more than half of the {free / 1e9:.3g} GB that are free; "
            "split it, or read it where there is more memory."
        )


def whole(good: bool, declared: str, held: str) -> None:
    """Raise FileError unless `good`: where a file declares more than is there."""
    if not good:
        raise FileError(f"declares {declared} but holds {held}; it is truncated, export it again.")


def left(stream: BinaryIO) -> int:
    """Return how many bytes of a file are still to be read."""
    start = stream.tell()
    end = stream.seek(0, 2)
    stream.seek(start)
    return end - start


def not_at_one_place(places: np.ndarray, count: int) -> None:
    """Raise FileError where those of `count` points that have a position (n, 3) have all the same one."""
    if len(places) > 1 and (places[-1] == places[0]).all() and (places == places[0]).all():
        raise FileError(f"has all of its {count} points at one place; export it again.")
