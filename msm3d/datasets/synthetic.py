"""Rooms made on the fly, for trying things without any data."""

import re
from dataclasses import replace
from functools import partial

import numpy as np

from ..errors import InputError
from ..scan.cloud import PointCloud
from .classes import IGNORE, class_list
from .scenes import Dataset, Scene

TRAIN_SEEDS, TEST_SEEDS = 900_000_000, 950_000_000
"""First seed of each split: far from those that anybody would pre-train on."""


def splits(spec: str) -> tuple[Dataset, Dataset]:
    """Return N rooms to learn from and as many others to test on for "rooms:N", or N and M for "rooms:N/M".

    >>> [(len(split), split.scenes[0].name) for split in splits("rooms:3/2")]
    [(3, 'room-900000000'), (2, 'room-950000000')]
    """
    match = re.fullmatch(r"rooms:([1-9]\d{0,5})(?:/([1-9]\d{0,5}))?", spec)
    if match is None:
        raise InputError(f"{spec!r} names no rooms; give rooms:60, or rooms:60/40 for 60 to learn from and 40 to test.")
    train, test = int(match[1]), int(match[2] or match[1])
    classes = class_list("rooms")

    def rooms(first: int, count: int) -> tuple[Scene, ...]:
        return tuple(Scene(f"room-{seed}", partial(_room, seed)) for seed in range(first, first + count))

    return (
        Dataset("rooms", "train", classes, rooms(TRAIN_SEEDS, train)),
        Dataset("rooms", "test", classes, rooms(TEST_SEEDS, test)),
    )


def _room(seed: int) -> PointCloud:
    from .. import rooms

    made = rooms.make(seed)
    assert made.segment is not None, "a synthetic room has labels"
    return replace(made, segment=np.where(made.segment == rooms.OTHER, IGNORE, made.segment).astype(np.int64))
