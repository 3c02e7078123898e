"""The descriptors of a scan for a head: a row for each voxel where they fit into memory, else each point's on disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any, NamedTuple

import numpy as np

from .._util import memory
from .._util.atomic import scratch
from .._util.mapped import mapped
from ..model import Model
from ..scan.cloud import PointCloud

SHARE = 3  # of what memory is free the rows may take one part in so many


class Described(NamedTuple):
    """Descriptors, and whose they are."""

    rows: np.ndarray  # (m, c); may be a memory map
    owner: np.ndarray  # (n,) the row of each point


@contextmanager
def described(
    model: Model,
    cloud: PointCloud,
    folder: Path | None = None,
    dtype: str = "float32",
    **asked: Any,
) -> Iterator[Described]:
    """Yield the descriptors of a cloud's points; the values are the same in memory and on disk.

    Args:
        model: that describes.
        cloud: whose points, all of which get a row.
        folder: for what does not fit into memory; that of the system by default.
        dtype: of the rows, float32 or float16.
        asked: `levels`, `sampling`, `max_memory` and `progress`, as for `Model.extract`.
    """
    channels, kind = model.channels(asked.get("levels")), np.dtype(dtype)
    if len(cloud) * channels * kind.itemsize < memory.available() // SHARE:  # there are no more voxels than points
        rows, owner = model.extract(cloud, at="voxels", dtype=dtype, **asked)
        yield Described(rows, owner)
        return
    with scratch(Path(gettempdir()) if folder is None else folder) as place:
        rows = mapped(place / "rows.bin", kind, (len(cloud), channels))
        yield Described(model.extract(cloud, out=rows, dtype=dtype, **asked), np.arange(len(cloud)))
        del rows
