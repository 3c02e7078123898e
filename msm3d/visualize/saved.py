"""Features from a file of `msm3d extract`: what their columns are, and whether they belong to a scan."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .._util.words import option
from ..errors import InputError
from ..io import results
from ..model import LevelInfo
from ..scan.cloud import PointCloud
from ..scan.options import ReadOptions


def saved(file: str, levels: Sequence[int] | None = None) -> tuple[np.ndarray, list[LevelInfo], str]:
    """Return the features in a file, of some levels or of all, those levels, and who made them.

    Raises:
        FileError: the file is missing, or holds no features.
        InputError: the file does not say that it has such levels.
    """
    rows, meta = results.features(file), results.metadata(file)
    known = _levels(meta or {}, rows.shape[1])
    name = str((meta or {}).get("model") or "")
    if levels is not None:
        places = {info.level: info for info in known}
        top = max(places, default=-1)
        wanted = [level + top + 1 if level < 0 else level for level in levels]
        if not set(wanted) <= set(places):
            there = f"the levels {', '.join(map(str, places))}" if places else "no levels that it names"
            raise InputError(f"{file} holds {there}; leave out {option('levels')}, or choose among those.")
        known = [places[level] for level in wanted]
        rows = rows[:, np.concatenate([np.arange(info.slice.start, info.slice.stop) for info in known])]
    return rows, placed(known), f"{name}, {rows.shape[1]} channels" if name else Path(file).name


def as_made(file: str, scan: str, options: ReadOptions) -> ReadOptions:
    """Return how a scan was read when the features in a file were made of it, where that is not given otherwise.

    Points without a position have a row of their own or none, which the number of rows tells.
    """
    meta, options = results.metadata(file) or {}, replace(options, invalid="nan")
    read, own = meta.get("read"), meta.get("source") == Path(scan).name and not Path(scan).samefile(file)
    if not own or not isinstance(read, dict):
        return options
    plain = ReadOptions()
    names = ("up", "units", "mesh", "min_opacity", "spacing")
    left = [name for name in names if name in read and getattr(options, name) == getattr(plain, name)]
    try:
        return replace(options, **{name: read[name] for name in left})
    except InputError:  # it says nothing that can be used
        return options


def placed(infos: Sequence[LevelInfo]) -> list[LevelInfo]:
    """Return levels with columns one after the other."""
    stops = np.cumsum([info.channels for info in infos]).tolist()
    return [replace(info, slice=slice(stop - info.channels, stop)) for info, stop in zip(infos, stops, strict=True)]


def rows_of(cloud: PointCloud, scan: str, rows: np.ndarray, file: str) -> np.ndarray:
    """Return the features of a cloud's points: all rows, or of a file with rows of NaN those that have a position.

    Raises:
        InputError: they are not of these points.
    """
    there, total = results.coord(file), cloud.total
    if cloud.rows is not None and total is not None and len(rows) == total:
        rows, there = rows[cloud.rows], None if there is None else there[cloud.rows]
    if len(rows) != len(cloud):
        raise InputError(
            f"{file} has {len(rows):,} rows, {scan} has {len(cloud):,} points; give the features of this scan."
        )
    if there is not None and there.shape == cloud.coord.shape:
        off = np.abs(there.astype(np.float64) - cloud.coord).max()
        if not off < 1e-3 + 1e-6 * np.abs(cloud.coord).max():
            raise InputError(
                f"{file} has points that are up to {off:.3g} m from those of {scan}; give the features of this scan, "
                f"and {option('up')} and {option('units')} as they were made with."
            )
    return rows


def _levels(meta: dict[str, Any], channels: int) -> list[LevelInfo]:
    """Return the levels that a file says its columns are, or none where it says nothing that fits them."""
    levels, widths = (_whole(meta.get(name)) for name in ("levels", "channels"))
    size = meta.get("voxel_size")
    if not levels or len(levels) != len(widths) or sum(widths) != channels or max(levels) > 30:
        return []
    if not isinstance(size, (int, float)) or not 0 < size < 100:
        return []
    infos = [LevelInfo(level, width, size * 2.0**level, slice(0)) for level, width in zip(levels, widths, strict=True)]
    return placed(infos)


def _whole(values: Any) -> list[int]:
    """Return a list of whole numbers from 0, or nothing in place of anything else."""
    good = isinstance(values, list) and all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in values)
    return values if good else []
