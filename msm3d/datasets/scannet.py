"""ScanNet as it is downloaded: a mesh, its labels and its objects, a folder per scan."""

import csv
import json
from collections.abc import Sized
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .._util.words import option
from ..errors import FileError, InputError
from ..io import ply
from ..io import read as read_points
from ..io.reading import named
from ..scan.cloud import PointCloud
from .classes import IGNORE, SCANNET20, SCANNET200, ClassList, class_list
from .layout import Choice, Layout, learning_root
from .scenes import Dataset, Scene, cloud

MESH = "_vh_clean_2.ply"
NYU40 = 40  # the largest raw id in a .labels.ply; 0 is unannotated
TABLE = "scannetv2-labels.combined.tsv"  # ScanNet's table from an object's name to ids, needed for ScanNet200
SPLITS = {"train": "scannetv2_train.txt", "val": "scannetv2_val.txt"}  # ScanNet's lists of the scans of each split


def read(folder: Path, classes: ClassList, table: Path) -> PointCloud:
    """Return the scan in a folder `sceneNNNN_NN`.

    Of the mesh `_vh_clean_2.ply` the vertices are taken, with colour and with the normals of the faces around them.
    The 20 classes come from the property `label` of `_vh_clean_2.labels.ply`; the 200 from the names of the objects
    in `.aggregation.json`, by ScanNet's table. Objects are numbered as there, -1 for none; a scan without
    `.aggregation.json` and `_vh_clean_2.0.010000.segs.json` has no instances.
    """
    mesh = folder / (folder.name + MESH)
    scan = read_points(mesh, mesh="vertices")
    groups, n = _groups(folder, len(scan)), len(scan)
    if classes.name == SCANNET20.name:
        file = mesh.with_suffix(".labels.ply")
        segment = read_points(file, mesh="vertices").segment
        if segment is None:
            raise FileError(f"{file}: has no property 'label'; give ScanNet's own .labels.ply.")
        _same_length(file, segment, n)
        worst = segment.min() if segment.min() < 0 else segment.max()
        if not 0 <= worst <= NYU40:
            raise FileError(f"{file}: holds the label {worst}; NYU40 has 0 to {NYU40}, give ScanNet's own .labels.ply.")
    elif groups is None:
        raise FileError(f"{folder / folder.name}.aggregation.json: does not exist; the 200 classes need it.")
    else:
        segment, ids = np.zeros(n, dtype=np.int64), _ids(table)
        for _, label, points in groups:
            segment[points] = ids.get(label, 0)
    found = {"segment": classes.from_raw(segment), "normal": _normals(mesh, scan.coord)}
    if groups is not None:
        found["instance"] = np.full(n, IGNORE, dtype=np.int64)
        for number, _, points in groups:
            found["instance"][points] = number
    return cloud(mesh, coord=scan.coord, color=scan.color, **found)


def split_names(file: Path) -> set[str]:
    """Return the scans that a list names, one a line."""
    if not file.is_file():
        cure = f"get ScanNet's lists of scans, and pass {option('splits')} where they are."
        raise FileError(f"{file}: does not exist; {cure}")
    return set(map(str.strip, file.read_text().splitlines()))


def _groups(folder: Path, n: int) -> list[tuple[int, str, np.ndarray]] | None:
    """Return number, name and points of each object, or None where the scan has neither of the two files."""
    base = folder / folder.name
    objects, parts = Path(f"{base}.aggregation.json"), Path(f"{base}_vh_clean_2.0.010000.segs.json")
    if not objects.exists() and not parts.exists():
        return None
    part = _json(parts, "segIndices")
    if not isinstance(part, list) or not all(isinstance(value, int) for value in part):
        raise FileError(f"{parts}: 'segIndices' is not a list of integers; download it again.")
    _same_length(parts, part, n)
    order, groups = np.argsort(part, kind="stable"), []
    ascending = np.array(part, dtype=np.int64)[order]
    for group in _json(objects, "segGroups"):
        try:
            number, label, members = int(group["id"]), str(group["label"]), np.array(group["segments"], dtype=np.int64)
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"{objects}: has a group without id, label or segments; download it again.") from error
        low, high = np.searchsorted(ascending, members), np.searchsorted(ascending, members, "right")
        points = [order[a:b] for a, b in zip(low, high, strict=True)]
        groups.append((number, label, np.concatenate(points) if points else order[:0]))
    return groups


