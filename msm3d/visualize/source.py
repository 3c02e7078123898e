"""Where the features that are shown come from: a model, or files of `msm3d extract`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._util import stages
from .._util.words import count, option, warn
from ..errors import InputError
from ..io import as_cloud, results
from ..model import LevelInfo, Model
from ..scan.cloud import PointCloud
from ..scan.normals import completed, estimated
from ..scan.options import ReadOptions
from ..tasks.described import described
from .rows import Copies


class Described(NamedTuple):
    """Scans with their features."""

    clouds: list[PointCloud]
    features: list[Copies]  # (n, c) of each scan; the rows may be a memory map
    levels: list[LevelInfo]  # of the features, with their columns; empty where a file does not say
    maker: str  # the model in words, or who wrote the files
    read: list[PointCloud]  # the scans as they were read


@dataclass(frozen=True, kw_only=True)
class Source:
    """How scans get their features."""

    load: Callable[[], Model]
    """Gives the model, once everything else has been checked; not called where there are files."""
    files: Sequence[str] | None = None  # a file of `msm3d extract` for each scan, in their order, instead of the model
    levels: Sequence[int] | None = None  # of the descriptor; all by default
    max_memory: int | str | None = None  # as for `Model.extract`
    options: ReadOptions = field(default_factory=ReadOptions)  # how the scans are to be understood

    @contextmanager
    def opened(self, scans: Sequence[str], folder: Path) -> Iterator[Described]:
        """Yield scans with their features, of which large ones lie in `folder` for as long."""
        if self.files is not None:
            yield self._read(scans, self.files)
            return
        model, features = self.load(), []
        clouds, read = [], []
        asked: dict[str, Any] = {
            "levels": self.levels,
            "dtype": "float16",
            "max_memory": self.max_memory,
            "progress": True,
        }
        with ExitStack() as stack:
            for scan in scans:
                with stages.of(scan):
                    _tell_of_features(scan)
                    inputs = model.config.inputs
                    cloud = as_cloud(scan, options=replace(self.options, spacing=inputs.voxel_size))
                    read.append(cloud)
                    cloud = replace(cloud, total=None)  # only what is there can be shown
                    if inputs.missing == "estimated":  # once, for the network and for the picture
                        cloud = completed(cloud)
                    features.append(Copies(*stack.enter_context(described(model, cloud, folder, **asked))))
                clouds.append(_shown(cloud))
            known = model.feature_info
            levels = placed(known if self.levels is None else [known[level] for level in self.levels])
            name = model.meta.get("name") or "untrained"
            maker = f"{name}, {model.config.descriptor_channels} channels"
            yield Described(clouds, features, levels, maker, read)

    def _read(self, scans: Sequence[str], files: Sequence[str]) -> Described:
        """Return scans with the features in files."""
        if len(files) != len(scans):
            raise InputError(
                f"there are {len(files)} files of features for {count(len(scans), 'scan')}; give one for each scan."
            )
        kept = [Saved.of(file, self.levels) for file in files]
        if len({tuple(info.channels for info in one.levels) for one in kept}) > 1:
            raise InputError(f"{files[0]} and the others hold other levels; extract all scans alike.")
        read = [as_cloud(scan, options=one.options(scan, self.options)) for scan, one in zip(scans, kept, strict=True)]
        features = [Copies.of(one.rows_of(cloud, scan)) for scan, one, cloud in zip(scans, kept, read, strict=True)]
        return Described(list(map(_shown, read)), features, kept[0].levels, kept[0].maker, read)


def _shown(cloud: PointCloud) -> PointCloud:
    """Return a scan with normals, for light and for hiding walls alone: nobody need be told that they are estimated."""
    normal = estimated(cloud.coord) if cloud.normal is None else cloud.normal
    return replace(cloud, normal=normal, total=None)


def _tell_of_features(scan: str) -> None:
    """Warn where a scan's file holds features, which are about to be computed once more."""
    try:
        meta = results.metadata(scan) or {}
    except InputError:  # it is of a kind that holds none, or reading it says what is wrong
        return
    if meta.get("sha256"):
        warn(
            f"the file holds features of {meta.get('model')} already, which are computed again; to use them, pass "
            f"{option('features', scan)}."
        )


