"""PointCloud: metres, z up, colours 0-255, unit normals. User data is checked here, once; knows no file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from typing import Any

import numpy as np

from .._util.words import count, either, option, warn
from ..errors import InputError
from . import attributes
from .objects import LABELS, parts, scenes
from .options import ReadOptions
from .plausible import UNITS, corners, doubt, require_extent

# The fields of three numbers a row, with the type of these, and those of a whole number for each point.
_VECTORS = {"coord": np.float64, "color": np.float32, "normal": np.float32, "viewpoint": np.float64}
_NUMBERS = (*LABELS, "rows")


@dataclass(frozen=True, kw_only=True, eq=False, slots=True, repr=False)
class PointCloud:
    """One scan, checked. Build it with `PointCloud.of`, which converts users' data; the constructor only checks.

    >>> cloud = PointCloud.of(np.array([[0, 0, 0, 255, 0, 0], [1, 2, 3, 0, 255, 0]]))
    >>> len(cloud), cloud.coord.dtype.name, cloud.color.tolist(), cloud.normal
    (2, 'float64', [[255.0, 0.0, 0.0], [0.0, 255.0, 0.0]], None)

    Raises:
        InputError: a field has the wrong shape, dtype or length, or a value that is not finite or out of range.
    """

    coord: np.ndarray
    """(n, 3) float64, metres, z up."""
    color: np.ndarray | None = None
    """(n, 3) float32, 0 to 255; None where the scan has no colour."""
    normal: np.ndarray | None = None
    """(n, 3) float32, unit length, or zeros where unknown; None where the scan has no normals."""
    segment: np.ndarray | None = None
    """(n,) integers, the class of each point."""
    instance: np.ndarray | None = None
    """(n,) integers, the object of each point."""
    rows: np.ndarray | None = None
    """(n,) int64, the row of the file, or array, that each point came from; None when every row was kept."""
    total: int | None = None
    """Rows of the file or array, where `extract` gives one to each, NaN for those that are not in `rows`; else None."""
    viewpoint: np.ndarray | None = None
    """(k, 3) float64, metres, z up: the places that the points were measured from; None where nobody says."""
    station: np.ndarray | None = None
    """(n,) integers, the row of `viewpoint` that each point was measured from (E57 calls it scan, LAS point source), -1
    where unknown; None where there is one, or nobody says."""

    def __post_init__(self) -> None:
        self._require_structure()
        self._require_finite()
        if self.color is not None and not (self.color.min() >= 0 and self.color.max() <= 255):
            bad = ~((self.color >= 0) & (self.color <= 255)).all(1)
            worst = ", ".join(f"{value:g}" for value in self.color[bad.argmax()])
            raise InputError(
                f"color has {attributes.rows(bad)} outside 0 to 255 (first: row {bad.argmax()}, {worst}); "
                "build the cloud with PointCloud.of, which knows other scales."
            )
        if self.normal is not None and not attributes.finite(self.normal):
            raise InputError("normal has NaN or infinity; build the cloud with PointCloud.of, which zeroes them.")

    def _require_finite(self) -> None:
        if not attributes.finite(self.coord):
            bad = ~np.isfinite(self.coord).all(1)
            raise InputError(
                f"coord has {attributes.rows(bad)} with NaN or infinity (first: row {bad.argmax()}); "
                "build the cloud with PointCloud.of, which leaves them out."
            )

    def _require_structure(self) -> None:
        """Check all but the values of each point, which need not be looked at where they have just been made."""
        n = len(self.coord)
        for name in (*_VECTORS, *_NUMBERS):
            self._require_shape(name, n)
        if n == 0:
            raise InputError("there are no points (coord has 0 rows); give at least one.")
        if self.rows is not None and self.total is not None:
            _require_within("rows", self.rows, 0, self.total, f"total is {self.total}; give rows from 0 to total - 1")
        if self.viewpoint is None:
            return
        places = len(self.viewpoint)
        if not places or not np.isfinite(self.viewpoint).all():
            raise InputError("viewpoint is empty, or has NaN or infinity; give metres, or leave it out.")
        if self.station is not None:
            cure = f"viewpoint has {places} rows; give each point its row from 0 on, or -1 where unknown"
            _require_within("station", self.station, -1, places, cure)
        elif places > 1:
            raise InputError(f"viewpoint has {places} rows; give station (n,), the row that each point was seen from.")

    def _require_shape(self, name: str, n: int) -> None:
        value, vector = getattr(self, name), name in _VECTORS
        if value is None:
            return
        if not isinstance(value, np.ndarray) or value.ndim != 1 + vector or value.shape[1:] != (3,) * vector:
            needed = "(k, 3), a row for each place" if name == "viewpoint" else "(n, 3)" if vector else "(n,)"
            row = "" if name == "viewpoint" else ", one row per point"
            raise InputError(f"{name} has shape {np.shape(value)}; give {needed}{row}.")
        if len(value) != n and name != "viewpoint":
            raise InputError(f"{name} has {len(value)} rows, coord has {n}; give one row per point.")
        if not np.issubdtype(value.dtype, _VECTORS.get(name, np.integer)):
            raise InputError(f"{name} has dtype {value.dtype}; build the cloud with PointCloud.of.")

    def __len__(self) -> int:
        return len(self.coord)

    def __repr__(self) -> str:
        """Say how much there is of what.

        >>> PointCloud.of(np.array([[0, 0, 0], [3, 4, 2.5]]), color=[[9, 9, 9]] * 2)
        PointCloud: 2 points, colour, no normals, 3.0 x 4.0 x 2.5 m
        """
        held = ["colour" if self.color is not None else "no colour"]
        held += ["normals" if self.normal is not None else "no normals"]
        held += ["labels"] if self.segment is not None else []
        spans = " x ".join(f"{span:.1f}" for span in self.coord.max(0) - self.coord.min(0))
        return f"PointCloud: {count(len(self), 'point')}, {', '.join(held)}, {spans} m"

    @classmethod
    def of(
        cls,
        points: Any,
        *,
        color: Any = None,
        normal: Any = None,
        up: str = "z",
        units: str = "m",
        invalid: str = "drop",
        spacing: float = 0.02,
        bounds: Any = None,
    ) -> "PointCloud":
        """Check and convert what users have; their arrays are copied, never changed.

        >>> PointCloud.of(np.array([[0, 0, 2500.0]]), color=[[0.5, 0.5, 0.5]], units="mm").coord.tolist()
        [[0.0, 0.0, 2.5]]
        >>> PointCloud.of(np.zeros((4, 2)))
        Traceback (most recent call last):
        msm3d.errors.InputError: points has shape (4, 2); give (n, 3) xyz, (n, 6) xyz+rgb or (n, 9) xyz+rgb+normal.

        Args:
            points: an (n, 3 | 6 | 9) array or tensor of xyz, rgb, normal; an array of records with x, y and z; a
                dictionary with the keys coord, color, normal, segment, instance, viewpoint, station (other names are
                in `msm3d.scan.objects.NAMES`); a PointCloud; or an object of Open3D, trimesh, laspy or pyvista.
            color: (n, 3), or (n, 4) with alpha, which is dropped; replaces those of `points`. Bytes are 0-255; of wider
                integers and of floats 99 % of the values say whether they are 0-1, 0-255 or 16 bits. Colours that are
                all black count as missing, single ones of NaN become neutral grey.
            normal: (n, 3), made unit length here; replaces those of `points`. Rows with NaN become zeros, which is
                "unknown", and normals that are all unknown count as missing.
            up: the axis of the data that points up: "z", "y" or "-y". Coordinates and normals are turned.
            units: of the coordinates: "m", "cm", "mm", "ft" or "in".
            invalid: of points without a position, which are left out: "drop" warns, "nan" has `extract` give them NaN.
            spacing: metres that the coordinates must be able to tell apart: the voxels that they are for.
            bounds: two corners (2, 3), metres and z up, the lower one first; points outside are left out.

        Returns:
            The cloud in metres with z up; a PointCloud passes through, changed only by the other arguments. `rows` say
            which points are in it, where some had no position (NaN, infinite, or over 1 % of all at exactly (0, 0, 0))
            or lay outside.

        Raises:
            InputError: something has the wrong kind, shape, dtype or length, or there are no points.

        Warns:
            Msm3dWarning: points were left out; something is empty; a scale was guessed or values clipped; labels are no
                labels; or the extent, the precision or the axes of the coordinates cannot be right.
        """
        options = ReadOptions(up=up, units=units, invalid=invalid, spacing=spacing, bounds=bounds)  # which checks them
        replaced = {name: value for name, value in (("color", color), ("normal", normal)) if value is not None}
        if isinstance(points, PointCloud):
            cloud = points._with(replaced, options)
            return cloud if bounds is None else cloud._cropped(options)
        return cls._converted({**parts(points), **replaced}, options)

    @classmethod
    def _converted(cls, given: Mapping[str, Any], options: ReadOptions, own: bool = False) -> "PointCloud":
        """Check and convert arrays by field name as `of` does; coordinates that are `own` need no copy.

        Those are float64 with one axis after another in memory, and nobody else has them.
        """
        up, units = options.up or "z", options.units or "m"
        raw = attributes.vectors("coord", given["coord"])
        several = len(raw) and ("offset" in given or "batch" in given)
        if several and len(apart := scenes(given, len(raw))) > 1:
            cure = either("give extract the arrays as a dictionary, or as a list", "save each as a file of its own")
            key = "offset" if "offset" in given else "batch"
            raise InputError(f"the points are {len(apart)} scenes by their {key}, where one is needed; {cure}.")
        n, whole = len(raw), raw
        own = own and raw.dtype == np.float64 and raw.flags.f_contiguous and n > 0 and (units, up) == ("m", "z")
        ends = corners(raw) if own else None
        rows, why = attributes.placed(raw, None if ends is None else bool(np.isfinite(ends).all()))
        if rows is not None:
            _tell(rows, n, why, options.invalid)
            raw = raw[rows]
        if options.bounds is not None:
            there = attributes.within(raw, options.bounds, up, UNITS[units])
            rows, raw = there if rows is None else rows[there], raw[there]

        def left(name: str) -> np.ndarray:
            value = attributes.array(name, given[name])
            return value[rows] if rows is not None and value.shape[:1] == (n,) else value

        own = own and raw is whole  # and not some of it
        held: dict[str, Any] = {"coord": raw if own else attributes.turned(raw, up, UNITS[units])}
        if "color" in given:
            held["color"] = attributes.colors(left("color"))
        if "normal" in given:
            held["normal"] = attributes.normals(left("normal"), up)
        held |= {name: attributes.labels(name, left(name)) for name in LABELS if name in given}
        if "viewpoint" in given:
            places = np.atleast_2d(attributes.numbers("viewpoint", given["viewpoint"]))
            if places.shape[1:] != (3,):
                raise InputError(f"viewpoint has shape {places.shape}; give (k, 3), a row for each place.")
            held["viewpoint"] = attributes.turned(places, up, UNITS[units])
        held |= {"rows": rows, "total": None if rows is None or options.invalid == "drop" else n}
        cloud = object.__new__(cls)
        for one in dataclass_fields(cls):
            object.__setattr__(cloud, one.name, held.get(one.name))
        cloud._require_structure()
        if ends is None or not own:
            ends = corners(cloud.coord)
        if not np.isfinite(ends).all():  # what a long double holds and no float64
            cloud._require_finite()
        require_extent(*ends)
        doubt(cloud.coord, raw, ends, units, up, options.spacing)
        return cloud

    def _with(self, given: Mapping[str, Any], options: ReadOptions) -> "PointCloud":
        """Return this cloud with what is given instead: a value per point, or one per row of where it came from."""
        if options.invalid == "nan" and self.rows is not None and self.total is None:
            raise InputError("the PointCloud has left points out already; make it with invalid='nan', too.")
        up, scale = options.up or "z", UNITS[options.units or "m"]

        def left(name: str) -> np.ndarray:
            value = attributes.array(name, given[name])
            whole = self.rows is not None and value.shape[:1] == (self.total,) != (len(self),)
            return value[self.rows] if whole else value

        held: dict[str, Any] = {"coord": attributes.turned(self.coord, up, scale)}
        if self.viewpoint is not None:
            held["viewpoint"] = attributes.turned(self.viewpoint, up, scale)
        if "color" in given:
            held["color"] = attributes.colors(left("color"))
        if "normal" in given:
            held["normal"] = attributes.normals(left("normal"), up)
        elif self.normal is not None:
            held["normal"] = attributes.turned(self.normal, up)
        return replace(self, **held)

    def _cropped(self, options: ReadOptions) -> "PointCloud":
        there = attributes.within(self.coord, options.bounds)
        rows = there if self.rows is None else self.rows[there]
        total = (self.total or len(self)) if options.invalid == "nan" else None
        return replace(self.take(there), rows=rows, total=total)

    def take(self, rows: np.ndarray) -> "PointCloud":
        """Return some of the points, by their numbers (m,) in a new order or by booleans (n,), with all they have.

        >>> PointCloud.of(np.array([[0, 0, 0], [1, 2, 3]])).take(np.array([False, True])).coord.tolist()
        [[1.0, 2.0, 3.0]]
        """
        held = {name: getattr(self, name) for name in (*_VECTORS, *_NUMBERS) if name != "viewpoint"}
        return replace(self, **{name: value[rows] for name, value in held.items() if value is not None})


def _tell(rows: np.ndarray, n: int, why: str, invalid: str) -> None:
    """Say how many of `n` points have no position, unless that was foreseen; fail if no `rows` are left."""
    if not len(rows):
        raise InputError(f"none of the {n:,} points has a position (all are {why}); check how they were made.")
    if invalid == "nan" and why == "NaN":
        return
    one = n - len(rows) == 1
    have, are, get = ("has", "is", "gets a row") if one else ("have", "are", "get rows")
    fate = f"{get} of NaN" if invalid == "nan" else f"{are} dropped"
    cure = "" if invalid == "nan" else f" To keep a row for every point, pass {option('invalid', 'nan')}."
    warn(
        f"{n - len(rows):,} of {n:,} points {have} no position ({why}) and {fate}, "
        f"which leaves {len(rows):,} in their order.{cure}"
    )


def _require_within(name: str, values: np.ndarray, least: int, end: int, cure: str) -> None:
    first, last = int(values.min()), int(values.max())
    if first < least or last >= end:
        raise InputError(f"{name} are {first} to {last}, {cure}.")
