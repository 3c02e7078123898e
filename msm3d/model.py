"""A pretrained network and the chain around it: points, voxels, hierarchy, network, interpolation, descriptors."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import weights
from ._util import memory
from ._util.devices import device_of
from ._util.progress import bar
from ._util.words import require_one_of
from .backbones import LevelInfo as LevelInfo
from .backbones import Shape, build
from .describe.answer import Answer
from .describe.regions import Region, Regions, read
from .describe.request import Reading, Scans, cloud_of, destination, levels_of, sampling_of
from .describe.scenes import batches, scenes
from .ops import Backend, backend
from .ops.usual import as_usual
from .scan.cloud import PointCloud
from .scan.normals import completed
from .scan.options import ReadOptions
from .scan.places import Part, whole
from .scan.plausible import warn_of_size
from .sparse.hierarchy import Hierarchy
from .sparse.interpolate import descriptors
from .sparse.voxels import Voxels, voxelize

TOGETHER = 1 << 14  # voxels
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""What the weights are multiplied in; sums, norms and results are fp32 either way."""


@dataclass(frozen=True, eq=False)
class Level:
    """The voxels of one level and their features."""

    cells: Tensor
    """(m, 4) int32: scene, x, y, z in units of the level's voxels, of strays far away, see `voxels.voxelize`."""
    features: Tensor
    """(m, c): the decoder's output."""
    parent: Tensor | None
    """(m,) int32: row in the next coarser level; None at the coarsest."""


