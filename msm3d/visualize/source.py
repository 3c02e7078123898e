"""Where the features that are shown come from: a model, or files of `msm3d extract`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._util import memory, stages
from .._util.atomic import scratch
from .._util.words import count, option, warn
from ..errors import InputError
from ..io import as_cloud, results
from ..io.layouts import mapped
from ..model import LevelInfo, Model
from ..scan.cloud import PointCloud
from ..scan.normals import completed, estimated
from ..scan.options import ReadOptions
from .saved import as_made, placed, rows_of, saved


class Described(NamedTuple):
    """Scans with their features."""

    clouds: list[PointCloud]
    features: list[np.ndarray]
    """(n, c) of each scan, row i of point i; may be a memory map."""
    levels: list[LevelInfo]
    """Of the features, with their columns; empty where a file does not say."""
    maker: str
    """The model in words, or who wrote the files."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """How scans get their features."""

    load: Callable[[], Model]
    """Gives the model, once everything else has been checked; not called where there are files."""
    files: Sequence[str] | None = None
    """A file of `msm3d extract` for each scan, in their order, instead of the model."""
    levels: Sequence[int] | None = None
    """Of the descriptor; all by default."""
    max_memory: int | str | None = None
    """As for `Model.extract`."""
    options: ReadOptions = field(default_factory=ReadOptions)
    """How the scans are to be understood."""

    @contextmanager
    def opened(self, scans: Sequence[str], folder: Path) -> Iterator[Described]:
        """Yield scans with their features, of which large ones lie in `folder` for as long."""
        if self.files is not None:
            yield self._read(scans, self.files)
            return
        model, features = self.load(), []
        clouds, width = [], model.channels(self.levels)
        with ExitStack() as stack:
            for i, scan in enumerate(scans):
                with stages.of(scan):
                    cloud = self._scan(scan, model)
                    if len(cloud) * width * 2 < memory.available() // 4:
                        out = np.empty((len(cloud), width), np.float16)
                    else:
                        out = mapped(stack.enter_context(scratch(folder)) / f"{i}.bin", np.float16, (len(cloud), width))
                    kept = {"levels": self.levels, "dtype": "float16", "max_memory": self.max_memory}
                    features.append(model.extract(cloud, out=out, progress=True, **kept))
                clouds.append(cloud)
            known = model.feature_info
            levels = placed([known[level] for level in (range(len(known)) if self.levels is None else self.levels)])
            name = model.meta.get("name") or "untrained"
            yield Described(clouds, features, levels, f"{name}, {model.config.descriptor_channels} channels")

    def _scan(self, scan: str, model: Model) -> PointCloud:
        _tell_of_features(scan)
        cloud = completed(as_cloud(scan, options=replace(self.options, spacing=model.config.inputs.voxel_size)))
        return replace(cloud, total=None)  # only what is there can be shown

    def _read(self, scans: Sequence[str], files: Sequence[str]) -> Described:
        """Return scans with the features in files."""
        if len(files) != len(scans):
            raise InputError(
                f"there are {len(files)} files of features for {count(len(scans), 'scan')}; give one for each scan."
            )
        kept = [saved(file, self.levels) for file in files]
        if len({tuple(info.channels for info in infos) for _, infos, _ in kept}) > 1:
            raise InputError(f"{files[0]} and the others hold other levels; extract all scans alike.")
        clouds, features = [], []
        for scan, file, (rows, _, _) in zip(scans, files, kept, strict=True):
            cloud = as_cloud(scan, options=as_made(file, scan, self.options))
            features.append(rows_of(cloud, scan, rows, file))
            # normals are for light and for hiding walls alone, so that nobody need be told that they are estimated
            normal = estimated(cloud.coord) if cloud.normal is None else cloud.normal
            clouds.append(replace(cloud, normal=normal, total=None))
        return Described(clouds, features, *kept[0][1:])


def _tell_of_features(scan: str) -> None:
    """Warn where a scan's file holds features, which are about to be computed once more."""
    try:
        meta = results.metadata(scan)
    except InputError:  # it is of a kind that holds none, or reading it says what is wrong
        return
    if meta is not None and meta.get("sha256"):
        warn(
            f"the file holds features of {meta.get('model')} already, which are computed again; to use them, pass "
            f"{option('features', scan)}."
        )
