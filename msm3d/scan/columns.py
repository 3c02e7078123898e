"""The names that programs give to a point's columns, for every format whose columns have names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._util.words import cut
from ..errors import FileError

COLUMNS = {
    "coord": ("x y z",),
    "color": ("red green blue", "r g b", "rf gf bf", "diffuse_red diffuse_green diffuse_blue"),
    "normal": ("nx ny nz", "normal_x normal_y normal_z", "normalx normaly normalz"),
    "segment": ("segment", "label", "class", "classification", "scalar_label"),
    "instance": ("instance", "instance_id", "scalar_instance"),
}
"""For each field, the columns it may consist of; the first that are all there are taken, in any case of letters."""

_HARMONICS = ("f_dc_0", "f_dc_1", "f_dc_2")
_ZEROTH = 0.28209479177387814  # the constant spherical harmonic, 1 / (2 sqrt(pi))
_NOTHING = 0x7FC00000  # the NaN that reading "nan" makes; with an alpha of 255 a colour has the sign as well


def chosen(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the columns that make up each field that there is; fails where x, y and z are not all among them.

    >>> chosen(["X", "Y", "Z", "intensity", "R", "G", "B"])
    {'coord': ['X', 'Y', 'Z'], 'color': ['R', 'G', 'B']}
    """
    known = {name.lower(): name for name in names}
    found = {
        field: [known[part] for part in parts]
        for field, candidates in COLUMNS.items()
        for parts in map(str.split, reversed(candidates))
        if all(part in known for part in parts)
    }
    if "coord" not in found:
        there = cut(", ".join(known.values()) or "nothing", 200)
        raise FileError(f"has the columns {there}; x, y and z are needed.")
    return found


def fields(columns: Mapping[str, np.ndarray], text: bool = False) -> dict[str, np.ndarray]:
    """Return the fields of a cloud, vectors (n, 3) and labels (n,), from columns (n,) by name.

    Colours that one column packs, and those of Gaussian splats, are taken where there are no plain ones. In `text`,
    packed colours may be whole numbers under a float's name.
    """
    groups = _groups({name: np.dtype((values.dtype, values.shape[1:])) for name, values in columns.items()})
    found = {
        field: np.stack([columns[name] for name in names], axis=1) if len(names) > 1 else columns[names[0]]
        for field, names in groups.items()
    }
    return _painted(found, text)


def gathered(
    pieces: Iterable[Any], types: Mapping[str, Any], count: int, more: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Return the fields of a cloud as `fields` does, and the columns `more`, of `count` points that come in pieces.

    A piece has some of the rows of each column by name; it is needed no longer than until the next one. Coordinates
    that are floats become float64, one axis after another, which `PointCloud` may take without a copy.

    >>> piece = np.zeros(2, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("red", "u1")])
    >>> found = gathered([piece, piece], {name: piece.dtype[name] for name in piece.dtype.names}, 4)
    >>> found["coord"].shape, found["coord"].dtype.name
    ((4, 3), 'float64')

    `types` are those of all columns that there are.
    """
    kinds = {name: np.dtype(kind).newbyteorder("=") for name, kind in types.items()}
    groups = _groups(kinds) | {name: [name] for name in more if name in kinds}
    found, targets = dict[str, np.ndarray](), list[tuple[str, np.ndarray]]()
    for field, names in groups.items():
        kind = np.result_type(*(kinds[name] for name in names))
        if field == "coord":
            found[field] = np.empty((count, len(names)), np.float64 if kind == np.float32 else kind, order="F")
        else:
            found[field] = np.empty((count, len(names)) if len(names) > 1 else count, kind)
        targets += zip(names, found[field].reshape(count, len(names), order="A").T, strict=True)
    fill(targets, pieces)
    return _painted(found)


def held(pieces: Iterable[Any], types: Mapping[str, Any], count: int) -> dict[str, np.ndarray]:
    """Return the columns by name, each of its type, of `count` points that come in pieces as for `gathered`."""
    found = {name: np.empty(count, kind) for name, kind in types.items()}
    fill(list(found.items()), pieces)
    return found


def fill(targets: Sequence[tuple[str, np.ndarray]], pieces: Iterable[Any]) -> None:
    """Put the columns of pieces, one after another, into the arrays that are named after them."""
    done = 0
    with np.errstate(all="ignore"):  # a NaN that signals is a NaN
        for piece in pieces:
            size = len(piece[targets[0][0]])
            for name, target in targets:
                target[done : done + size] = piece[name]
            done += size


def _groups(types: Mapping[str, np.dtype]) -> dict[str, list[str]]:
    """Return the columns of each field, and under a name of their own those that colours may be made of."""
    found = chosen(types)
    known = {name.lower(): name for name in types}
    if "color" not in found:
        packed = next((known[name] for name in ("rgb", "rgba") if name in known), None)
        if packed is not None and not types[packed].shape and types[packed].itemsize >= 4:
            found["packed"] = [packed]
        elif all(name in known for name in _HARMONICS):
            found["harmonics"] = [known[name] for name in _HARMONICS]
    return found


def _painted(found: dict[str, np.ndarray], text: bool = False) -> dict[str, np.ndarray]:
    """Put colours in the place of what they are made of."""
    if "packed" in found:
        found["color"] = unpacked(found.pop("packed"), text)
    if "harmonics" in found:
        with np.errstate(all="ignore"):
            light = 0.5 + _ZEROTH * found.pop("harmonics").astype(np.float64)
            found["color"] = (light.clip(0, 1) * 255).astype(np.float32)
    return found


def unpacked(values: np.ndarray, text: bool = False) -> np.ndarray:
    """Return the colours (n, 3), 0-255, that numbers of 32 bits hold as 0xAARRGGBB, or floats with these bits.

    >>> unpacked(np.array([0x966946])).tolist()
    [[150, 105, 70]]

    Of `text`, whole numbers from 256 on are no bits of a float, and every NaN has lost its bits. The colours are uint8;
    or float32 with NaN for those that are not there: a NaN that carries none.
    """
    unknown = None
    if values.dtype.kind == "f" and text:
        unknown = np.isnan(values)
        values = np.where(unknown, 0, values)
        whole = bool(((values == np.floor(values)) & (np.abs(values) < 1 << 32)).all())
        if whole and np.abs(values).max(initial=0) >= 256:
            values = values.astype(np.int64)
    if values.dtype.kind == "f":
        with np.errstate(all="ignore"):
            values = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
        if unknown is None:  # a NaN may well be a colour, with an alpha of 255; that of arithmetic is none
            unknown = values == _NOTHING
    bits = values if values.dtype == np.uint32 else values.astype(np.int64)
    color = np.empty((len(bits), 3), np.uint8)
    for channel, shift in zip(color.T, (16, 8, 0), strict=True):
        channel[:] = (bits >> shift).astype(np.uint8)
    if unknown is None or not unknown.any():
        return color
    return np.where(unknown[:, None], np.nan, color).astype(np.float32)
