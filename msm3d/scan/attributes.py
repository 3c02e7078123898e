"""What each part of a scan may hold: one rule for every attribute, by which what is there but empty is missing."""

import sys
from typing import Any

import numpy as np

from .._util.words import either, option, warn
from ..errors import InputError
from .plausible import UPS

GREY = 127.5  # the colour of points without one: 0 on the network's scale of -1 to 1
_ROWS = 1 << 14  # at a time: what is computed of them stays in a core's cache
_FEW = 0.01  # a share below which values are strays that decide nothing


def is_tensor(value: Any) -> bool:
    """Whether a value is torch's; torch, which takes seconds, is not imported to find out.

    >>> is_tensor(np.zeros(3))
    False
    """
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)  # None, too, where torch may not be imported
    return tensor is not None and isinstance(value, tensor)


def array(name: str, value: Any) -> np.ndarray:
    """Return `value` as an array of any type, which may share memory with it; fails where numpy sees no values."""
    if is_tensor(value):
        import torch

        if value.layout != torch.strided:
            raise InputError(f"{name} is a sparse tensor; give {name}.to_dense().")
        narrow = value.is_floating_point() and value.dtype not in (torch.float16, torch.float32, torch.float64)
        try:
            value = (value.float() if narrow else value).numpy(force=True)  # which resolves lazy negation and zeros
        except (TypeError, RuntimeError) as error:
            kind = f"{str(value.dtype).removeprefix('torch.')} tensor on {value.device}"
            raise InputError(f"{name} is a {kind} without plain numbers; give floats on a CPU or GPU.") from error
    masked = "numpy.ma" in sys.modules and isinstance(value, np.ma.MaskedArray)  # which numpy imports late, as well
    if masked and np.ma.getmaskarray(value).any():
        raise InputError(f"{name} is a masked array; give {name}.astype(float).filled(np.nan), and rows are left out.")
    try:
        return np.asarray(value)
    except Exception:  # rows of different lengths, or an object that fails in numpy's hands
        return np.empty(0, dtype=object)


def numbers(name: str, value: Any) -> np.ndarray:
    """Return `value` as a real-valued array; may share memory with it."""
    found = array(name, value)
    if found.dtype.kind not in "iuf":
        kind = found.dtype
        raise InputError(f"{name} has dtype {kind}; give integers or floats, for example {name}.astype(np.float64).")
    return found


def vectors(name: str, value: Any, widths: tuple[int, ...] = (3,)) -> np.ndarray:
    """Return `value` as a real-valued array (n, 3), without the columns after the third."""
    found = numbers(name, value)
    if found.ndim != 2 or found.shape[1] not in widths:
        raise InputError(f"{name} has shape {found.shape}; give (n, 3), one row per point.")
    return found[:, :3]


def turned(found: np.ndarray, up: str, scale: float | None = None) -> np.ndarray:
    """Return a copy with z up, each axis on its own: what follows goes through one axis after another.

    With `scale` it is float64, and multiplied by that.
    """
    kind = found.dtype if scale is None else np.dtype(np.float64)
    result = np.empty(found.shape, dtype=kind, order="F")
    for to, (axis, sign) in enumerate(zip(*UPS[up], strict=True)):
        np.multiply(found[:, axis], sign * (1 if scale is None else scale), out=result[:, to], dtype=kind)
    return result


