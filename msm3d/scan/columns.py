"""The names that programs give to a point's columns, for every format whose columns have names."""

from collections.abc import Iterable, Mapping

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
    found = {
        field: np.stack([columns[name] for name in names], axis=1) if len(names) > 1 else columns[names[0]]
        for field, names in chosen(columns).items()
    }
    if "color" in found:
        return found
    known = {name.lower(): name for name in columns}
    packed = next((columns[known[name]] for name in ("rgb", "rgba") if name in known), None)
    if packed is not None and packed.ndim == 1 and packed.dtype.itemsize >= 4:
        found["color"] = unpacked(packed, text)
    elif all(name in known for name in _HARMONICS):
        flat = np.stack([columns[known[name]] for name in _HARMONICS], axis=1)
        with np.errstate(all="ignore"):
            found["color"] = ((0.5 + _ZEROTH * flat.astype(np.float64)).clip(0, 1) * 255).astype(np.float32)
    return found


def unpacked(values: np.ndarray, text: bool = False) -> np.ndarray:
    """Return the colours (n, 3), 0-255, that numbers of 32 bits hold as 0xAARRGGBB, or floats with these bits.

    >>> unpacked(np.array([0x966946])).tolist()
    [[150, 105, 70]]

    Of `text`, whole numbers from 256 on are no bits of a float, and every NaN has lost its bits. The colours are uint8;
    or float32 with NaN for those that are not there: a NaN that carries none.
    """
    unknown = None
    if values.dtype.kind == "f":
        unknown = np.isnan(values)
        if not text:  # a NaN may well be a colour, with an alpha of 255; that of arithmetic is none
            unknown &= np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) == _NOTHING
        known = np.where(unknown, 0, values)
        whole = text and bool(((known == np.floor(known)) & (np.abs(known) < 1 << 32)).all())
        if whole and np.abs(known).max(initial=0) >= 256:
            values = known.astype(np.int64)
        else:
            with np.errstate(all="ignore"):
                values = np.ascontiguousarray(known, dtype=np.float32).view(np.uint32)
    bits = values.astype(np.int64)
    color = np.stack([bits >> shift & 255 for shift in (16, 8, 0)], axis=1)
    if unknown is None or not unknown.any():
        return color.astype(np.uint8)
    return np.where(unknown[:, None], np.nan, color).astype(np.float32)
