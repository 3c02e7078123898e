"""The names that programs give to a point's columns, for every format whose columns have names."""

from collections.abc import Iterable, Mapping

import numpy as np

from ..errors import FileError

COLUMNS = {
    "coord": (("x", "y", "z"),),
    "color": (
        ("red", "green", "blue"),
        ("r", "g", "b"),
        ("rf", "gf", "bf"),
        ("diffuse_red", "diffuse_green", "diffuse_blue"),
    ),
    "normal": (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"), ("normalx", "normaly", "normalz")),
    "segment": (("segment",), ("label",), ("class",), ("classification",), ("scalar_label",)),
    "instance": (("instance",), ("instance_id",), ("scalar_instance",)),
}
"""For each field, the columns it may consist of; the first that are all there are taken, in any case of letters."""


def chosen(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the columns that make up each field that there is.

    >>> chosen(["X", "Y", "Z", "intensity", "R", "G", "B"])
    {'coord': ['X', 'Y', 'Z'], 'color': ['R', 'G', 'B']}

    Raises:
        FileError: x, y and z are not all among them.
    """
    known = {name.lower(): name for name in names}
    found = {
        field: [known[part] for part in parts]
        for field, candidates in COLUMNS.items()
        for parts in reversed(candidates)
        if all(part in known for part in parts)
    }
    if "coord" not in found:
        there = ", ".join(known.values()) or "nothing"
        raise FileError(f"has the columns {there}; x, y and z are needed.")
    return found


def fields(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the fields of a cloud, vectors (n, 3) and labels (n,), from columns (n,) by name."""
    return {
        field: np.stack([columns[name] for name in names], axis=1) if len(names) > 1 else columns[names[0]]
        for field, names in chosen(columns).items()
    }
