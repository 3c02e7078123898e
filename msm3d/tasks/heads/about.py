"""What else is known of a classifier: what its classes are called and drawn in, whose it is, how it was judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from ...errors import InputError, quoted
from ..labels import name_of_class

_LONGEST = 2000  # letters of a text


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of a head beside what it learned; empty where nobody said it.

    >>> About(names=("wall", "floor")).to_dict()
    {'names': ['wall', 'floor']}
    """

    names: tuple[str, ...] = ()
    """What each of `classes_` is called."""
    colors: tuple[tuple[int, int, int], ...] = ()
    """Red, green and blue of each of `classes_`, 0 to 255."""
    licence: str = ""
    """Of the head, not of the network."""
    source: str = ""
    """Who made it, of what."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """mIoU of each kind of head that was tried, 0 to 1, on places that it had not learned from."""
    judged: str = ""
    """How these were had, or why there are none, in a sentence."""

    def to_dict(self) -> dict[str, Any]:
        """Return what there is as plain Python values, ready for JSON."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values |= {"names": list(self.names), "colors": [list(color) for color in self.colors]}
        return {name: dict(value) if name == "scores" else value for name, value in values.items() if value}

    @classmethod
    def from_dict(cls, values: Any, classes: int) -> "About":
        """Build from `to_dict`'s values of a head of so many classes, or raise InputError."""
        try:
            made = cls(
                **{
                    **values,
                    "names": tuple(map(name_of_class, values.get("names", ()))),
                    "colors": tuple(map(_color, values.get("colors", ()))),
                    "scores": {str(name): float(score) for name, score in values.get("scores", {}).items()},
                }
            )
            good = made.to_dict() == values and all(len(each) in (0, classes) for each in (made.names, made.colors))
            texts = (made.licence, made.source, made.judged)
            good = good and all(isinstance(text, str) and len(text) < _LONGEST for text in texts)
            good = good and len(set(made.names)) == len(made.names)
        except (AttributeError, TypeError, ValueError):
            good, made = False, None
        if made is None or not good:
            raise InputError(f"what it says about itself, {quoted(values)}, cannot be used")
        return made

    def called(self, classes: Sequence[int] | np.ndarray) -> tuple[str, ...]:
        """Return the name of each class, by its number where it has no other."""
        return self.names or tuple(f"label {label}" for label in classes)


def _color(value: Any) -> tuple[int, int, int]:
    red, green, blue = value
    if not all(type(part) is int and 0 <= part <= 255 for part in value):
        raise ValueError
    return red, green, blue
