"""Labels of some of a scan's points in a file of their own, as a person gives them: names, and rows for each.

The file is JSON: `format` ("msm3d-labels"), `version` (1), `scan` (its name), `points` (rows of its file),
`input_hash` (see `scan_hash`; it may be left out) and `labels`, {name: [row, …]}. Rows count from 0 in the order
of the scan's file, and a row has one name at most.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._util.atomic import replacing
from .._util.output_path import output_path
from .._util.words import count, cut, quoted, warn
from ..datasets.classes import IGNORE
from ..errors import FileError, InputError
from ..scan.cloud import PointCloud
from .fingerprint import input_hash

FORMAT, VERSION = "msm3d-labels", 1
SUFFIX = ".json"
_FIELDS = ("format", "version", "scan", "points", "input_hash", "labels")
_LARGEST = 1 << 28  # bytes: some 30 million rows
_MOST = 1 << 40  # points of a scan
_LONGEST_NAME = 80


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Rows of a scan's points by the name of their class.

    >>> labels = Labels.of(4, {"chair": [0, 2], "floor": [3]})
    >>> labels.segment({"floor": 7, "chair": 1}).tolist()
    [1, -1, 1, 7]
    """

    points: int
    """Rows of the scan's file."""
    rows: Mapping[str, np.ndarray]
    """For each name its rows (k,) int64, ascending."""
    scan: str = ""
    """The name of the scan's file."""
    input_hash: str | None = None
    """Of what the labels were given for, as `scan_hash` says it; None where nobody says."""

    @classmethod
    def of(cls, points: int, labels: Any, *, scan: str = "", input_hash: str | None = None) -> "Labels":
        """Check rows by name, as they stand in a file or come from a program.

        Raises:
            InputError: a name or a row cannot be used, or a row is there twice.
        """
        if type(points) is not int or not 0 < points < _MOST:
            raise InputError(f"points is {quoted(points)}; it must be the number of the scan's points.")
        if not isinstance(labels, Mapping) or not labels:
            raise InputError(f"labels is {quoted(labels)}; give rows by name, such as {{'chair': [0, 2]}}.")
        held: dict[str, np.ndarray] = {}
        for given, rows in labels.items():
            if (name := name_of_class(given)) in held:
                raise InputError(f"{name!r} is there twice; put its rows together.")
            held[name] = _rows(name, rows, points)
        every, counts = np.unique(np.concatenate(list(held.values())), return_counts=True)
        if len(twice := every[counts > 1]):
            one, other = [name for name, rows in held.items() if twice[0] in rows][:2]
            raise InputError(f"row {twice[0]} is both {one!r} and {other!r}; leave it with one of them.")
        return cls(points=points, rows=held, scan=scan, input_hash=input_hash)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Labels":
        """Return what a file holds; keys that are unknown are left out with a warning.

        Raises:
            FileError: the file is missing, not JSON, of another program or a newer version, or its rows are not good.
        """
        path = Path(path)
        values = _json(path)
        if values.get("format") != FORMAT:
            raise FileError(f'{path}: has no "format": "{FORMAT}"; give a file of labels of msm3d.')
        if (version := values.get("version")) != VERSION or type(version) is not int:
            newer = type(version) is int and version > VERSION
            cure = "run pip install -U msm3d" if newer else "save it again"
            raise FileError(f"{path}: is of version {quoted(version)}, where {VERSION} is known here; {cure}.")
        if unknown := [cut(key) for key in values if key not in _FIELDS]:
            warn(f"{path}: {', '.join(unknown[:5])} is not known here and is left out.")
        told: dict[str, Any] = {name: values.get(name) for name in ("scan", "input_hash")}
        points: Any = values.get("points")
        for name, value in told.items():
            if value is not None and not isinstance(value, str):
                raise FileError(f"{path}: {name} is {quoted(value)}; it must be text.")
        try:
            told["scan"] = told["scan"] or ""
            return cls.of(points, values.get("labels"), **told)
        except InputError as error:
            raise FileError(f"{path}: {error}") from error

    @classmethod
    def for_scan(cls, cloud: PointCloud, labels: Any, scan: str | os.PathLike[str] = "") -> "Labels":
        """Return labels for all rows that a cloud was read from, with its hash; `labels` are rows by name."""
        return cls.of(rows_of(cloud), labels, scan=Path(scan).name, input_hash=scan_hash(cloud))

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the file, whole or not at all; InputError or FileError where it cannot be written."""
        path = output_path(path, [SUFFIX], "labels")
        values = {"format": FORMAT, "version": VERSION, "scan": self.scan, "points": self.points}
        values |= {} if self.input_hash is None else {"input_hash": self.input_hash}
        values |= {"labels": {name: rows.tolist() for name, rows in self.rows.items()}}
        with replacing(path) as partial:
            partial.write_text(json.dumps(values, ensure_ascii=False) + "\n", encoding="utf-8")
        return path

    def require(self, cloud: PointCloud, name: str) -> None:
        """Raise InputError unless the labels are of a cloud, which is of the scan `name`; warn where it has changed."""
        last = -1 if cloud.rows is None else int(cloud.rows.max())  # who dropped points sees no row after this
        if self.points not in (there := rows_of(cloud), last + 1):
            raise InputError(
                f"the labels are of a scan of {count(self.points, 'point')}, {name} has {there:,}; "
                "give the labels of this scan."
            )
        if self.input_hash is not None and self.input_hash != scan_hash(cloud):
            if self.scan and self.scan != Path(name).name:
                raise InputError(f"the labels are of {self.scan}, not of {name}; give the labels of this scan.")
            warn(f"{name} is not, or was not read, as when it was labelled; check that the rows are still the same.")

    def segment(self, ids: Mapping[str, int]) -> np.ndarray:
        """Return the class (points,) of each row, -1 for none, by the number of each name."""
        found = np.full(self.points, IGNORE, np.int64)
        for name, rows in self.rows.items():
            found[rows] = ids[name]
        return found


def name_of_class(value: Any) -> str:
    """Return the name of a class, or raise InputError where it is no line of text."""
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_NAME or not value.isprintable():
        raise InputError(f"a class is called {quoted(value)}; give it a name in letters, such as 'chair'.")
    return value.strip()


def scan_hash(cloud: PointCloud) -> str:
    """Return the hash of a scan without its labels, so that it stays what it is when it gets some."""
    return input_hash(replace(cloud, segment=None))


def _rows(name: str, rows: Any, points: int) -> np.ndarray:
    """Return the rows of a name, ascending."""
    found = np.asarray(rows) if isinstance(rows, np.ndarray) else None
    if found is None:
        if not isinstance(rows, (list, tuple)) or not all(type(row) is int for row in rows):
            raise InputError(f"the rows of {name!r} are {quoted(rows)}; give whole numbers from 0 on.")
        found = np.array(rows if all(0 <= row < points for row in rows) else [], np.int64)
        worst = next((row for row in rows if not 0 <= row < points), None)
    else:
        if found.dtype.kind not in "iu" or found.ndim != 1:
            raise InputError(f"the rows of {name!r} are {found.dtype} of shape {found.shape}; give (k,) integers.")
        outside = (found < 0) | (found >= points)
        worst = found[outside][0] if outside.any() else None
    if worst is not None:
        raise InputError(f"{name!r} has the row {cut(worst, 40)}, but rows are 0 to {points - 1}; give the right scan.")
    found = np.sort(found.astype(np.int64))
    if len(twice := found[1:][found[1:] == found[:-1]]):
        raise InputError(f"{name!r} has the row {twice[0]} twice; leave it in once.")
    return found


def rows_of(cloud: PointCloud) -> int:
    """Return the rows of the file that a cloud came from; what was dropped after the last point cannot be known."""
    return cloud.total or (len(cloud) if cloud.rows is None else int(cloud.rows.max()) + 1)


def _json(path: Path) -> dict[str, Any]:
    try:
        if (size := path.stat().st_size) > _LARGEST:
            raise FileError(f"{path}: has {size:,} bytes, more than a file of labels; give another file.")
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except FileError:
        raise
    except InputError as error:
        raise FileError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: is not JSON ({cut(error)}); save the labels again.") from error
    except FileNotFoundError as error:
        raise FileError(f"{path}: does not exist; check the path.") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from error
    if not isinstance(values, dict):
        raise FileError(f"{path}: holds {quoted(values)}; give a file of labels of msm3d.")
    return values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of some pairs, of which JSON would keep the last of a name."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise InputError(f"{next(n for n in names if names.count(n) > 1)!r} is there twice; put its rows together.")
    return values