@dataclass(frozen=True)
class Saved:
    """The features in a file, of some levels or of all, and what the file says of them."""

    file: str
    rows: np.ndarray
    levels: list[LevelInfo]
    meta: dict[str, Any]

    @classmethod
    def of(cls, file: str, levels: Sequence[int] | None = None) -> "Saved":
        """Open a file; it must have the levels."""
        rows, meta = results.features(file), results.metadata(file) or {}
        known = _levels(meta, rows.shape[1])
        if levels is not None:
            places = {info.level: info for info in known}
            wanted = [level + max(places, default=-1) + 1 if level < 0 else level for level in levels]
            if not set(wanted) <= set(places):
                there = f"the levels {', '.join(map(str, places))}" if places else "no levels that it names"
                raise InputError(f"{file} holds {there}; leave out {option('levels')}, or choose among those.")
            known = [places[level] for level in wanted]
            rows = rows[:, np.concatenate([np.arange(info.slice.start, info.slice.stop) for info in known])]
        return cls(file, rows, placed(known), meta)

    @property
    def maker(self) -> str:
        """Who made them."""
        name = self.meta.get("model")
        return f"{name}, {self.rows.shape[1]} channels" if name else Path(self.file).name

    def options(self, scan: str, options: ReadOptions) -> ReadOptions:
        """Return how `scan` was read when these features were made of it, where that is not given otherwise.

        Points without a position have a row of their own or none, which the number of rows tells.
        """
        options, read = replace(options, invalid="nan"), self.meta.get("read")
        own = self.meta.get("source") == Path(scan).name and not Path(scan).samefile(self.file)
        if not own or not isinstance(read, dict):
            return options
        plain, names = ReadOptions(), ("up", "units", "mesh", "min_opacity", "spacing", "bounds", "resolution", "topic")
        left = [name for name in names if name in read and getattr(options, name) == getattr(plain, name)]
        try:
            return replace(options, **{name: read[name] for name in left})
        except InputError:  # it says nothing that can be used
            return options

    def rows_of(self, cloud: PointCloud, scan: str) -> np.ndarray:
        """Return the features of a cloud's points: all, or of a file with rows of NaN those that have a position."""
        file, rows, there = self.file, self.rows, results.coord(self.file)
        if cloud.rows is not None and len(rows) == cloud.total:
            rows, there = rows[cloud.rows], None if there is None else there[cloud.rows]
        if len(rows) != len(cloud):
            raise InputError(
                f"{file} has {len(rows):,} rows, {scan} has {len(cloud):,} points; give the features of this scan."
            )
        if there is not None and there.shape == cloud.coord.shape:
            off = np.abs(there.astype(np.float64) - cloud.coord).max()
            if not off < 1e-3 + 1e-6 * np.abs(cloud.coord).max():
                raise InputError(
                    f"{file} has points that are up to {off:.3g} m from those of {scan}; give the features of this "
                    f"scan, and {option('up')} and {option('units')} as they were made with."
                )
        return rows


def placed(infos: Sequence[LevelInfo]) -> list[LevelInfo]:
    """Return levels with columns one after the other."""
    stops = np.cumsum([info.channels for info in infos]).tolist()
    return [replace(info, slice=slice(stop - info.channels, stop)) for info, stop in zip(infos, stops, strict=True)]


def _levels(meta: dict[str, Any], channels: int) -> list[LevelInfo]:
    """Return the levels that a file says its columns are, or none where it says nothing that fits them."""
    found: list[Any] = [meta.get(name) for name in ("levels", "channels", "voxel_size")]
    levels, widths, size = found
    for values in (levels, widths):
        if not isinstance(values, list) or not values or not all(type(v) is int and v >= 0 for v in values):
            return []
    if len(levels) != len(widths) or sum(widths) != channels or max(levels) > 30:
        return []
    if not isinstance(size, (int, float)) or not 0 < size < 100:
        return []
    pairs = zip(levels, widths, strict=True)
    return placed([LevelInfo(level, width, size * 2.0**level, slice(0)) for level, width in pairs])
