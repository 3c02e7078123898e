"""What a page shows beside colours and features, and which scan the labels belong to that are given in it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._util.words import option, warn
from ..errors import InputError
from ..io import ply
from ..scan.cloud import PointCloud
from ..tasks.labels import Labels, rows_of, scan_hash
from .colors import LABELS, label_colors
from .packing import Cells

NEEDED = {"rest": "rest", "cluster": "clusters", "unsure": "confidence"}
"""The modes of a page that need something, and what."""
MOST_CLUSTERS = 255


@dataclass(frozen=True, kw_only=True, eq=False)
class Extras:
    """What a page may show beside colours and features.

    >>> Extras(clusters=np.array([0, 2, 1])).clusters.tolist()
    [0, 2, 1]

    Raises:
        InputError: a value is out of its range.
    """

    rest: np.ndarray | None = None
    """(n, 3) uint8 colours: components of what height does not explain, as from `Height.colors`."""
    clusters: np.ndarray | None = None
    """(n,) whole numbers from 0 to 254, as from `Kinds`."""
    confidence: np.ndarray | None = None
    """(n,) from 0 to 1: how sure the labels in the cloud are."""
    labels: Labels | None = None
    """Given earlier, of the same scan: the page goes on with them."""
    source: PointCloud | None = None
    """The scan as it was read, which labels belong to; the cloud that is shown by default."""

    def __post_init__(self) -> None:
        for name, most, kinds in (("clusters", MOST_CLUSTERS - 1, "iu"), ("confidence", 1, "f")):
            values = getattr(self, name)
            if values is None:
                continue
            if values.ndim != 1 or values.dtype.kind not in kinds or not len(values):
                raise InputError(f"{name} has shape {values.shape} and dtype {values.dtype}; give (n,) numbers.")
            if not (values.min() >= 0 and values.max() <= most):
                raise InputError(f"{name} is {values.min()} to {values.max()}; give numbers from 0 to {most}.")
        if self.rest is not None and (self.rest.shape[1:] != (3,) or self.rest.dtype != np.uint8):
            raise InputError(f"rest has shape {self.rest.shape} and dtype {self.rest.dtype}; give (n, 3) uint8.")

    def require(self, cloud: PointCloud, mode: str) -> None:
        """Raise InputError unless there is a row for each point, and what the `mode` of a page shows."""
        for name in ("rest", "clusters", "confidence"):
            values = getattr(self, name)
            if values is not None and len(values) != len(cloud):
                raise InputError(f"{name} has {len(values)} rows for {len(cloud)} points; give one row per point.")
        if mode in NEEDED and getattr(self, NEEDED[mode]) is None:
            raise InputError(f"mode is {mode!r}, which shows {NEEDED[mode]}; give Extras({NEEDED[mode]}=...).")
        if self.confidence is not None and cloud.segment is None:
            raise InputError("confidence is of labels, and the cloud has no segment; leave it out.")

    def points(self, grid: Cells) -> dict[str, bytes]:
        """Return the arrays that have a value for each point of the page."""
        arrays = {} if self.clusters is None else {"cluster": self.clusters[grid.rows].astype(np.uint8).tobytes()}
        if self.confidence is not None:
            arrays["confidence"] = np.rint(self.confidence[grid.rows] * 255).astype(np.uint8).tobytes()
        return arrays

    def cells(self, grid: Cells) -> dict[str, bytes]:
        """Return the arrays that have a value for each cell of the page."""
        if self.rest is None:
            return {}
        sums = np.add.reduceat(self.rest[grid.rows].astype(np.float32), np.cumsum(grid.counts) - grid.counts)
        mean = np.rint(sums / grid.counts[:, None]).astype(np.uint8)
        return {f"rest.{name}": np.diff(mean[:, k], prepend=np.uint8(0)).tobytes() for k, name in enumerate("rgb")}

    def described(self, cloud: PointCloud, grid: Cells) -> dict[str, Any]:
        """Return what the viewer has to know of the clusters, of labels that are given, and of whose they are."""
        origin = cloud if self.source is None else self.source
        given = None if self.labels is None else {name: rows.tolist() for name, rows in self.labels.rows.items()}
        described = {
            "scan": {"points": rows_of(origin), "hash": scan_hash(origin)},
            "given": given,
            "clusters": [],
            "flattened": self.rest is not None,
        }
        if self.clusters is not None:
            counts = np.bincount(self.clusters[grid.rows], minlength=int(self.clusters.max()) + 1)
            names = [f"cluster {k + 1}" for k in range(len(counts))]
            described["clusters"] = legend(np.arange(len(counts)), names, counts)
        return described | {"palette": LABELS[2:-1].tolist()}  # without greys: so is what is unsure


def legend(values: np.ndarray, names: Sequence[str], counts: np.ndarray) -> list[dict[str, Any]]:
    """Return names, colours and numbers of points of labels."""
    each = zip(names, label_colors(values).tolist(), counts.tolist(), strict=True)
    return [{"name": name, "color": color, "points": points} for name, color, points in each]


def confidence_of(scan: str | os.PathLike[str], cloud: PointCloud) -> np.ndarray | None:
    """Return how sure the labels (n,) in a PLY file are, 0 to 1, or None where there are none or it does not say."""
    if Path(scan).suffix.lower() != ".ply" or cloud.segment is None:
        return None
    found = ply.scalar(Path(scan), "confidence")
    if found is None:
        return None
    if cloud.rows is not None:
        found = found[cloud.rows]
    if len(found) != len(cloud):
        cure = f"pass {option('mesh', 'vertices')} to see it"
        warn(f"confidence is of {len(found):,} vertices, not of the points on the faces; {cure}.")
        return None
    found = np.nan_to_num(found.astype(np.float32))
    if found.min() < 0 or found.max() > 1:
        warn(f"confidence is {found.min():g} to {found.max():g} and is not shown; give it from 0 to 1.")
        return None
    return found
