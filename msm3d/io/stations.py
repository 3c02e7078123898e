"""Scans from several places that lie in one file: one cloud, in which each point has its station."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Part:
    """What was measured from one place."""

    coord: np.ndarray  # (n, 3) float64, NaN where nothing came back
    color: np.ndarray | None  # (n, 3), 0-255
    place: np.ndarray | None  # (3,), where the scanner stood, if the file knows


def joined(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the fields of all parts, in their order; of those without colour it is NaN where others have one.

    >>> one, two = (Part(np.eye(3) + i, None, np.full(3, float(i))) for i in range(2))
    >>> fields = joined([one, two])
    >>> sorted(fields), fields["station"].tolist()
    (['coord', 'station', 'viewpoint'], [0, 0, 0, 1, 1, 1])
    """
    if len(parts) == 1:  # no copy
        [one] = parts
        place = None if one.place is None else one.place[None]
        fields = {"coord": one.coord, "color": one.color, "viewpoint": place}
        return {name: value for name, value in fields.items() if value is not None}
    found: dict[str, Any] = {"coord": np.concatenate([part.coord for part in parts])}
    if any(part.color is not None for part in parts):
        found["color"] = np.concatenate(
            [np.full(part.coord.shape, np.nan, np.float32) if part.color is None else part.color for part in parts]
        )
    places = [part.place for part in parts if part.place is not None]
    if places:
        found["viewpoint"] = np.stack(places)
    if places and len(parts) > 1:
        known = np.array([part.place is not None for part in parts])
        numbers = np.where(known, known.cumsum() - 1, -1)
        found["station"] = np.repeat(numbers, [len(part.coord) for part in parts])
    return found
