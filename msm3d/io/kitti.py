"""KITTI: sweeps of a car's scanner as bare float32, x y z and reflectance, in metres with z up."""

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError
from ..scan.options import ReadOptions
from . import limits

SUFFIXES = (".bin",)
TITLE = "KITTI BIN"
NOTE = "float32 x y z reflectance, or five numbers a point as nuScenes writes them (.pcd.bin); labels beside it"

_FAR = 1000.0  # metres: no such scanner sees farther


def content(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the points' arrays by field name; the labels of SemanticKITTI, where `../labels/NAME.label` is there."""
    size, width = file.stat().st_size, 5 if file.name.lower().endswith(".pcd.bin") else 4
    limits.fits(size * 4, "holds points")
    if size % (4 * width):
        raise FileError(
            f"has {size} bytes, which are not points of {width} float32 as KITTI has them; read it with np.fromfile "
            "and save or pass its columns x y z."
        )
    table = np.fromfile(file, "<f4").reshape(-1, width)
    places = table[:, :3]
    with np.errstate(all="ignore"):
        good = np.isfinite(table).all() and np.abs(places).max() < _FAR and np.abs(table[:, 3]).max() <= 255
    if not good:
        raise FileError(
            f"holds numbers that are not x y z in metres and a reflectance, {width} float32 a point; read it with "
            "np.fromfile and save or pass its columns x y z."
        )
    limits.not_at_one_place(places, len(places))
    found: dict[str, Any] = {"coord": places.astype(np.float64), "units": "m", "up": "z", "viewpoint": np.zeros((1, 3))}
    labels = file.parent.parent / "labels" / f"{file.stem}.label"
    if file.parent.name == "velodyne" and labels.is_file():
        packed = np.fromfile(labels, "<u4")
        if len(packed) != len(places):
            raise FileError(f"has {len(places)} points but {len(packed)} labels in {labels.name}; give those of it.")
        found |= {"segment": (packed & 0xFFFF).astype(np.int64), "instance": (packed >> 16).astype(np.int64)}
    return found
