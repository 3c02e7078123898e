"""A pretrained network and the chain around it: points, voxels, hierarchy, network, interpolation, descriptors."""

import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import weights
from ._util import atomic, memory
from ._util.devices import device_of
from ._util.words import require_one_of
from .backbones import LevelInfo as LevelInfo
from .backbones import Shape, build
from .describe import Reading, describe, joined, require_fit
from .errors import InputError, quoted
from .ops import Backend, backend, curves
from .ops.usual import as_usual
from .scan.cloud import PointCloud
from .scan.normals import completed
from .scan.objects import files, scenes_of
from .scan.options import ReadOptions
from .scan.places import Part, spread, whole
from .scan.plausible import warn_of_size
from .sparse.hierarchy import Hierarchy
from .sparse.interpolate import SAMPLINGS, descriptors
from .sparse.voxels import Voxels, voxelize

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""What the weights are multiplied in; sums, norms and results are fp32 either way."""
_NO_BFLOAT16 = "numpy has no bfloat16; pass dtype='float16', or the points as a torch tensor."


@dataclass(frozen=True, eq=False)
class _Scene:
    """One scene on its way through the network."""

    scan: int
    """Which of the scans it is of."""
    like: Tensor | None
    """A tensor of the input, if there is one."""
    voxels: Voxels
    """What is computed."""
    places: Tensor | None
    """(n,) the row of the scan that each point is; None where all are there in their order."""
    total: int | None
    """How many points the scan has, where those without a position get a row; None leaves them out."""


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

    # --- what it is ---

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
        return (
            f"Model({self.meta.get('name') or 'untrained'}: {self.config.descriptor_channels} channels in "
            f"{self.config.levels} levels, {self.config.inputs.voxel_size:g} m voxels, {self.device}, "
            f"backend {self.ops.NAME}, {precision})"
        )

    # --- what it does ---

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
        several = isinstance(points, (list, tuple))
        if several and (color is not None or normal is not None or out is not None):
            raise InputError("color=, normal= and out= go with one scan; for a list give each scan as a dictionary.")
        if not isinstance(at, str) or at not in ("points", "voxels"):
            given = repr(at) if isinstance(at, str) else f"a {type(at).__name__}"
            raise InputError(
                f"at is {given}; choose 'points' or 'voxels'. For rows at other places, extract the scan and take "
                "those of the points nearest to them."
            )
        options = self._options(up=up, units=units, invalid=invalid, mesh=mesh, min_opacity=min_opacity)
        scans = [_scan(scan, i) for i, scan in enumerate(points)] if several else [points]
        reading = Reading(
            levels=self._levels(levels),
            sampling=self._sampling(sampling),
            per_point=at == "points",
            dtype=_dtype(dtype) or torch.float32,
        )
        limit = memory.available(self.device) // 2 if max_memory is None else memory.size(max_memory)
        given = {"color": color, "normal": normal, "options": options}
        if out is not None and len(scenes_of(points)) > 1:
            raise InputError("out= goes with one scene; leave it out, or give the scenes one by one.")
        if isinstance(out, (str, os.PathLike)):
            return self._to_file(_npy(out, [points, color, normal], reading), points, reading, limit, progress, given)
        done: list[list[Part]] = [[] for _ in scans]
        with torch.no_grad():
            for batch in self._batches(scans, limit, reading.dtype, **given):
                for part in self._described(batch, reading, limit, out, progress):
                    done[part.scan].append(part)
        results = []
        for scan, found in zip(scans, done, strict=True):
            rows, owner = whole(found) if out is None or found[0].owner is not None else (found[0].rows, None)
            if _tensor_in(scan) is None:
                rows, owner = rows.numpy(), None if owner is None else owner.numpy()
            rows = rows if out is None else out
            results.append(rows if owner is None else (rows, owner))
        return results if several else results[0]

    def _to_file(
        self, path: Path, points: Any, reading: Reading, limit: int, progress: bool | None, given: dict[str, Any]
    ) -> np.ndarray:
        """Write the rows to an .npy file, whole or not at all, and return a map of it."""
        from .io import results

        cloud, kind = _cloud(points, **given), str(reading.dtype).removeprefix("torch.")
        source = points if isinstance(points, (str, os.PathLike)) else None
        meta = results.provenance(self, reading.levels, reading.sampling, source, kind)
        with results.writing(path, cloud, self._width(reading), kind, meta) as rows, torch.no_grad():
            for batch in self._batches([cloud], limit, reading.dtype, options=given["options"]):
                self._described(batch, reading, limit, rows, progress)
        return np.load(path, mmap_mode="r")

    def _batches(self, scans: Sequence[Any], limit: int, dtype: torch.dtype, **read: Any) -> Iterator[list[_Scene]]:
        """Yield the scenes of the scans: on a GPU as many together as fit."""
        batch, most, taken = [], self._most(limit), 0
        for scene in self._scenes(scans, dtype, **read):
            m = len(scene.voxels.keys)
            if batch and taken + m > most:
                yield batch
                batch, taken = [], 0
            batch.append(scene)
            taken += m
            if taken >= most or len(batch) == curves.MAX_SCENES:
                yield batch
                batch, taken = [], 0
        if batch:
            yield batch

    def _scenes(
        self, scans: Sequence[Any], dtype: torch.dtype, *, options: ReadOptions, color: Any = None, normal: Any = None
    ) -> Iterator[_Scene]:
        """Yield the voxels of each scene of each scan."""
        for i, scan in enumerate(scans):
            like = _tensor_in(scan)
            if like is None and dtype == torch.bfloat16:
                raise InputError(_NO_BFLOAT16)
            given = {name: value for name, value in (("color", color), ("normal", normal)) if value is not None}
            if isinstance(scan, Mapping):
                scan, given = {**scan, **given}, {}
            pieces = scenes_of(scan)
            total = sum(len(rows) for _, rows in pieces if rows is not None) if options.invalid == "nan" else 0
            for piece, rows in pieces:
                cloud = _cloud(piece, options, **given)
                if rows is None:
                    rows = cloud.rows
                elif cloud.rows is not None:
                    rows = rows[cloud.rows]
                places = None if rows is None else torch.from_numpy(rows)
                yield _Scene(i, like, self._voxels(cloud), places, total or cloud.total)

    def _most(self, limit: int) -> int:
        """Return how many voxels of several scans are computed together: none on a CPU, which one scan keeps busy."""
        return limit // self.config.cost.bytes_per_voxel if self.device.type == "cuda" else 0

    def _described(
        self,
        batch: Sequence[_Scene],
        reading: Reading,
        limit: int,
        out: np.ndarray | None,
        progress: bool | None,
    ) -> list[Part]:
        """Return the rows of each scene of a batch, on the device of its input; with `out` they are written there."""
        first, gaps = out, batch[0].places if reading.per_point and batch[0].total else None
        if out is not None and gaps is not None:
            require_fit(out, (batch[0].total or 0, self._width(reading)), reading.dtype)
            first = out[: len(gaps)]
        voxels = [scene.voxels for scene in batch]
        devices = {None if scene.like is None else scene.like.device for scene in batch}
        to = devices.pop() if len(devices) == 1 else None
        found = describe(self.backbone, joined(voxels), reading, self.ops, self.device, limit, first, progress, to)
        if out is not None and gaps is not None:
            spread(out, gaps.numpy())
        done = []
        sizes = [len(v.owner) if reading.per_point else len(v.keys) for v in voxels]
        for scene, rows in zip(batch, found.split(sizes), strict=True):
            device = torch.device("cpu") if scene.like is None else scene.like.device
            owner = None if reading.per_point else scene.voxels.owner.to(device)
            done.append(Part(scene.scan, rows.to(device), owner, scene.places, scene.total))
        return done

    def _width(self, reading: Reading) -> int:
        return sum(self.config.widths[level] for level in reading.levels)

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

        Args:
            points: one scan, as for `extract`.
            levels: as for `extract`.
            generator: of the noise in training mode, which fails without one.
            invalid: as for `extract`.
        """
        cloud = _cloud(points, self._options(invalid=invalid))
        voxels = self._voxels(cloud)
        hierarchy, features = self._features(voxels, generator)
        owner = voxels.owner.to(self.device)
        rows = descriptors(features, hierarchy, self._levels(levels), self.config.sampling, self.ops, owner)
        places = None if cloud.rows is None else torch.from_numpy(cloud.rows)
        return whole([Part(0, rows, None, places, cloud.total)])[0]

    @as_usual
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
        return hierarchy, self.backbone(voxels.features.to(self.device), hierarchy, self.ops, generator)

    def _voxels(self, cloud: PointCloud) -> Voxels:
        inputs, size = self.config.inputs, self.config.inputs.voxel_size
        voxels = voxelize([completed(cloud, inputs.names)], inputs, self.ops)
        warn_of_size(cloud.coord, len(voxels.keys), size, size * 2 ** (self.config.levels - 1))
        return voxels

    def _options(self, **given: Any) -> ReadOptions:
        return ReadOptions(**given, spacing=self.config.inputs.voxel_size)

    def _sampling(self, sampling: str | None) -> str:
        sampling = self.config.sampling if sampling is None else sampling
        require_one_of("sampling", sampling, list(SAMPLINGS))
        return sampling

    def channels(self, levels: int | Sequence[int] | None = None) -> int:
        """Return the width of a descriptor of `levels`, all by default."""
        return sum(self.config.widths[level] for level in self._levels(levels))

    def _levels(self, levels: int | Sequence[int] | None) -> list[int]:
        n = self.config.levels
        if levels is None:
            return list(range(n))
        try:
            asked = [_whole(levels)]
        except TypeError:
            try:
                asked = [_whole(level) for level in levels]  # pyright: ignore[reportGeneralTypeIssues]
            except TypeError:
                asked = []
        if not asked or any(not -n <= level < n for level in asked):
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
        require_one_of("precision", precision, list(PRECISIONS))
        device = device_of(device)
        directory = weights.resolve(source, **options)
        config, tensors, meta = weights.read(directory)
        weights.require_fit(config, tensors, directory)  # a stranger's config.json may ask for any size
        with torch.device("meta"):  # no time spent on drawing weights that are replaced at once
            model = cls(config, backend=backend, meta=meta)
        model.backbone.to_empty(device="cpu")
        weights.load_state(model.backbone, tensors, directory)
        for parameter in model.backbone.parameters():
            if parameter.dim() > 1:
                parameter.data = parameter.data.to(PRECISIONS[precision])
        model = model.to(device).eval().requires_grad_(False)
        model.ops  # noqa: B018  # a backend that cannot run says so now
        return model

    def save_pretrained(self, directory: str | os.PathLike[str]) -> Path:
        """Write config.json and model.safetensors, which `load` reads; whole files or nothing."""
        return weights.write(directory, self.config, self.backbone.state_dict(), self.meta)

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
        raise InputError(
            f"entry {i} of the list is a {type(scan).__name__}; a list holds scans: wrap one scan in np.array."
        )
    return scan


