"""Rooms made on the fly, for trying things without any data."""

import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..scan.cloud import PointCloud
from .classes import IGNORE, class_list
from .layout import Choice, Layout
from .scenes import Dataset, Scene

TRAIN_SEEDS, TEST_SEEDS = 900_000_000, 950_000_000  # the first ones, far from those that anybody would pre-train on


def is_rooms(where: object) -> bool:
    """Return whether this asks for synthetic rooms, "rooms" or "rooms:…", and is not a folder."""
    return isinstance(where, str) and re.match(r"rooms(:|$)", where) is not None and not os.path.isdir(where)


def numbers(spec: str, examples: str) -> tuple[int | None, int | None]:
    """Return N and M of "rooms:N/M": how many rooms to learn from and to test on; None is what the text leaves out.
    Other texts raise InputError, which says to give `examples` instead.

    >>> numbers("rooms:24/12", "rooms:60"), numbers("rooms:400", "rooms:60"), numbers("rooms", "rooms:60")
    ((24, 12), (400, None), (None, None))
    """
    match = re.fullmatch(r"rooms(?::([1-9]\d{0,5})(?:/([1-9]\d{0,5}))?)?", spec)
    if match is None:
        raise InputError(f"{spec!r} names no rooms; give {examples}.")
    train, test = (None if number is None else int(number) for number in match.groups())
    return train, test


def _splits(where: str | Path, choice: Choice) -> tuple[Dataset, Dataset]:
    """Return N rooms to learn from and as many others to test on for "rooms:N", or N and M for "rooms:N/M"."""
    train, test = numbers(str(where), "rooms:60, or rooms:60/40 for 60 to learn from and 40 to test")
    assert train is not None, "recognised by its number"

    def split(name: str, first: int, count: int) -> Dataset:
        scenes = (Scene(f"room-{seed}", partial(_room, seed)) for seed in range(first, first + count))
        return Dataset("rooms", name, class_list("rooms"), tuple(scenes))

    return split("train", TRAIN_SEEDS, train), split("test", TEST_SEEDS, test or train)


def _room(seed: int) -> PointCloud:
    from .. import rooms

    made = rooms.make(seed)
    assert made.segment is not None, "a synthetic room has labels"
    return replace(made, segment=np.where(made.segment == rooms.OTHER, IGNORE, made.segment).astype(np.int64))


LAYOUT = Layout(
    title="rooms made on the fly", recognise=lambda where: is_rooms(where) and ":" in str(where), splits=_splits
)
