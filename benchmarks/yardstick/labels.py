"""Hand labels of real scans: boxes and planes that say which points are what.

A file of `labels/` names a scan, where it comes from and its terms, and lists shapes in the scan's coordinates. A shape
is a box, turned about z, and may be narrowed to what lies near a plane. Where shapes meet, the later one counts. Points
in no shape, and those in a shape of class "none", have no label.
"""

import hashlib
import json
from dataclasses import dataclass
from math import radians
from pathlib import Path

import numpy as np

import msm3d

CLASSES = "floor wall ceiling table chair cabinet door window screen stair plant clutter".split()
LABELS = Path(__file__).parent / "labels"


@dataclass(frozen=True, eq=False)
class Labelled:
    """A scan and its labels."""

    name: str
    cloud: msm3d.PointCloud
    """Of the file's points, z up."""
    labels: np.ndarray
    """(n,) index in `CLASSES`, -1 for none."""


def labelled(name: str, scans: Path) -> Labelled:
    """Return the scan of the label file `name`; its points are read from `scans`, the folder with all scans."""
    about = json.loads((LABELS / f"{name}.json").read_text())
    path = scans / about["file"]
    if path.suffix == ".npz":
        held = np.load(path)
        cloud = msm3d.PointCloud.of({name: held[name] for name in held.files})
    else:
        cloud = msm3d.read(path, up=about.get("up", "z"))
    coord = np.ascontiguousarray(cloud.coord, np.float32)
    found = hashlib.sha256(coord.tobytes()).hexdigest()[:16]
    if (len(coord), found) != (about["points"], about["sha256"]):
        raise SystemExit(f"{path}: {len(coord)} points with sha256 {found}…; {name}.json was made for another scan.")
    return Labelled(name, cloud, painted(coord, about["shapes"]))


def painted(coord: np.ndarray, shapes: list[dict]) -> np.ndarray:
    """Return the class (n,) of each point: that of the last shape around it, -1 for none."""
    labels = np.full(len(coord), -1)
    for shape in shapes:
        inside = within(coord, shape)
        labels[inside] = -1 if shape["class"] == "none" else CLASSES.index(shape["class"])
    return labels


def within(coord: np.ndarray, shape: dict) -> np.ndarray:
    """Return which points (n,) lie in a shape.

    It is a `box`, its lowest and highest corner, turned by `turn` degrees about its middle and z; with a `plane`
    a, b, c, d only what has |ax + by + cz + d| <= `near` (default 0.05 m).
    """
    low, high = np.asarray(shape["box"], float)
    middle, angle = (low + high) / 2, radians(shape.get("turn", 0.0))
    x, y, z = (coord - middle).T
    turned = np.stack([x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle), z], 1)
    inside = (np.abs(turned) <= (high - low) / 2).all(1)
    if "plane" in shape:
        *normal, offset = shape["plane"]
        inside &= np.abs(coord @ np.asarray(normal) + offset) <= shape.get("near", 0.05)
    return inside