def _json(file: Path, key: str) -> Any:
    try:
        return json.loads(file.read_text())[key]
    except FileNotFoundError as error:
        raise FileError(f"{file}: does not exist; check that the scan is complete.") from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise FileError(f"{file}: is not JSON with {key!r}; download it again.") from error


def _ids(table: Path) -> dict[str, int]:
    if not table.is_file():
        raise FileError(f"{table}: does not exist; the 200 classes need ScanNet's table, put it there.")
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    try:
        return {row["raw_category"]: int(row["id"]) for row in reversed(rows)}  # of twins, the first
    except (KeyError, ValueError, TypeError) as error:
        raise FileError(f"{table}: lacks 'raw_category' or 'id' in some line; download it again.") from error


def _same_length(file: Path, values: Sized, n: int) -> None:
    if len(values) != n:
        raise FileError(f"{file}: has {len(values)} rows, the mesh has {n}; give the files of one scan.")


def _normals(mesh: Path, coord: np.ndarray) -> np.ndarray | None:
    """Return the area-weighted mean of the normals of the faces around each vertex, or None without faces."""
    with named(mesh):
        faces = ply.faces(mesh)
    if not len(faces):
        return None
    if faces.min() < 0 or faces.max() >= len(coord):
        raise FileError(f"{mesh}: has a face of a vertex that is not there; download it again.")
    a, b, c = coord[faces[:, 0]], coord[faces[:, 1]], coord[faces[:, 2]]
    across = np.cross(b - a, c - a).T
    return np.stack([np.bincount(faces.T.ravel(), np.tile(axis, 3), len(coord)) for axis in across], 1)


def _splits(where: str | Path, choice: Choice) -> tuple[Dataset, Dataset]:
    root, name = Path(where), choice.classes or SCANNET20.name
    lists = choice.lists or root
    if name not in (SCANNET20.name, SCANNET200.name):
        raise InputError(f"classes is {name!r}; ScanNet's own files have {SCANNET20.name} or {SCANNET200.name}.")
    classes = class_list(name)

    def split(name: str) -> Dataset:
        found = {path.parent for path in root.glob(f"{name}/*/*{MESH}")}
        if not found:
            scans = root / "scans" if (root / "scans").is_dir() else root
            known = split_names(lists / SPLITS[name])
            found = {path.parent for path in scans.glob(f"*/*{MESH}") if path.parent.name in known}
        if not found:
            raise FileError(f"{root}: holds no scan of the split {name}; both train and val are needed.")
        scenes = (Scene(scan.name, partial(read, scan, classes, lists / TABLE)) for scan in sorted(found))
        return Dataset("scannet", name, classes, tuple(scenes))

    return split("train"), split("val")


def _scans(folder: Path, labels: bool) -> list[Scene]:
    """Return the meshes of scans at any depth: those of the list to learn from, unless they are in a folder `train`."""
    root = learning_root(folder)
    found = {path.name.removesuffix(MESH): path for path in sorted(root.rglob(f"*{MESH}"))}
    if found and root == folder:
        file = root / SPLITS["train"]
        if not file.is_file():
            raise FileError(f"{file}: does not exist; it names ScanNet's scans to learn from, copy it there.")
        known = split_names(file)
        found = {name: path for name, path in found.items() if name in known}
        if not found:
            raise FileError(f"{root}: holds none of the scans of {SPLITS['train']}; download them there.")
    return [Scene(name, partial(read_points, found[name])) for name in found]


LAYOUT = Layout(
    title="ScanNet as it is downloaded",
    example=f"SCENE/SCENE{MESH}",
    recognise=lambda where: any(any(Path(where).glob(f"{depth}/*{MESH}")) for depth in ("*", "*/*")),
    splits=_splits,
    scans=_scans,
)
