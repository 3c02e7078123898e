"""Octrees of points: which nodes hold what is asked for; and the pages of COPC, which name those of a LAZ file.

Source: COPC 1.0 (copc.io); Entwine Point Tile 1.1 for what both have in common.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._util.words import count, either
from ..errors import FileError
from ..scan.attributes import turned
from ..scan.options import ReadOptions
from ..scan.plausible import UNITS

_INFO = np.dtype([("center", "<f8", 3), ("half", "<f8"), ("spacing", "<f8"), ("root", "<u8"), ("size", "<u8")])
_ENTRY = np.dtype([("key", "<i4", 4), ("offset", "<u8"), ("bytes", "<i4"), ("count", "<i4")])
_LATER = -1  # the count of an entry that is a page
_NAMED = b"copc".ljust(16, b"\0") + b"\1\0"  # user and number of the record of the octree
_FIRST = 375  # where a LAS 1.4 file's records begin, of which COPC's is the first
_DEEPEST = 30  # level whose places fit into 32 bits


@dataclass(frozen=True, eq=False)
class Octree:
    """The nodes of an octree that have points of their own: each level adds some between those of the levels above."""

    low: np.ndarray  # (3,) float64, the cube's lowest corner, in the file's units and axes
    width: float  # of the cube
    spacing: float  # between the points of the root; each level halves it
    step: float  # of the coordinates: by rounding to it a point may lie outside of its node
    keys: np.ndarray  # (k, 4) int64, level, x, y, z
    counts: np.ndarray  # (k,) int64, points

    def __post_init__(self) -> None:
        level, places = self.keys[:, 0], self.keys[:, 1:]
        numbers = [*self.low, self.width, self.spacing, self.step]
        good = np.isfinite(numbers).all() and min(self.width, self.spacing) > 0 and (self.counts > 0).all()
        good = good and ((0 <= level) & (level <= _DEEPEST)).all()
        if not good or not ((0 <= places) & (places < 1 << level[:, None])).all():
            raise FileError("has an octree that cannot be right; make it again.")

    def wanted(self, options: ReadOptions) -> np.ndarray:
        """Return the nodes (k,), True for those that may hold what `bounds` and `resolution` ask for."""
        up, scale = options.up or "z", UNITS[options.units or "m"]
        found = np.ones(len(self.keys), dtype=bool)
        if options.resolution is not None:
            finest = np.log2(self.spacing * scale / options.resolution)
            found &= self.keys[:, 0] <= max(0, np.ceil(finest - 1e-9))  # 0.1 halved once is 0.05
        if options.bounds is not None:
            edge = self.width / (1 << self.keys[:, :1])
            corner = self.low + self.keys[:, 1:] * edge
            one, two = (turned(place * scale, up) for place in (corner - self.step, corner + edge + self.step))
            low, high = np.asarray(options.bounds)
            found &= ((np.minimum(one, two) <= high) & (np.maximum(one, two) >= low)).all(1)
        if not found.any():
            raise FileError(f"has no points there: its octree spans {self._span(up, scale)}; give other bounds.")
        return found

    def rows(self, wanted: np.ndarray) -> np.ndarray:
        """Return the rows of all points that those of some nodes are, in order."""
        starts = np.cumsum(self.counts) - self.counts
        return np.concatenate([np.arange(a, a + n) for a, n in zip(starts[wanted], self.counts[wanted], strict=True)])

    def said(self, wanted: np.ndarray, options: ReadOptions) -> str:
        """Return in words what of the octree is taken."""
        level, scale = self.keys[:, 0], UNITS[options.units or "m"]
        deepest, last = int(level[wanted].max()), int(level.max())
        apart = self.spacing * scale / 2**deepest
        most = f"{self.counts[wanted].sum():,} of {count(int(self.counts.sum()), 'point')}"
        levels = f"levels 0 to {deepest} of 0 to {last}, to points about {apart:.2g} m apart"
        return f"{levels}; {wanted.sum():,} of {count(len(wanted), 'node')} read, with {most}"

    def _span(self, up: str, scale: float) -> str:
        ends = np.sort([turned(corner[None] * scale, up)[0] for corner in (self.low, self.low + self.width)], axis=0)
        return ", ".join(f"{axis} {a:.2f} to {b:.2f}" for axis, a, b in zip("xyz", *ends, strict=True)) + " m"


@dataclass(frozen=True, eq=False)
class Copc:
    """The octree of a COPC file, its nodes in the order in which their points lie in the file."""

    tree: Octree
    offsets: np.ndarray  # (k,) where the compressed points of each node are in the file
    sizes: np.ndarray  # (k,) bytes of them

    @classmethod
    def of(cls, file: Path) -> "Copc | None":
        """Return the octree of a file whose LAS header is good; None where it is another LAZ or LAS file."""
        with file.open("rb") as stream:
            head = stream.read(_FIRST + 54 + _INFO.itemsize)
            if len(head) < _FIRST + 54 + _INFO.itemsize or head[_FIRST + 2 : _FIRST + 20] != _NAMED or head[104] < 128:
                return None
            info = np.frombuffer(head, _INFO, 1, _FIRST + 54)[0]
            entries = _entries(stream, int(info["root"]), int(info["size"]))
        nodes = entries[entries["count"] > 0]
        nodes = nodes[np.argsort(nodes["offset"], kind="stable")]
        declared, steps = int.from_bytes(head[247:255], "little"), np.frombuffer(head, "<f8", 3, 131)
        ends = nodes["offset"] + nodes["bytes"].astype(np.uint64)
        whole = len(nodes) and (nodes["bytes"] > 0).all() and (ends[:-1] == nodes["offset"][1:]).all()
        if not whole or nodes["count"].sum(dtype=np.int64) != declared or ends[-1] > file.stat().st_size:
            cure = either("leave bounds= and resolution= out", "leave --bounds and --resolution out")
            raise FileError(f"has an octree of other points than it holds; {cure}, or make it again.")
        low, width = info["center"] - info["half"], float(2 * info["half"])
        keys, counts = nodes["key"].astype(np.int64), nodes["count"].astype(np.int64)
        tree = Octree(low, width, float(info["spacing"]), float(np.abs(steps).max()), keys, counts)
        return cls(tree, nodes["offset"].astype(np.int64), nodes["bytes"].astype(np.int64))


def _entries(stream: Any, start: int, size: int) -> np.ndarray:
    """Return the entries of all pages; each is read once, whoever refers to it."""
    end, read, found, left = os.fstat(stream.fileno()).st_size, 0, [], [(start, size)]
    while left:
        start, size = left.pop()
        read += size  # pages that lie apart are no longer than the file together, and a circle of them is
        if read > end or not 0 <= start <= start + size <= end or size % _ENTRY.itemsize:
            raise FileError("has an octree whose pages are not all there; it is damaged, export it again.")
        stream.seek(start)
        page = np.frombuffer(stream.read(size), _ENTRY)
        later = page["count"] == _LATER
        left += [(int(one["offset"]), int(one["bytes"])) for one in page[later]]
        found.append(page[~later])
    return np.concatenate(found)
