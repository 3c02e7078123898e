"""E57, through pye57 (the extra `e57`): all scans of a file, each where its pose puts it."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError
from ..scan.attributes import compact
from ..scan.columns import fill
from ..scan.options import ReadOptions
from . import guard, limits, stations

SUFFIXES = (".e57",)
TITLE = "E57"
NOTE = "all scans, each with its viewpoint"
EXTRA = "e57"
NEEDS = {"pye57": "E57 files"}

_RGB = ("colorRed", "colorGreen", "colorBlue")
_NOWHERE = [1, 0, 0, 0, 0, 0, 0]  # the pose that clouds without one are written with
_FEW = 0.01  # a share of colours above the file's own limits from which these cannot be right


def content(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the points' arrays by field name, in metres: that is what the format says."""
    if find_spec("pye57") is None:
        import pye57  # noqa: F401  # it is missed here and not in the child
    request = {"kind": "e57", "file": str(file)}
    parts = [_scan(*table) for table in guard.tables(request, file.stat().st_size)]
    if not parts:
        raise FileError("holds no scan with points; there is nothing to read.")
    return {**stations.joined(parts), "units": "m", "own": True}


def _scan(
    about: dict[str, Any], types: dict[str, str], count: int, pieces: Iterable[list[np.ndarray]]
) -> stations.Part:
    """Return one scan in the frame of the file; a point is invalid where its state is not 0 [ASTM E2807, 8.4.4]."""
    limits.fits(count * 8 * len(types), f"declares {count} points")
    names, color = list(types), None
    coord = np.empty((count, 3), order="F")
    columns = dict(zip(names, coord.T, strict=False))
    if "colorRed" in types:
        color = np.empty((count, 3), np.result_type(*(types[name] for name in _RGB)))
        columns |= dict(zip(_RGB, color.T, strict=True))
    columns |= {name: np.empty(count, kind) for name, kind in types.items() if name not in columns}
    fill(list(columns.items()), (dict(zip(names, piece, strict=True)) for piece in pieces))
    if names[0] != "cartesianX":
        coord = _cartesian(*coord.T)
    for state in (columns[name] for name in ("cartesianInvalidState", "sphericalInvalidState") if name in columns):
        coord[state != 0] = np.nan
    place, turn = np.array(about["pose"][4:]), _matrix(np.array(about["pose"][:4]))
    known = about["grid"] or about["pose"] != _NOWHERE
    if about["pose"] != _NOWHERE:
        coord = coord @ turn.T + place
    if color is not None:
        color = _color(about["range"], color, columns.get("isColorInvalid"))
    return stations.Part(coord, color, place if known else None)


def _cartesian(reach: np.ndarray, azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Return x, y and z (n, 3); the elevation counts from the horizontal plane.

    >>> _cartesian(np.array([2.0]), np.array([np.pi / 2]), np.array([0.0])).round(9).tolist()
    [[0.0, 2.0, 0.0]]
    """
    flat = reach * np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), reach * np.sin(elevation)], axis=1)


def _matrix(quaternion: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) of a quaternion w, x, y, z of any length.

    >>> (_matrix(np.array([1.0, 0, 0, 1.0])) @ [1, 0, 0]).round(9).tolist()
    [0.0, 1.0, 0.0]
    """
    length = np.linalg.norm(quaternion)
    if not np.isfinite(length) or length == 0:
        raise FileError("has a scan whose pose is not a rotation and a translation; export it again.")
    w, x, y, z = quaternion / length
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * (w * cross + cross @ cross)


def _color(ends: list[float] | None, color: np.ndarray, invalid: np.ndarray | None) -> np.ndarray:
    """Return the colours (n, 3), 0-255 by the file's own limits; as they are where it has none that can be right."""
    if color.dtype == np.uint8 and ends == [0, 255] and (invalid is None or not invalid.any()):
        return color
    color = color.astype(np.float64)
    if invalid is not None:
        color[invalid != 0] = np.nan
    if ends is None or np.count_nonzero(color > ends[1]) > _FEW * color.size:
        return color.astype(np.float32)
    low, high = ends
    return compact(np.clip((color - low) * (255 / (high - low)), 0, 255).astype(np.float32))