def finite(values: np.ndarray) -> bool:
    """Whether no value is NaN or infinite: their sum tells where it is finite, without an answer for each."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(values.sum())) or bool(np.isfinite(values).all())


def placed(coord: np.ndarray, known: bool | None = None) -> tuple[np.ndarray | None, str]:
    """Return the rows (k,) of the points that have a position, None for all, and in words what the others have.

    A position is missing where it is not finite, and where more than 1 % of the points are at exactly (0, 0, 0):
    depth cameras and scanners write that for no return. One point at the origin is a point. `known` is whether all are
    finite, where that is known.

    >>> placed(np.array([[0, 0, 0], [np.nan, 1, 1]]))
    (array([0]), 'NaN')
    """
    bad, why = np.zeros(len(coord), dtype=bool), []
    if coord.dtype.kind == "f" and not (finite(coord) if known is None else known):
        bad |= ~np.isfinite(coord).all(1)
        why.append("NaN")
    zero = coord[:, 0] == 0
    if len(coord) >= 100 and np.count_nonzero(zero) > _FEW * len(coord):
        zero &= (coord[:, 1] == 0) & (coord[:, 2] == 0)
        if np.count_nonzero(zero) > _FEW * len(coord):
            bad |= zero
            why.append("exactly 0, 0, 0")
    return (np.flatnonzero(~bad), " or ".join(why)) if why else (None, "")


def within(coord: np.ndarray, bounds: Any, up: str = "z", scale: float = 1.0) -> np.ndarray:
    """Return the rows (k,) of the points inside of two corners, which are in metres with z up; some at least.

    >>> within(np.array([[0, 0, 0], [500, -900, 20]]), ((0, 0, 0), (1, 1, 1)), "y", 0.01).tolist()
    [0]
    """
    there = np.ones(len(coord), dtype=bool)
    spans = []
    for axis, low, high in zip(range(3), *bounds, strict=True):  # each on its own: a large scan is not copied
        old, sign = UPS[up][0][axis], UPS[up][1][axis] * scale
        values = np.multiply(coord[:, old], sign, dtype=np.float64)
        there &= (values >= low) & (values <= high)
        spans.append(f"{'xyz'[axis]} {values.min(initial=np.inf):.2f} to {values.max(initial=-np.inf):.2f}")
    if not there.any():
        raise InputError(f"no point lies within {option('bounds')}, of {', '.join(spans)} m; give others.")
    return np.flatnonzero(there)


def colors(found: np.ndarray) -> np.ndarray | None:
    """Return colours (n, 3) as float32 of 0 to 255, or None where they are there but empty.

    >>> colors(np.array([[0, 0.5, 1.0]])).tolist(), colors(np.array([[0, 257, 65535]], np.uint16)).tolist()
    ([[0.0, 127.5, 255.0]], [[0.0, 1.0, 255.0]])
    """
    found = vectors("color", found, (3, 4))
    with np.errstate(over="ignore"):  # too large for a float32 is as unknown as infinite
        color = found.astype(np.float32)
    unknown = None
    if found.dtype.kind == "f" and not finite(color):
        unknown = ~np.isfinite(color).all(1)
        color[unknown] = 0
    if len(color) and not (found if found.dtype == np.uint8 else color).any():
        warn("the colours are there but empty, all of them black or NaN: they count as missing.")
        return None
    if found.dtype == np.uint8:
        return color
    values = found if found.dtype.kind in "iu" and found.dtype.itemsize == 2 else color  # with less to look at
    least, largest = float(values.min(initial=0)), float(values.max(initial=0))
    top = _top(found, values, least, largest)
    if least < -0.001 * top or largest > 1.001 * top:
        outside = ((color < 0) | (color > top)).any(1)
        warn(f"{_of(outside, 'colours', 'lies', 'lie')} outside 0 to {top}, which is clipped.")
    if least < 0 or largest > top:
        np.clip(color, 0, top, out=color)
    if top != 255:
        color *= np.float32(255 / top)
    if unknown is not None:
        color[unknown] = GREY
        warn(f"{_of(unknown, 'points')} no colour (NaN or infinite), neutral grey is used there.")
    return color


def compact(color: np.ndarray) -> np.ndarray:
    """Return colours 0-255 as bytes where nothing is lost, or where so dark a scan would be taken for one within 0-1.

    >>> compact(np.array([[0.0, 128, 255]])).dtype.name, compact(np.array([[0.5, 128, 255]])).dtype.name
    ('uint8', 'float64')
    """
    whole = np.rint(color)
    return whole.astype(np.uint8) if np.array_equal(whole, color) or np.quantile(color, 0.9) <= 1 else color


def _top(found: np.ndarray, values: np.ndarray, least: float, largest: float) -> int:
    """Return the largest value of the scale that colours are on: 1, 255 or 65535, by their type and 99 % of them.

    Black says nothing of the scale: where few points have a colour, these few decide. `values` are those of `found`
    that are known, else 0, and from `least` to `largest`.
    """
    strays = _FEW * np.count_nonzero(values)

    def most(bound: float) -> bool:
        return largest <= bound or bool(np.count_nonzero(values > bound) <= strays)

    counts = found.dtype.kind in "iu"
    whole = counts or (largest > 1 and bool((values == np.rint(values)).all()))
    slack = 256 / 255 if whole else 2  # 256 is what rounding makes of white; what is interpolated or lit overshoots
    if not counts and most(2) and not whole:
        top = 1
    else:
        top = next((top for top in (255, 65535) if found.dtype.itemsize == 1 or most(slack * top)), 0)
    border = 0 if counts else -0.25 * (top or 255)
    below = np.count_nonzero(values < border) if least < border else 0
    if not top or below > (0 if found.dtype.itemsize == 1 else strays):
        bad = ((values > 65535) if not top else values < border).any(1)
        first = ", ".join(f"{value:g}" for value in found[bad.argmax()])
        cure = "(color + 1) * 127.5" if top else "255 * color / color.max()"
        cure = "color.view(np.uint8)" if found.dtype == np.int8 else cure
        raise InputError(
            f"color has {rows(bad)} outside 0 to {top or 65535} (first: row {bad.argmax()}, {first}); "
            f"give 0-255, or floats within 0-1{either(f', for example {cure}', '')}."
        )
    cure = either("pass color= within 0-255", "write them as 0-255")
    if top == 65535 and counts and most(4095):
        warn(f"the colours reach {largest:g} of 65535, which is nearly black; if they are of fewer bits, {cure}.")
    elif top == 65535 and found.dtype != np.uint16:
        warn(f"the colours reach {largest:g}, so they are taken as 16 bits and divided by 257; if not so, {cure}.")
    if top == 1 and len(values) and most(1.001 / 255):
        cure = either("pass color= times 255", "write them as 0-255")
        warn(f"the colours are at most {largest:.2g}, as if divided by 255 twice; if so, {cure}.")
    return top


def normals(found: np.ndarray, up: str) -> np.ndarray | None:
    """Return normals (n, 3) as float32 of unit length, zeros where unknown; None where they are there but empty.

    >>> normals(np.array([[0, 0, 2], [np.nan, 0, 0]]), "z").tolist()
    [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    found = vectors("normal", found)
    result, known = np.empty(found.shape, dtype=np.float32, order="F"), False
    for start in range(0, len(found), _ROWS):
        part = slice(start, start + _ROWS)
        with np.errstate(over="ignore", invalid="ignore"):  # a NaN that signals is a NaN
            normal = turned(found[part], up, 1.0)
            length = np.linalg.norm(normal, axis=1, keepdims=True)
        good = np.isfinite(length) & (length > 0)
        known |= bool(good.any())
        result[part] = np.divide(normal, length, out=np.zeros_like(normal), where=good)
    if len(found) and not known:
        warn("the normals are there but empty, all of them 0 or NaN: they count as missing.")
        return None
    return result


def labels(name: str, found: np.ndarray) -> np.ndarray | None:
    """Return labels (n,) as int64, -1 where unknown; None where they are no labels. No label is needed, so it warns.

    >>> labels("segment", np.array([[3.0], [4.0]])).tolist()
    [3, 4]
    """
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise InputError(f"{name} has shape {found.shape}; give (n,), one row per point.")
    if found.dtype.kind not in "iufb":
        warn(f"{name} is {found.dtype}, no numbers: it is left out.")
        return None
    if found.dtype.kind != "f":
        return found.astype(np.int64)
    unknown = ~np.isfinite(found)
    found = np.where(unknown, -1, found)
    strange = (np.rint(found) != found) | (np.abs(found) >= 2.0**62)
    if strange.any() or (len(found) and unknown.all()):
        example = "NaN" if unknown.all() else f"{found[strange][0]:g}"
        warn(f"{name} has values that are no whole numbers, such as {example}: it is left out.")
        return None
    if unknown.any():
        warn(f"{_of(unknown, 'points')} no {name} (NaN or infinite), which becomes -1.")
    return found.astype(np.int64)


def _of(some: Any, what: str, one: str = "has", more: str = "have") -> str:
    """Return "3 of 14,000 points have"."""
    count = np.count_nonzero(some)
    return f"{count:,} of {len(some):,} {what} {one if count == 1 else more}"


def rows(bad: Any) -> str:
    """Return "3 rows"."""
    count = int(bad.sum())
    return f"{count} row" if count == 1 else f"{count} rows"
