"""E57, through pye57 (the extra `e57`): all scans of a file, each where its pose puts it."""

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError
from ..scan.attributes import compact
from ..scan.options import ReadOptions
from . import guard, stations

SUFFIXES = (".e57",)
TITLE = "E57"
NOTE = "all scans, each with its viewpoint"
EXTRA = "e57"
NEEDS = {"pye57": "E57 files"}

_NOWHERE = [1, 0, 0, 0, 0, 0, 0]  # the pose that clouds without one are written with
_FEW = 0.01  # a share of colours above the file's own limits from which these cannot be right


def content(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the points' arrays by field name, in metres: that is what the format says."""
    import pye57  # noqa: F401  # so that it is missed here and not in the child

    request = {"kind": "e57", "file": str(file)}
    parts = [_scan(about, columns) for about, columns in guard.tables(request, file.stat().st_size)]
    if not parts:
        raise FileError("holds no scan with points; there is nothing to read.")
    return {**stations.joined(parts), "units": "m"}


def _scan(about: dict[str, Any], columns: dict[str, np.ndarray]) -> stations.Part:
    """Return one scan in the frame of the file; a point is invalid where its state is not 0 [ASTM E2807, 8.4.4]."""
    if "cartesianX" in columns:
        coord = np.stack([columns.pop(f"cartesian{axis}") for axis in "XYZ"], axis=1)
    else:
        coord = _cartesian(*(columns.pop(f"spherical{name}") for name in ("Range", "Azimuth", "Elevation")))
    states = [columns[name] for name in ("cartesianInvalidState", "sphericalInvalidState") if name in columns]
    for state in states:
        coord[state != 0] = np.nan
    place, turn = np.array(about["pose"][4:]), _matrix(np.array(about["pose"][:4]))
    known = about["grid"] or about["pose"] != _NOWHERE
    return stations.Part(coord @ turn.T + place, _color(about["range"], columns), place if known else None)


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


def _color(limits: list[float] | None, columns: dict[str, np.ndarray]) -> np.ndarray | None:
    """Return the colours (n, 3), 0-255 by the file's own limits; as they are where it has none that can be right."""
    if "colorRed" not in columns:
        return None
    color = np.stack([columns[f"color{name}"] for name in ("Red", "Green", "Blue")], axis=1)
    if "isColorInvalid" in columns:
        color[columns["isColorInvalid"] != 0] = np.nan
    if limits is None or np.count_nonzero(color > limits[1]) > _FEW * color.size:
        return color.astype(np.float32)
    low, high = limits
    return compact(np.clip((color - low) * (255 / (high - low)), 0, 255).astype(np.float32))
