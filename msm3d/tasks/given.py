"""Scans with labels for some of their points, in whatever form people have these, and one number for each name."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._util.words import count, option
from ..batch import read
from ..datasets.classes import IGNORE
from ..errors import FileError, InputError
from ..io import as_cloud, labelled, ply
from ..io.reading import named
from ..scan.cloud import PointCloud
from ..scan.options import ReadOptions
from .labels import SUFFIX, Labels, name_of_class, rows_of

UNSURE = 255  # like -1 the label of points that nobody judges, in files whose labels are bytes
NEVER, UNCLASSIFIED = 0, 1  # what LAS calls points without a class [LAS 1.4, table 17]
_MOST = 1 << 31  # what files of labels hold
_SEGMENTS = ("segment20", "segment")  # arrays in a folder of Pointcept's layout, of which the first counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """A scan, and the class of some of its points."""

    name: str
    """Of the scan, for sentences."""
    cloud: PointCloud
    labels: np.ndarray
    """(n,) a number for each point of the cloud, -1 where nobody says."""
    names: Mapping[int, str]
    """What each of these numbers is called."""
    own: bool
    """Whether the numbers are those of a file or of the user, which a head keeps; else they are the names' order."""

    @classmethod
    def of(cls, scan: Any, labels: Any, names: Sequence[str] = (), options: ReadOptions | None = None) -> "Given":
        """Return a scan and its labels.

        Args:
            scan: whatever `msm3d.io.as_cloud` takes, or a folder of Pointcept's layout.
            labels: rows by name, `Labels`, a file of these, integers (n,) of each row of the scan, -1 or 255 for none,
                a file of such, or None for those in the scan itself.
            names: what the integers from 0 on are called, instead of what the file says.
            options: how the scan is to be understood.

        Raises:
            InputError: the scan has no labels, or they are not of this scan.
        """
        options = replace(options or ReadOptions(), invalid="nan")  # so that every row of the file is counted
        is_path = isinstance(scan, (str, os.PathLike))
        name, cloud = Path(scan).name if is_path else "the scan", _cloud(scan, options)
        in_file = isinstance(labels, (str, os.PathLike))
        if isinstance(labels, (Mapping, Labels)) or (in_file and Path(labels).suffix.lower() == SUFFIX):
            try:
                found = Labels.read(labels) if in_file else labels
                found = found if isinstance(found, Labels) else Labels.for_scan(cloud, found, name)
                found.require(cloud, name)
            except FileError:
                raise
            except InputError as error:
                raise FileError(f"{labels}: {error}") if in_file else error from error
            called = dict(enumerate(found.rows))
            dense = found.segment({name: number for number, name in called.items()})
            return cls(name=name, cloud=cloud, labels=_of_points(dense, cloud, name), names=called, own=False)
        where = labels if in_file else scan if labels is None and is_path else None
        numbers = _numbers(cloud, name, labels, where, options)
        known = dict(enumerate(names)) or ({} if where is None else class_names(where))
        there = np.unique(numbers[numbers != IGNORE]).tolist()
        called = {number: known.get(number, f"label {number}") for number in there}
        return cls(name=name, cloud=cloud, labels=numbers, names=called, own=True)


def numbered(given: Sequence[Given]) -> tuple[dict[int, str], list[np.ndarray]]:
    """Return the name of each class by one number for all scans, and the labels (n,) of each scan in these numbers.

    Numbers that files and users gave stay; names without one get the smallest that are free, in the order in which
    they come.

    Raises:
        InputError: two scans have one number for two names, or two numbers for one name.
    """
    ids: dict[str, int] = {}
    for one in (one for one in given if one.own):
        for number, name in one.names.items():
            if ids.setdefault(name, number) != number:
                cure = f"give both the same numbers, or pass {option('names')}"
                raise InputError(f"{name!r} is {ids[name]} in one scan and {number} in {one.name}; {cure}.")
            if other := next((n for n, i in ids.items() if i == number and n != name), None):
                cure = f"give both the same names, or pass {option('names')}"
                raise InputError(f"the label {number} is {other!r} in one scan and {name!r} in {one.name}; {cure}.")
    for name in (name for one in given if not one.own for name in one.names.values()):
        if name not in ids:
            ids[name] = next(number for number in range(len(ids) + 1) if number not in ids.values())
    labels = []
    for one in given:
        table = {number: ids[name] for number, name in one.names.items()} | {IGNORE: IGNORE}
        values, places = np.unique(one.labels, return_inverse=True)
        labels.append(np.array([table[value] for value in values.tolist()])[places.reshape(-1)])
    return {number: name for name, number in sorted(ids.items(), key=lambda pair: pair[1])}, labels


