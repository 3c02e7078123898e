"""A pretrained network and the chain around it: points, voxels, hierarchy, network, interpolation, descriptors."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import curves, memory, weights
from .config import SAMPLINGS, BackboneConfig
from .describe import Reading, bytes_per_voxel, describe, joined
from .errors import InputError
from .hierarchy import Hierarchy
from .interpolate import descriptors
from .normals import completed
from .ops import backend
from .points import PointCloud
from .reading import ReadOptions
from .unet import UNet
from .voxels import Voxels, voxelize

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""What the weights are multiplied in; sums, norms and results are fp32 either way."""


@dataclass(frozen=True)
class LevelInfo:
    """One level of a descriptor."""

    level: int
    """0 is the finest."""
    channels: int
    """Width."""
    voxel_size: float
    """Edge of the level's voxels in metres."""
    slice: slice
    """Its columns in a descriptor of all levels."""


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

    def __init__(
        self, config: BackboneConfig, *, backend: str | None = None, meta: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.unet = UNet(config)
        self.meta = dict(meta or {})
        self.backend = backend

    # --- what it is ---

    @property
    def device(self) -> torch.device:
        """Where the weights are, and so where the work is done."""
        return self.unet.bottleneck.spec[1].device

    @property
    def ops(self) -> ModuleType:
        """The backend in use: the one named, or the best for the device."""
        return backend(self.device, self.backend)

    @property
    def feature_info(self) -> list[LevelInfo]:
        """Channels, voxel size and columns of each level of a descriptor, fine to coarse.

        >>> [(info.channels, info.voxel_size, info.slice.start) for info in Model(BackboneConfig()).feature_info[:2]]
        [(64, 0.02, 0), (96, 0.04, 64)]
        """
        stops = np.cumsum(self.config.decoder_channels).tolist()
        return [
            LevelInfo(level, width, self.config.voxel_size * 2**level, slice(stop - width, stop))
            for level, (width, stop) in enumerate(zip(self.config.decoder_channels, stops, strict=True))
        ]

    def __repr__(self) -> str:
        """Say which weights these are, what comes out and what computes it."""
        precision = next(name for name, dtype in PRECISIONS.items() if dtype == self.unet.stem.linear.weight.dtype)
        return (
            f"Model({self.meta.get('name') or 'untrained'}: {self.config.descriptor_channels} channels in "
            f"{self.config.levels} levels, {self.config.voxel_size:g} m voxels, {self.device}, "
            f"backend {self.ops.NAME}, {precision})"
        )

    # --- what it does ---

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
        out: np.ndarray | None = None,
        progress: bool = False,
        up: str | None = None,
        units: str | None = None,
        invalid: str = "drop",
        mesh: str | None = None,
        min_opacity: float | None = None,
    ) -> Any:
        """Return one descriptor per point: row i belongs to point i, whatever the order of the points.

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
                coord, color and normal; a PointCloud; an Open3D or trimesh object; or a list of these, for which a
                list is returned, each entry as if alone (up to rounding on a GPU, which computes several together).
            color: (n, 3), 0-255 or floats within 0-1. Missing colour is taken as neutral grey, with a warning.
            normal: (n, 3). Missing normals are estimated, with a warning.
            levels: which levels to read, fine to coarse, negative ones from the end; all by default.
            at: "points", or "voxels" for one row per finest voxel and the voxel of each point.
            dtype: of the result, such as "float16"; float32 by default.
            max_memory: what the work may take beside points and result, such as "4GB", of a GPU's memory if the model
                is on one; half of what is free by default. A scan that needs more is cut into tiles, see `tiles`.
            sampling: "centered" or "published" instead of the weights' own, see `interpolate.corners`.
            out: an array (n, c), such as a memory map, to write the rows to as they come; it is returned. A map larger
                than memory is written quickly only if points near each other in space are so in their order, too.
            progress: show a bar once the work has taken a second.
            up: the axis of the data that points up: "z", "y" or "-y"; what the format says, or else z, by default.
            units: of the data: "m", "cm", "mm", "ft" or "in"; what the format says, or else m, by default.
            invalid: points without a position: "drop" leaves them out, "nan" gives them rows of NaN.
            mesh: of a file with faces, "vertices" or "surface"; by default the vertices where they are dense enough.
            min_opacity: of 3D Gaussian splats, leave out those that are less opaque, within 0 to 1.

        Returns:
            (n, c): a tensor on the input's device if tensors were given, else a numpy array. With `at="voxels"` the
            rows (m, c) of the voxels and the row (n,) of each point.

        Raises:
            InputError: the points or an argument cannot be used; the sentence says what is needed.
        """
        several = isinstance(points, (list, tuple))
        if several and (color is not None or normal is not None or out is not None):
            raise InputError("color=, normal= and out= go with one scan; for a list give each scan as a dictionary.")
        if at not in ("points", "voxels"):
            raise InputError(f"at is {at!r}; choose 'points' or 'voxels'.")
        options = self._options(up=up, units=units, invalid=invalid, mesh=mesh, min_opacity=min_opacity)
        scans = [_scan(scan, i) for i, scan in enumerate(points)] if several else [points]
        reading = Reading(
            levels=self._levels(levels),
            sampling=self._sampling(sampling),
            per_point=at == "points",
            dtype=_dtype(dtype) or torch.float32,
        )
        limit = memory.available(self.device) // 2 if max_memory is None else memory.size(max_memory)
        results = []
        with torch.no_grad():
            for batch in self._batches(scans, limit, reading.dtype, color=color, normal=normal, options=options):
                results += self._described(batch, reading, limit, out, progress)
        return results if several else results[0]

    def _batches(
        self, scans: Sequence[Any], limit: int, dtype: torch.dtype, **read: Any
    ) -> Iterator[list[tuple[Tensor | None, Voxels]]]:
        """Yield the scans as voxels, each with a tensor of its input if there is one: on a GPU as many as fit."""
        batch, most = [], self._most(limit)
        for scan in scans:
            like = _tensor_in(scan)
            if like is None and dtype == torch.bfloat16:
                raise InputError("numpy has no bfloat16; pass dtype='float16', or the points as a torch tensor.")
            voxels = self._voxels(_cloud(scan, **read))
            taken = sum(len(v.keys) for _, v in batch)
            if batch and taken + len(voxels.keys) > most:
                yield batch
                batch = []
            batch.append((like, voxels))
            if taken + len(voxels.keys) >= most or len(batch) == curves.MAX_SCENES:
                yield batch
                batch = []
        if batch:
            yield batch

    def _most(self, limit: int) -> int:
        """Return how many voxels of several scans are computed together: none on a CPU, which one scan keeps busy."""
        return limit // bytes_per_voxel(self.config) if self.device.type == "cuda" else 0

    def _described(
        self,
        batch: Sequence[tuple[Tensor | None, Voxels]],
        reading: Reading,
        limit: int,
        out: np.ndarray | None,
        progress: bool,
    ) -> list[Any]:
        """Return what `extract` returns for each scan of a batch."""
        scenes = [voxels for _, voxels in batch]
        like = batch[0][0]
        to = like.device if like is not None and len({None if x is None else x.device for x, _ in batch}) == 1 else None
        rows = describe(self.unet, joined(scenes), reading, self.ops, self.device, limit, out, progress, to)
        sizes = [len(voxels.owner) if reading.per_point else len(voxels.keys) for voxels in scenes]
        results = []
        for (like, voxels), part in zip(batch, rows.split(sizes), strict=True):
            if out is not None:
                part = out
            else:
                part = part.cpu().numpy() if like is None else part.to(like.device)
            owner = voxels.owner.numpy() if like is None else voxels.owner.to(like.device)
            results.append(part if reading.per_point else (part, owner))
        return results

    def forward(
        self, points: Any, *, levels: int | Sequence[int] | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the descriptors (n, c) of one scan as a tensor on the model's device, with gradients to the weights.

        Args:
            points: one scan, as for `extract`.
            levels: as for `extract`.
            generator: of the noise in training mode, which fails without one.
        """
        voxels = self._voxels(_cloud(points, self._options()))
        hierarchy, features = self._features(voxels, generator)
        owner = voxels.owner.to(self.device)
        return descriptors(features, hierarchy, self._levels(levels), self.config.sampling, self.ops, owner)

    def levels(self, points: Any, *, up: str | None = None, units: str | None = None) -> list[Level]:
        """Return cells, features and parents of every level, fine to coarse, before any reading at points.

        Args:
            points: one scan, as for `extract`.
            up: as for `extract`.
            units: as for `extract`.
        """
        with torch.no_grad():
            voxels = self._voxels(_cloud(points, self._options(up=up, units=units)))
            hierarchy, features = self._features(voxels)
        return [Level(grid.cells, f, grid.parents) for grid, f in zip(hierarchy.grids, features, strict=True)]

    def _features(self, voxels: Voxels, generator: torch.Generator | None = None) -> tuple[Hierarchy, list[Tensor]]:
        hierarchy = Hierarchy.of(voxels.keys.to(self.device), self.config.levels, self.ops)
        return hierarchy, self.unet(voxels.features.to(self.device), hierarchy, self.ops, generator)

    def _voxels(self, cloud: PointCloud) -> Voxels:
        return voxelize([completed(cloud)], self.config.voxel_size, self.ops, self.config.origin)

    def _options(self, **given: Any) -> ReadOptions:
        return ReadOptions(**given, spacing=self.config.voxel_size)

    def _sampling(self, sampling: str | None) -> str:
        sampling = self.config.sampling if sampling is None else sampling
        if sampling not in SAMPLINGS:
            raise InputError(f"sampling is {sampling!r}; choose one of {', '.join(SAMPLINGS)}.")
        return sampling

    def channels(self, levels: int | Sequence[int] | None = None) -> int:
        """Return the width of a descriptor of `levels`, all by default."""
        return sum(self.config.decoder_channels[level] for level in self._levels(levels))

    def _levels(self, levels: int | Sequence[int] | None) -> list[int]:
        n = self.config.levels
        asked = list(range(n)) if levels is None else [levels] if isinstance(levels, int) else list(levels)
        if not asked or any(not isinstance(level, int) or not -n <= level < n for level in asked):
            raise InputError(
                f"levels is {levels!r}; give some of 0 (finest) to {n - 1}, or negative ones from the end."
            )
        return [level % n for level in asked]

    # --- where it comes from and goes to ---

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
        """Return the model of a release, a directory or a Hub repository; see `msm3d.load`.

        Args:
            source: as for `load`.
            device: as for `load`.
            backend: as for `load`.
            precision: as for `load`.
            **options: `revision`, `local_files_only`, `cache_dir` and `token`, as for any Hub client.
        """
        if precision not in PRECISIONS:
            raise InputError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}.")
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        directory = weights.resolve(source, **options)
        config, tensors, meta = weights.read(directory)
        with torch.device("meta"):  # no time spent on drawing weights that are replaced at once
            model = cls(config, backend=backend, meta=meta)
        model.unet.to_empty(device="cpu")
        weights.load_state(model.unet, tensors, directory)
        for parameter in model.unet.parameters():
            if parameter.dim() > 1:
                parameter.data = parameter.data.to(PRECISIONS[precision])
        model = model.to(device).eval().requires_grad_(False)
        model.ops  # noqa: B018  # a backend that cannot run says so now
        return model

    def save_pretrained(self, directory: str | os.PathLike[str]) -> Path:
        """Write config.json and model.safetensors, which `load` reads; whole files or nothing."""
        return weights.write(directory, self.config, self.unet.state_dict(), self.meta)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model to the Hugging Face Hub and return its address.

        Args:
            repo_id: owner/name; made if it does not exist.
            **options: `private`, `token` and `commit_message`.
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
            Hugging Face repository `owner/name`. None is the bundled model.
        device: such as "cpu" or "cuda:1"; a GPU if there is one, by default.
        backend: one of `msm3d.ops.BACKENDS`; the best for the device by default. A named one never falls back.
        precision: "fp32" or "bf16", in which the weights are multiplied.
        revision: branch, tag or commit of a Hub repository.
        local_files_only: never use the network.

    Raises:
        WeightsError: there are no such weights here, and the sentence says how to get them.
        BackendError: the backend cannot run on the device.
    """
    return Model.from_pretrained(
        name_or_dir,
        device=device,
        backend=backend,
        precision=precision,
        revision=revision,
        local_files_only=local_files_only,
    )


def _cloud(points: Any, options: ReadOptions, color: Any = None, normal: Any = None) -> PointCloud:
    from .io import as_cloud

    return as_cloud(points, color=color, normal=normal, options=options)


def _scan(scan: Any, i: int) -> Any:
    if isinstance(scan, (list, tuple)) or (np.isscalar(scan) and not isinstance(scan, str)):
        raise InputError(f"entry {i} of the list is a {type(scan).__name__}; a list holds scans, one scan is an array.")
    return scan


def _tensor_in(points: Any) -> Tensor | None:
    """Return a tensor of the input, if it has one: then tensors are returned, and where it is."""
    values = points.values() if isinstance(points, dict) else [points]
    return next((value for value in values if isinstance(value, Tensor)), None)


def _dtype(dtype: Any) -> torch.dtype | None:
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    good = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
    if name not in good:
        raise InputError(f"dtype is {dtype!r}; choose one of {', '.join(good)}.")
    return good[name]
