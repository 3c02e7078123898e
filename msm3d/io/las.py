"""LAS and LAZ, through laspy (the extra `las`)."""

from pathlib import Path

import numpy as np

from ..errors import DependencyError, FileError
from . import columns

_CHUNK = 1_000_000  # points read at a time: what a header declares is believed only as it arrives


def content(file: Path) -> dict[str, np.ndarray]:
    """Return the points' arrays by field name; the classification is the segment."""
    try:
        import laspy
    except ImportError as error:
        raise DependencyError('reading LAS and LAZ needs laspy; type: pip install "msm3d[las]".') from error
    with laspy.open(file) as reader:
        header = reader.header
        compressed = header.are_points_compressed
        if compressed and not laspy.LazBackend.detect_available():
            raise DependencyError('reading LAZ needs lazrs; type: pip install "msm3d[las]".')
        count, size = header.point_count, header.point_format.size
        there = file.stat().st_size - header.offset_to_point_data
        if count == 0:
            raise FileError("declares 0 points; there is nothing to read.")
        if not compressed and there < count * size:
            raise FileError(
                f"declares {count} points of {size} bytes but holds {max(there, 0)} bytes of them; "
                "it is truncated, export it again."
            )
        dimensions = [name for name in header.point_format.dimension_names if name not in "XYZ"]
        picked = columns.chosen(["x", "y", "z", *dimensions])
        names = [name for parts in picked.values() for name in parts]
        chunks = [{name: np.array(chunk[name]) for name in names} for chunk in reader.chunk_iterator(_CHUNK)]
    found = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in names}
    if len(found["x"]) != count:
        raise FileError(f"declares {count} points but holds {len(found['x'])}; it is truncated, export it again.")
    return columns.fields(found)
