"""Maps of features: made of an image or given, checked, and read at places of a picture."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..errors import InputError, quoted
from .view import View, of_frame, plain

_ASPECT = 2.0  # by how much a map's proportions may differ from the picture's: networks crop and pad


def maps(views: Iterable[View], features: Any) -> Iterator[tuple[View, Callable[[], np.ndarray]]]:
    """Yield each view with what returns its map (h, w, c), which is made only where it is called.

    `features` is a function of an image (h, w, 3) uint8, an iterable with a map for each view, or None where the views
    have their own. The maps that are called must have the same number of channels.
    """
    given = iter(features) if isinstance(features, Iterable) and not callable(features) else None
    if features is not None and given is None and not callable(features):
        raise InputError(
            f"features is {quoted(features)}; give a function of an image, a map (h, w, c) for each frame, or None."
        )
    width: list[int] = []
    for number, view in enumerate(views):
        with of_frame(number):
            held = view.features if given is None else next(given, None)
            if given is not None and held is None:
                raise InputError(f"has no map, features has {number}; give one for each frame.")
            if features is None and held is None:
                raise InputError("has no features; give each view a map (h, w, c), or pass features=.")
            if callable(features) and view.image is None:
                raise InputError("has no image, of which features= could make a map; give each view one.")

        def made(number: int = number, view: View = view, held: Any = held) -> np.ndarray:
            with of_frame(number):
                found = _checked(features(view.image) if callable(features) else held, view)
                if width and found.shape[2] != width[0]:
                    raise InputError(
                        f"features has {found.shape[2]} channels, the frames before have {width[0]}; give maps of one "
                        "network."
                    )
            width[:] = [found.shape[2]]
            return found

        yield view, made
    if given is not None and next(given, None) is not None:
        raise InputError("features has more maps than there are frames; give one for each frame.")


def read(found: np.ndarray, place: np.ndarray, rounded: bool) -> np.ndarray:
    """Return the values (k, c) of a map (h, w, c) at places (k, 2): column and row as shares of the picture's size.

    Between pixel centres they are bilinear, beyond the outermost ones those of the edge; or those of the nearest pixel.

    >>> ramp = np.array([[[0.0], [10.0]]])
    >>> read(ramp, np.array([[0.25, 0.5], [0.5, 0.5], [1.0, 0.5]]), rounded=False).ravel().tolist()
    [0.0, 5.0, 10.0]
    """
    high, wide, _ = found.shape
    at = np.clip(place * (wide, high) - 0.5, 0, (wide - 1, high - 1))
    if rounded:
        column, row = np.rint(at).astype(np.int64).T
        return found[row, column]
    low = np.floor(at).astype(np.int64)
    part = (at - low).astype(found.dtype)
    (left, top), (right, bottom) = low.T, np.minimum(low + 1, (wide - 1, high - 1)).T
    across, down = part[:, :1], part[:, 1:]
    above = found[top, left] * (1 - across) + found[top, right] * across
    below = found[bottom, left] * (1 - across) + found[bottom, right] * across
    return above * (1 - down) + below * down


def _checked(given: Any, view: View) -> np.ndarray:
    found: np.ndarray
    try:
        found = np.asarray(plain(given))
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.ndim != 3 or found.dtype.kind not in "iufb" or not found.size:
        raise InputError(f"features has shape {np.shape(given)}; give (h, w, c) numbers, one row for each of pixels.")
    assert view.size is not None
    high, wide = view.size if view.image is None else view.image.shape[:2]
    ratio = (found.shape[1] / found.shape[0]) / (wide / high)
    if not 1 / _ASPECT <= ratio <= _ASPECT:
        raise InputError(
            f"features has shape {found.shape} for a picture of {high} x {wide} pixels; give (h, w, c), channels last."
        )
    found = found if found.dtype == np.float64 else found.astype(np.float32)
    if not np.isfinite(found).all():
        raise InputError("features has NaN or infinity; give finite numbers.")
    return found
