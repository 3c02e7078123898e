"""How points are to be understood: what a file or an array cannot say of itself."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from .._util.words import either, option, require_one_of
from ..errors import InputError, quoted
from .plausible import UNITS, UPS

INVALID = ("drop", "nan")
MESHES = ("vertices", "surface")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """How points are to be understood; checked here, before any file is opened.

    >>> ReadOptions(up="-y").up
    '-y'
    >>> ReadOptions(units="metre")
    Traceback (most recent call last):
    msm3d.errors.InputError: units is 'metre'; choose one of m, cm, mm, ft, in.
    """

    up: str | None = None  # the axis that points up: "z", "y" or "-y"; None is what the format says (glTF: y), else z
    units: str | None = None  # "m", "cm", "mm", "ft" or "in"; None is what the format says, else metres
    invalid: str = "drop"  # "drop" leaves out points without a position, "nan" gives them rows of NaN in the result
    mesh: str | None = None  # "vertices", or the "surface", sampled; None: the surface if vertices are far apart
    min_opacity: float | None = None  # of 3D Gaussian splats: less opaque ones are left out, 0 to 1; None keeps all
    spacing: float = 0.02  # metres between the points of a sampled surface: the voxel size of the model they are for
    bounds: Any = None  # two corners in metres, z up: points outside are left out; kept as two tuples, low and high
    topic: str | None = None  # of a ROS bag; None is the only one
    resolution: float | None = None  # of an octree (COPC, EPT): read levels down to points this many metres apart

    def __post_init__(self) -> None:
        for name, good in (("up", UPS), ("units", UNITS), ("invalid", INVALID), ("mesh", MESHES)):
            if getattr(self, name) is not None:
                require_one_of(name, getattr(self, name), list(good))
        if self.min_opacity is not None and not _within(self.min_opacity, 0, 1):
            raise InputError(f"min_opacity is {self.min_opacity!r}; give a number from 0 to 1, such as 0.1.")
        if not _within(self.spacing, 1e-4, 10):
            raise InputError(f"spacing is {self.spacing!r}; give metres, such as 0.02.")
        if self.resolution is not None and not _within(self.resolution, 1e-6, 1e6):
            raise InputError(f"resolution is {quoted(self.resolution)}; give metres, such as 0.05.")
        if self.topic is not None and (not isinstance(self.topic, str) or not self.topic):
            raise InputError(f"topic is {quoted(self.topic)}; give the name of one, such as /points.")
        if self.bounds is not None:
            object.__setattr__(self, "bounds", _corners(self.bounds))


def _within(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and low <= value <= high


def _corners(given: Any) -> tuple[tuple[float, ...], ...]:
    """Return the low and the high corner as plain numbers, so that they can be compared and kept in metadata.

    >>> _corners([[0, 0, float("-inf")], [4, 5, float("inf")]])
    ((0.0, 0.0, -inf), (4.0, 5.0, inf))
    """
    low, high = tuple[float, ...](), tuple[float, ...]()
    try:
        low, high = (tuple(float(value) for value in corner) for corner in given)
        good = len(low) == len(high) == 3 and all(a <= b for a, b in zip(low, high, strict=True))  # no NaN is
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        needed = "give two corners in metres, the lower one first, such as"
        example = either("((0, 0, 0), (4, 5, 2.5))", f"{option('bounds')} 0,0,0,4,5,2.5")
        raise InputError(f"bounds is {quoted(given)}; {needed} {example}.")
    return low, high