class Model(nn.Module):
    """A backbone with weights: one vector per point by `extract`, voxels per level by `levels`.

    `load` and `from_pretrained` return it in evaluation mode with frozen weights; both are undone by the usual
    `train()` and `requires_grad_()`, and `forward` is differentiable then.
    """

    def __init__(self, config: Shape, *, backend: str | None = None, meta: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.config = config
        self.backbone = build(config)
        self.meta = dict(meta or {})
        self.backend = backend

    @property
    def device(self) -> torch.device:
        """Where the weights are, and so where the work is done."""
        return self.backbone.weight.device

    @property
    def ops(self) -> Backend:
        """The backend in use: the one named, or the best for the device."""
        return backend(self.device, self.backend)

    @property
    def feature_info(self) -> list[LevelInfo]:
        """Channels, voxel size and columns of each level of a descriptor, fine to coarse.

        >>> from .backbones.hunet import BackboneConfig
        >>> [(info.channels, info.voxel_size, info.slice.start) for info in Model(BackboneConfig()).feature_info[:2]]
        [(64, 0.02, 0), (96, 0.04, 64)]
        """
        return self.config.feature_info

    def __repr__(self) -> str:
        """Say which weights these are, what comes out and what computes it."""
        dtype = self.backbone.weight.dtype
        precision = next((name for name, known in PRECISIONS.items() if known == dtype), str(dtype)[len("torch.") :])
        licence = str(self.meta.get("licence") or "").partition(":")[0]
        bound = f", {licence}" if licence.startswith("CC-BY-NC") else ""  # no product may use it
        return (
            f"Model({self.meta.get('name') or 'untrained'}: {self.config.descriptor_channels} channels in "
            f"{self.config.levels} levels, {self.config.inputs.voxel_size:g} m voxels, {self.device}, "
            f"backend {self.ops.NAME}, {precision}{bound})"
        )

    @as_usual
    def extract(
        self,
        points: Any,
        *,
        color: Any = None,
        normal: Any = None,
        levels: int | Sequence[int] | None = None,
        at: str = "points",
        dtype: Any = None,
        max_memory: int | str | None = None,
        sampling: str | None = None,
        out: np.ndarray | str | os.PathLike[str] | None = None,
        progress: bool | None = False,
        up: str | None = None,
        units: str | None = None,
        invalid: str = "drop",
        mesh: str | None = None,
        min_opacity: float | None = None,
    ) -> Any:
        """Return one descriptor per point: row i belongs to point i, whatever the order of the points.

        >>> from .backbones.hunet import BackboneConfig
        >>> model = Model(BackboneConfig(channels=(16, 16), decoder_channels=(8, 16), conv_blocks=(1, 1),
        ...                              attention_blocks=(0, 1), heads=(0, 2))).eval()
        >>> points = np.random.default_rng(0).random((500, 9))  # xyz in metres, rgb within 0-1, normals
        >>> model.extract(points).shape
        (500, 24)
        >>> rows, owner = model.extract(points, at="voxels", levels=-1)
        >>> rows.shape[1], owner.shape
        (16, (500,))

        Args:
            points: a file; an (n, 3 | 6 | 9) array or tensor of xyz, rgb and normal; a dictionary with the keys
                coord, color and normal; a PointCloud; an object of Open3D, trimesh, laspy or pyvista; or a list of
                these, for which a list is returned, each entry as if alone (up to rounding on a GPU, which computes
                several together). A dictionary with `offset` or `batch` may hold several scenes, each as if alone.
            color: (n, 3), 0-255 or floats within 0-1. Missing colour is taken as neutral grey, with a warning.
            normal: (n, 3). Missing normals are estimated, with a warning.
            levels: which levels to read, fine to coarse, negative ones from the end; all by default.
            at: "points", or "voxels" for one row per finest voxel and the voxel of each point.
            dtype: of the result, such as "float16"; float32 by default.
            max_memory: what the work may take beside points and result, such as "4GB", of a GPU's memory if the model
                is on one; half of what is free by default. A scan that needs more is cut into tiles, see `tiles`.
            sampling: "centered", "published" or "parent" instead of the weights' own, see `interpolate.SAMPLINGS`.
            out: an array (n, c), such as a memory map, to write the rows to as they come, which is returned; or the
                path of an .npy file, of which a map to read is returned. A map larger than memory is written quickly
                only if points near each other in space are so in their order, too.
            progress: show a bar once the work has taken a second; None shows it in a terminal only.
            up: the axis of the data that points up: "z", "y" or "-y"; what the format says, or else z, by default.
            units: of the data: "m", "cm", "mm", "ft" or "in"; what the format says, or else m, by default.
            invalid: points without a position: "drop" leaves them out, "nan" gives them rows of NaN, and -1 as their
                voxel.
            mesh: of a file with faces, "vertices" or "surface"; by default the vertices where they are dense enough.
            min_opacity: of 3D Gaussian splats, leave out those that are less opaque, within 0 to 1.

        Returns:
            (n, c): a tensor on the input's device if tensors were given, else a numpy array. With `at="voxels"` the
            rows (m, c) of the voxels and the row (n,) of each point.

        Raises:
            InputError: the points or an argument cannot be used; the sentence says what is needed.
        """
        options = self._options(up=up, units=units, invalid=invalid, mesh=mesh, min_opacity=min_opacity)
        scans = Scans.of(points, options, color=color, normal=normal)
        reading, limit = Reading.of(self.config, levels, sampling, at, dtype), memory.budget(max_memory, self.device)
        if (file := destination(out, scans, reading)) is not None:
            return self._to_file(file, scans, reading, max_memory=max_memory, progress=progress)
        answer, ops = Answer(scans, reading, out), self.ops
        with torch.no_grad():
            for batch in batches(scenes(scans, self._voxels), self._most(limit)):  # points to scenes to voxels
                regions = Regions(batch.voxels, self.config, self.device, limit, reading.per_point)  # one, or tiles
                sink = answer.sink(batch, regions, self.channels(reading.levels))  # where the rows go
                with bar(self.backbone.steps(), regions.sizes, progress):
                    for region in regions:
                        hierarchy = region.hierarchy(self.config.levels, ops)
                        features = self.backbone(region.features, hierarchy, ops)  # of every level
                        sink.write(read(features, hierarchy, region, reading, ops, sink.most))  # the descriptors
                        del region, hierarchy, features  # the rows and the next ones need their memory
                        sink.settle()
                answer.add(batch, sink.result())
        return answer.value()

    def _to_file(self, file: Path, scans: Scans, reading: Reading, **named: Any) -> np.ndarray:
        """Write the rows of a scan to an .npy file, whole or not at all, and return a map of it."""
        from .io import results

        scan, kind = scans.given[0], str(reading.dtype).removeprefix("torch.")
        cloud = cloud_of(scan, scans.options, **scans.attributes)
        source = scan if isinstance(scan, (str, os.PathLike)) else None
        meta = results.provenance(self, reading.levels, reading.sampling, source, kind)
        named |= {"levels": reading.levels, "sampling": reading.sampling, "invalid": scans.options.invalid}
        with results.writing(file, cloud, self.channels(reading.levels), kind, meta) as rows:
            self.extract(cloud, out=rows, dtype=kind, **named)
        return np.load(file, mmap_mode="r")

    def _most(self, limit: int) -> int:
        """Return how many voxels of several scans are computed together: on a CPU few, which one large scan keeps busy.

        Small ones would each read all the weights. Only native rows do not depend on what is computed beside them.
        """
        most = limit // self.config.cost.bytes_per_voxel
        return most if self.device.type == "cuda" else min(most, TOGETHER) if self.ops.NAME == "native" else 0

    @as_usual
    def forward(
        self,
        points: Any,
        *,
        levels: int | Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        invalid: str = "drop",
    ) -> Tensor:
        """Return the descriptors (n, c) of one scan as a tensor on the model's device, with gradients to the weights.

        In training mode it needs a `generator` of the noise; the other arguments are as for `extract`.
        """
        cloud, region, hierarchy, features = self._computed(points, generator, invalid=invalid)
        rows = descriptors(features, hierarchy, self._levels(levels), self.config.sampling, self.ops, region.owner)
        places = None if cloud.rows is None else torch.from_numpy(cloud.rows)
        return whole([Part(rows, None, places, cloud.total)])[0]

    @as_usual
    def levels(self, points: Any, *, up: str | None = None, units: str | None = None) -> list[Level]:
        """Return cells, features and parents of every level, fine to coarse, before any reading at points.

        The arguments are as for `extract`, for one scan.
        """
        with torch.no_grad():
            _, _, hierarchy, features = self._computed(points, up=up, units=units)
        return [Level(grid.cells, f, grid.parents) for grid, f in zip(hierarchy.grids, features, strict=True)]

    def _computed(
        self, points: Any, generator: torch.Generator | None = None, **read: Any
    ) -> tuple[PointCloud, Region, Hierarchy, Sequence[Tensor]]:
        """Return one scan, its voxels, the grids over them, and the features of every level."""
        cloud, ops = cloud_of(points, self._options(**read)), self.ops
        region = Region.whole(self._voxels(cloud)).to(self.device)
        hierarchy = region.hierarchy(self.config.levels, ops)
        return cloud, region, hierarchy, self.backbone(region.features, hierarchy, ops, generator)

    def channels(self, levels: int | Sequence[int] | None = None) -> int:
        """Return the width of a descriptor of `levels`, all by default."""
        return sum(self.config.widths[level] for level in self._levels(levels))

    def _voxels(self, cloud: PointCloud) -> Voxels:
        inputs, size = self.config.inputs, self.config.inputs.voxel_size
        voxels = voxelize([completed(cloud, inputs.names, inputs.missing)], inputs, self.ops)
        warn_of_size(cloud.coord, len(voxels.keys), size, size * 2 ** (self.config.levels - 1))
        return voxels

    def _options(self, **given: Any) -> ReadOptions:
        return ReadOptions(**given, spacing=self.config.inputs.voxel_size)

    def _sampling(self, sampling: str | None) -> str:
        return sampling_of(sampling, self.config)

    def _levels(self, levels: int | Sequence[int] | None) -> list[int]:
        return levels_of(levels, self.config.levels)

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device | None = None,
        backend: str | None = None,
        precision: str = "fp32",
        **options: Any,
    ) -> "Model":
        """Return the model of a release, a directory or a Hub repository, with the arguments of `msm3d.load`.

        `options` may also be `cache_dir` and `token`, as for any client of the Hub.
        """
        require_one_of("precision", precision, list(PRECISIONS))
        device = device_of(device)
        directory = weights.resolve(source, **options)
        config, tensors, meta = weights.read(directory)
        weights.require_fit(config, tensors, directory)  # a stranger's config.json may ask for any size
        with torch.device("meta"):  # no time spent on drawing weights that are replaced at once
            model = cls(config, backend=backend, meta=meta)
        weights.load_state(model.backbone, tensors, directory)
        model.backbone.multiply_in(PRECISIONS[precision])
        model = model.to(device).eval().requires_grad_(False)
        model.ops  # noqa: B018  # a backend that cannot run says so now
        return model

    def save_pretrained(self, directory: str | os.PathLike[str]) -> Path:
        """Write config.json and model.safetensors, which `load` reads; whole files or nothing."""
        return weights.write(directory, self.config, self.backbone.state_dict(), self.meta)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model to the Hugging Face Hub as owner/name, made if need be, and return its address.

        `options` are `private`, `token` and `commit_message`.
        """
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as directory:
            return weights.push(self.save_pretrained(Path(directory) / "model"), repo_id, **options)


def load(
    name_or_dir: str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device | None = None,
    backend: str | None = None,
    precision: str = "fp32",
    revision: str | None = None,
    local_files_only: bool = False,
) -> Model:
    """Return a pretrained model in evaluation mode with frozen weights, ready for `extract`.

    Args:
        name_or_dir: a release (`msm3d.list_models()`), a directory of `save_pretrained` or `msm3d convert`, or a
            Hugging Face repository `owner/name`. None is the bundled `rooms-labelled`.
        device: such as "cpu" or "cuda:1"; a GPU if there is one, by default.
        backend: one of `msm3d.ops.BACKENDS`; the best for the device by default. A named one never falls back.
        precision: "fp32" or "bf16", in which the weights are multiplied.
        revision: branch, tag or commit of a Hub repository.
        local_files_only: never use the network.

    Raises:
        WeightsError: there are no such weights here, and the sentence says how to get them.
        BackendError: the backend cannot run on the device.
    """
    options = {"revision": revision, "local_files_only": local_files_only}
    return Model.from_pretrained(name_or_dir, device=device, backend=backend, precision=precision, **options)
