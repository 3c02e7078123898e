"""The things of a scan as a sentence may mean them: class, box, colour, size, and what a network says of their points.

Places are in metres, z up. Boxes are rows of seven numbers along the axes, see `msm3d.tasks.instances.boxes`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...scan.cloud import PointCloud
from ..instances.boxes import aligned_box, oriented_box
from .colors import COLORS, likeness

LEAST = 50
"""Points of the smallest thing."""
GEOMETRY = 8 + len(COLORS)
"""Numbers that say where a thing is, how large and of what colour, see `Objects.geometry`."""
_SEEN = 64  # points of each thing that distances are measured between
_GREY = (127.5, 127.5, 127.5)


@dataclass(frozen=True, eq=False)
class Objects:
    """Things of a scan, k of them.

    >>> scan = PointCloud.of({"coord": 3 * np.eye(3).repeat(40, 0), "segment": np.repeat([4, 4, 0], 40),
    ...                       "instance": np.repeat([0, 0, 1], 40)})
    >>> things = Objects.given(scan, stuff=(0,))
    >>> len(things), things.labels.tolist(), things.boxes[0].tolist()
    (1, [4], [1.5, 1.5, 0.0, 3.0, 3.0, 0.0, 0.0])
    """

    labels: np.ndarray
    """(k,) int64, the class of each."""
    boxes: np.ndarray
    """(k, 7) metres, along the axes."""
    volumes: np.ndarray
    """(k,) cubic metres of the upright box of the smallest floor area, which does not depend on the scan's heading."""
    colors: np.ndarray
    """(k, 3) mean colour, 0 to 255; grey where the scan has none."""
    counts: np.ndarray
    """(k,) points of each."""
    middle: np.ndarray
    """(3,) the middle of the scan's ground, at the height of its lowest point."""
    seen: tuple[np.ndarray, ...]
    """(s, 3) some points of each, evenly drawn from their order."""
    points: tuple[np.ndarray, ...]
    """Rows of the scan that are of each."""
    ids: np.ndarray
    """(k,) int64, the number that the scan's labels have for each; from 0 on where it has none."""

    @classmethod
    def given(cls, scan: PointCloud, stuff: Iterable[int] = (), least: int = LEAST) -> "Objects":
        """Return the things that a scan's labels say: those of at least `least` points whose first point has a class,
        none of `stuff`; in the order of their numbers."""
        assert scan.segment is not None, "`require` comes first"
        assert scan.instance is not None
        left_out = {-1, *stuff}
        order = np.argsort(scan.instance, kind="stable")
        ids, first = np.unique(scan.instance[order], return_index=True)
        every = dict(zip(ids.tolist(), np.split(order, first[1:]), strict=True))
        groups = {
            number: rows
            for number, rows in every.items()
            if number >= 0 and len(rows) >= least and int(scan.segment[rows[0]]) not in left_out
        }
        labels = np.array([scan.segment[rows[0]] for rows in groups.values()], np.int64)
        return cls.of(scan, [*groups.values()], labels, [*groups])

    @classmethod
    def of(
        cls, scan: PointCloud, groups: list[np.ndarray], labels: np.ndarray, ids: Sequence[int] | None = None
    ) -> "Objects":
        """Return the things whose rows of a scan, classes and numbers are given."""
        coord = scan.coord
        color = np.broadcast_to(np.array(_GREY, np.float32), coord.shape) if scan.color is None else scan.color
        turned = [oriented_box(coord[rows]) for rows in groups]
        low, high = coord.min(0), coord.max(0)
        few = [rows[np.linspace(0, len(rows) - 1, min(len(rows), _SEEN)).astype(int)] for rows in groups]
        return cls(
            labels=labels,
            boxes=np.array([aligned_box(coord[rows]) for rows in groups]).reshape(-1, 7),
            volumes=np.array([box[3:6].clip(0.01).prod() for box in turned]),
            colors=np.array([color[rows].mean(0, dtype=np.float64) for rows in groups]).reshape(-1, 3),
            counts=np.array([len(rows) for rows in groups], np.int64),
            middle=np.array([*(low + high)[:2] / 2, low[2]]),
            seen=tuple(coord[rows] for rows in few),
            points=tuple(groups),
            ids=np.array(range(len(groups)) if ids is None else ids, np.int64),
        )

    def __len__(self) -> int:
        """Return the number of things."""
        return len(self.labels)

    @property
    def centres(self) -> np.ndarray:
        """(k, 3) metres."""
        return self.boxes[:, :3]

    @property
    def lows(self) -> np.ndarray:
        """(k, 3) the lower corners of the boxes."""
        return self.boxes[:, :3] - self.boxes[:, 3:6] / 2

    @property
    def highs(self) -> np.ndarray:
        """(k, 3) the upper corners of the boxes."""
        return self.boxes[:, :3] + self.boxes[:, 3:6] / 2

    @property
    def geometry(self) -> np.ndarray:
        """(k, GEOMETRY) float32: the way from the scan's middle to the box's, its size, the logarithms of the volume
        and of the number of points, and how well each colour word fits."""
        sizes = np.column_stack([self.boxes[:, 3:6], np.log(self.volumes), np.log(self.counts)])
        return np.column_stack([self.centres - self.middle, sizes, likeness(self.colors)]).astype(np.float32)

    @cached_property
    def apart(self) -> np.ndarray:
        """(k, k) metres between the middles of the boxes."""
        return np.linalg.norm(self.centres[:, None] - self.centres, axis=2)

    @cached_property
    def gaps(self) -> np.ndarray:
        """(k, k) metres between the nearest of their points, of at most 64 each."""
        found = np.zeros((len(self), len(self)))
        for i, mine in enumerate(self.seen):
            for j in range(i):
                square = ((mine[:, None] - self.seen[j]) ** 2).sum(2).min()
                found[i, j] = found[j, i] = np.sqrt(square)
        return found

    def pooled(self, features: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """Return the mean and the maximum (2, k, c) float32 over each thing's points of descriptors (m, c), of which
        `owner` (n,) is the row of each point."""
        both = np.zeros((2, len(self), features.shape[1]), np.float32)
        for i, rows in enumerate(self.points):
            mine = features[owner[rows]].astype(np.float32)
            both[0, i], both[1, i] = mine.mean(0), mine.max(0)
        return both
