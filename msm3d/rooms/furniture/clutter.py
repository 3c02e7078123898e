"""What lies about in which places."""

import numpy as np

from ..materials import Palette
from ..pieces import Piece
from .fixtures import bin_
from .lamps import table_lamp
from .props import (
    bag,
    ball,
    book_stack,
    bottle,
    carton,
    cup,
    heap,
    keyboard,
    laptop,
    papers,
    plant,
    shoes,
    speaker,
    vase,
)
from .tables import monitor


def clutter(rng: np.random.Generator, palette: Palette, where: str) -> Piece:
    """Something that lies about: `where` is table, desk, counter, shelf, bath or floor."""
    choices = {
        "table": (
            (bottle, 2),
            (cup, 4),
            (vase, 2),
            (book_stack, 3),
            (papers, 3),
            (laptop, 1),
            (table_lamp, 1),
            (plant, 1),
            (carton, 1),
        ),
        "desk": (
            (monitor, 5),
            (keyboard, 4),
            (laptop, 2),
            (papers, 4),
            (book_stack, 3),
            (cup, 2),
            (bottle, 1),
            (table_lamp, 2),
            (speaker, 1),
            (plant, 1),
        ),
        "counter": ((bottle, 5), (cup, 5), (speaker, 3), (plant, 1), (carton, 2), (vase, 1), (papers, 1)),
        "shelf": (
            (vase, 3),
            (book_stack, 3),
            (carton, 3),
            (plant, 2),
            (cup, 2),
            (bottle, 2),
            (speaker, 1),
            (table_lamp, 1),
        ),
        "bath": ((bottle, 6), (cup, 2), (carton, 1), (plant, 1)),
        "floor": ((carton, 4), (bag, 3), (heap, 2), (shoes, 3), (plant, 3), (bin_, 3), (ball, 1), (book_stack, 1)),
    }[where]
    weights = np.array([weight for _, weight in choices], float)
    make = choices[rng.choice(len(choices), p=weights / weights.sum())][0]
    if make in (plant, carton) and where != "floor":
        return make(rng, palette, small=True)
    return make(rng, palette)
