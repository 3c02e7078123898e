"""Scans to clusters of what is alike: k-means or HDBSCAN on descriptors at voxels, in pieces of space where asked."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._util import stages
from .._util.words import option, require_one_of
from ..batch import read
from ..datasets.classes import IGNORE
from ..errors import InputError, quoted, require
from ..io import as_cloud, results
from ..model import Model
from ..scan.cloud import PointCloud
from ..scan.options import ReadOptions
from .density import by_size, dense, require_there
from .described import described
from .fingerprint import Fingerprint
from .instances.grouping import grouped
from .segmenting import Segmented

METHODS = ("kmeans", "hdbscan")
USUAL, MOST = 8, 255  # clusters of k-means


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """How clusters are found; checked here, before any work is done.

    >>> Clustering(clusters=0)
    Traceback (most recent call last):
    msm3d.errors.InputError: clusters is 0; it must be a whole number from 1 to 255.
    """

    method: str = "kmeans"
    """"kmeans" finds so many clusters as are asked for; "hdbscan" as many as there are dense places, and leaves points
    between them in no cluster."""
    clusters: int | None = None
    """How many, of k-means: 1 to 255; 8 by default. HDBSCAN knows itself."""
    smallest: int = 100
    """Voxels in the smallest cluster of HDBSCAN, or in the smallest piece that `apart` leaves; smaller ones are -1."""
    apart: float | None = None
    """Metres: pieces of a cluster that are at least so far from each other become clusters of their own, scan by scan;
    None leaves clusters in one, wherever their points are."""

    no_height: bool = False
    """Take away what height above the floor explains, which otherwise divides walls into bands."""

    def __post_init__(self) -> None:
        require_one_of("method", self.method, METHODS)
        if self.clusters is not None:
            if self.method == "hdbscan":
                raise InputError(f"HDBSCAN finds how many clusters there are; leave out {option('clusters')}.")
            good = _is_whole(self.clusters) and self.clusters <= MOST
            require("clusters", self.clusters, good, f"a whole number from 1 to {MOST}")
        require("smallest", self.smallest, _is_whole(self.smallest), "a whole number from 1 on")
        if self.apart is not None:
            number = isinstance(self.apart, (int, float)) and not isinstance(self.apart, bool)
            if not number or not 0 < self.apart < float("inf"):
                raise InputError(f"apart is {quoted(self.apart)}; give metres above 0, such as 0.15.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def cluster(
    model: Model,
    scans: Any,
    how: Clustering | None = None,
    *,
    levels: int | Sequence[int] | None = None,
    options: ReadOptions | None = None,
    max_memory: int | str | None = None,
    progress: bool | None = False,
) -> Any:
    """Return the cluster of each point of a scan, or of several scans, which share their clusters.

    Every voxel counts once, so densely scanned corners do not count more, and every level counts the same, whatever its
    scale. The same input gives the same clusters.

    >>> from msm3d.rooms import make
    >>> import msm3d
    >>> found = cluster(msm3d.load(), make(1, points=2000), Clustering(clusters=3), levels=(2, 3))
    >>> found.labels.shape, sorted(found.classes.values())
    ((2000,), ['cluster 1', 'cluster 2', 'cluster 3'])

    Args:
        model: that describes the scans.
        scans: whatever `Model.extract` takes as one scan, or a folder of Pointcept's layout; or a list of these.
        how: k-means with 8 clusters by default.
        levels: of the descriptor, 0 is the finest; all by default.
        options: how the scans are to be understood.
        max_memory: as for `Model.extract`; likewise `progress`.
        progress: see `max_memory`.

    Returns:
        A `Segmented` for each scan: `labels` (n,) from 0, the largest cluster, and -1 in none; `confidence` (n,) from
        0 to 1, the cosine to the middle of the cluster, or how surely HDBSCAN puts the point there.

    Raises:
        InputError: a scan or an argument cannot be used.
        DependencyError: HDBSCAN is asked for, and scikit-learn is not installed.

    Source: D. Arthur and S. Vassilvitskii, k-means++, 2007; R. Campello and others, HDBSCAN, 2013, by scikit-learn.
    """
    how, several = how or Clustering(), isinstance(scans, (list, tuple))
    given = list(scans) if several else [scans]
    if not given:
        raise InputError("there are no scans; give at least one.")
    work = Work(model, how, levels, options, {"max_memory": max_memory, "progress": progress})
    with ExitStack() as stack:
        seen = []
        for scan in given:
            with stages.of(scan) if isinstance(scan, (str, os.PathLike)) else nullcontext():
                seen.append(work.described(scan, stack))
        found = work.clustered(seen)
    return found if several else found[0]


class Seen(NamedTuple):
    """A scan with its descriptors."""

    cloud: PointCloud
    rows: np.ndarray  # (m, c), of its voxels, or of its points where they lie on the disk
    owner: np.ndarray  # (n,) the row of each point
    source: Path | None

    def middles(self) -> np.ndarray:
        """Return the middle (m, 3) of the points of each row, metres."""
        counts = np.bincount(self.owner)
        return np.stack([np.bincount(self.owner, axis) / counts for axis in self.cloud.coord.T], 1)


class Work:
    """What `cluster` does, in two steps: each scan is described, then all are clustered."""

    def __init__(
        self,
        model: Model,
        how: Clustering,
        levels: int | Sequence[int] | None = None,
        options: ReadOptions | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> None:
        if how.method == "hdbscan":
            require_there()
        self.model, self.how, self.of = model, how, Fingerprint.of(model, levels)
        self.options = replace(options or ReadOptions(), spacing=model.config.inputs.voxel_size)
        self.asked = dict(asked or {})

    def described(self, scan: Any, stack: ExitStack) -> Seen:
        """Return a scan with its descriptors, which may lie on the disk until the stack is left."""
        is_path = isinstance(scan, (str, os.PathLike))
        cloud = read(Path(scan), self.options) if is_path else as_cloud(scan, options=self.options)
        shown = described(self.model, replace(cloud, total=None), **self.of.asked, **self.asked)
        rows, owner = stack.enter_context(shown)
        return Seen(cloud, rows, owner, Path(scan) if is_path else None)

    def clustered(self, scans: Sequence[Seen]) -> list[Segmented]:
        """Return the clusters of scans, which they share."""
        stages.stage("clusters")
        stops = np.cumsum(self.of.widths).tolist()
        columns = [slice(stop - width, stop) for stop, width in zip(stops, self.of.widths, strict=True)]
        rows = [scan.rows for scan in scans]
        if self.how.no_height:
            from ..visualize.height import Height

            places = [scan.middles() for scan in scans]
            height = Height.fit(rows, places)
            rows = [height.rest(part, place) for part, place in zip(rows, places, strict=True)]
        if self.how.method == "hdbscan":
            found = dense(rows, self.how.smallest, columns)
        else:
            found = _alike(rows, self.how.clusters or USUAL, columns)
        return [self._segmented(scan, *one) for scan, one in zip(scans, found, strict=True)]

    def _segmented(self, scan: Seen, clusters: np.ndarray, sure: np.ndarray) -> Segmented:
        from ..visualize.colors import label_colors

        labels = clusters if self.how.apart is None else _pieces(scan, clusters, self.how.apart, self.how.smallest)
        labels = labels[scan.owner].astype(np.int32)
        classes = {label: f"cluster {label + 1}" for label in range(labels.max(initial=-1) + 1)}
        palette = label_colors(np.arange(len(classes)))
        meta = results.provenance(self.model, list(self.of.levels), self.of.reading, scan.source)
        meta = {name: value for name, value in meta.items() if name not in ("channels", "dtype")}
        meta |= {"clustering": asdict(self.how), "classes": {str(k): name for k, name in classes.items()}}
        return Segmented(
            cloud=scan.cloud,
            labels=labels,
            confidence=np.where(labels >= 0, sure[scan.owner], 0).astype(np.float32),
            classes=classes,
            palette=palette,
            meta=meta | {"palette": palette.tolist()},
            source=scan.source,
            options=self.options,
        )


def _alike(rows: Sequence[np.ndarray], count: int, columns: Sequence[slice]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the cluster of each row by k-means, and the cosine to its middle; at most one for each row."""
    from ..visualize.kinds import Kinds

    kinds = Kinds.fit(list(rows), min(count, sum(map(len, rows))), levels=columns)
    return [(kinds(part), kinds.nearness(part)) for part in rows]


def _pieces(scan: Seen, clusters: np.ndarray, apart: float, smallest: int) -> np.ndarray:
    """Return the piece of space (m,) of its cluster that each row is in, the largest 0; -1 in one of few rows."""
    pieces = grouped(scan.middles(), clusters, apart)
    return by_size(np.where(np.bincount(pieces + 1)[pieces + 1] < smallest, IGNORE, pieces))