def class_names(path: str | os.PathLike[str]) -> dict[int, str]:
    """Return what a file calls its classes: in our metadata, or in a PLY header's lines `comment label 4 chair`."""
    if Path(path).is_dir():
        return {}
    if found := labelled.metadata(path).get("classes"):
        try:
            return {int(number): name_of_class(name) for number, name in found.items()}
        except (AttributeError, ValueError):
            return {}
    return {i: name.strip() for i, name in enumerate(ply.names_with(path)) if name.strip() and name.isprintable()}


def _cloud(scan: Any, options: ReadOptions) -> PointCloud:
    if isinstance(scan, (str, os.PathLike)) and Path(scan).is_dir():
        labels = [name for name in _SEGMENTS if (Path(scan) / f"{name}.npy").is_file()]
        return read(Path(scan), options, labels[:1])
    return as_cloud(scan, options=options)


def _numbers(cloud: PointCloud, name: str, labels: Any, where: Any, options: ReadOptions) -> np.ndarray:
    """Return the integers (n,) of a cloud's points, -1 for none, from an array, from a file, or its own for None."""
    of = name if labels is None else "labels" if where is None else os.fspath(where)
    if labels is None:
        if cloud.segment is None:
            raise InputError(f"{name} has no labels inside; give rows by name beside it, such as labels.json.")
        found = cloud.segment
    elif where is None:
        found = _of_points(_whole(np.asarray(labels), of), cloud, name)
    else:
        found = _of_points(_in_file(Path(where), cloud, name, options), cloud, name)
    nobody = np.isin(found, [UNSURE]) | (found < 0)
    if where is not None and labelled.only_classified(where):
        nobody |= np.isin(found, [NEVER, UNCLASSIFIED])
    if nobody.all():
        raise InputError(f"{of} has no labelled point, all are {IGNORE}; label some, or leave the scan out.")
    if (largest := int(found.max())) >= _MOST:
        raise InputError(f"{of} has the label {largest}; give numbers of classes below {_MOST}.")
    return np.where(nobody, IGNORE, found).astype(np.int64)


def _in_file(where: Path, cloud: PointCloud, name: str, options: ReadOptions) -> np.ndarray:
    """Return the integers of all rows of a scan's file, from another file: a row of numbers, or a scan with labels."""
    if where.suffix.lower() == ".npy":
        from ..io.layouts.npy import features

        with named(where):
            found = features(where)
        if found.ndim == 1 and not found.dtype.names:
            return _whole(np.array(found), os.fspath(where))
    other, rows = _cloud(where, options), rows_of(cloud)
    if other.segment is None:
        raise InputError(f"{where} has no labels inside; give a file that has some.")
    if rows_of(other) != rows:
        there = count(rows_of(other), "point")
        raise InputError(f"{where} has labels of {there}, {name} has {rows:,}; give the labels of this scan.")
    same = other.coord.shape == cloud.coord.shape
    off = float(np.abs(other.coord - cloud.coord).max()) if same else np.inf
    if off > 1e-3 + 1e-6 * np.abs(cloud.coord).max():
        far = f", but up to {off:.3g} m from them" if same else ""
        raise InputError(f"{where} has points that are not those of {name}{far}; give the labels of this scan.")
    dense = np.full(rows, IGNORE)
    dense[slice(None) if other.rows is None else other.rows] = other.segment
    return dense


def _whole(labels: np.ndarray, of: str) -> np.ndarray:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{of} has shape {labels.shape} and dtype {labels.dtype}; give (n,) integers, one per point.")
    return labels


def _of_points(dense: np.ndarray, cloud: PointCloud, name: str) -> np.ndarray:
    """Return what the rows of a file hold for the points of a cloud that was read from it."""
    if cloud.rows is None or len(dense) == len(cloud) != rows_of(cloud):
        kept = slice(None)
    else:
        kept = cloud.rows[cloud.rows < len(dense)]
    if len(dense[kept]) != len(cloud):
        given, needed = count(len(dense), "label"), count(rows_of(cloud), "point")
        raise InputError(f"there are {given} for {name}, which has {needed}; give one for each.")
    return dense[kept]