def _npy(out: str | os.PathLike[str], given: Sequence[Any], reading: Reading) -> Path:
    """Return the path of an .npy file to write, or say why it is none before any work is done."""
    path = Path(out)
    if path.suffix.lower() != ".npy":
        raise InputError(f"out is {str(path)!r}; end it with .npy, or let `msm3d extract` write other kinds.")
    if not reading.per_point:
        raise InputError("out= as a path goes with at='points'; leave one of them out.")
    if reading.dtype == torch.bfloat16:
        raise InputError(_NO_BFLOAT16)
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}; make it first.")
    atomic.apart([path], [file for points in given for file in files(points)])
    return path


def _tensor_in(points: Any) -> Tensor | None:
    """Return a tensor of the input, if it has one: then tensors are returned, and where it is."""
    values = points.values() if isinstance(points, Mapping) else [points]
    return next((value for value in values if isinstance(value, Tensor)), None)


def _whole(value: Any) -> int:
    """Return a whole number of any kind; a boolean is none, alone in an array or tensor neither."""
    if "bool" in str(getattr(value, "dtype", type(value))):
        raise TypeError
    return operator.index(value)


def _dtype(dtype: Any) -> torch.dtype | None:
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    try:
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    except Exception:  # numpy tries whatever it is given as a type, and fails in many ways
        name = ""
    good = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
    if name not in good:
        raise InputError(f"dtype is {quoted(dtype)}; choose one of {', '.join(good)}.")
    return good[name]
