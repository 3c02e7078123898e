"""The authors' checkpoint → a directory of msm3d, once; every key must be accounted for."""

import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import weights
from .._util.atomic import apart
from ..backbones.hunet.config import BackboneConfig
from ..errors import FileError, InputError, Msm3dError, WeightsError, cut, quoted
from . import store
from .store import CONFIG, MODEL, Source

PUBLISHED = BackboneConfig(sampling="published")
"""The released network [paper, Table 12], read at a point as its authors read it."""

_FIRST = "init_transform.0.weight"  # in every network of the authors, so it tells the prefix
_UNREADABLE = ("heads", "window", "voxel_size")  # what no tensor's shape depends on

Row = tuple[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What `convert` has made."""

    directory: Path
    """Where config.json and model.safetensors are now."""
    name: str | None
    """What `load` may be given instead of the directory, or None."""
    config: BackboneConfig
    """Shape of the network."""
    parameters: int
    """Number of trained values."""
    ignored: list[str]
    """Keys of the checkpoint that are not the student's: teacher, predictor, optimiser."""
    installed: Path | None = None
    """Where it is for `load(name)`, or None if it is not installed."""


def convert(
    path: Source,
    out_dir: Source | None = None,
    *,
    config: BackboneConfig | Mapping[str, Any] | Source | None = None,
    install: bool = True,
) -> Conversion:
    """Convert a checkpoint of the authors' code to `out_dir` with config.json and model.safetensors.

    The published network is also installed under its name (as hard links, so it takes no more disk): from then on
    `load("scannet")` works without a network. Nothing in the checkpoint is executed, and the student's tensors must
    be exactly those of the network: neither one more nor one less.

    Args:
        path: the authors' .pth file.
        out_dir: where to write; may be left out for the published network, which then is installed only.
        config: the network where it is not the published one: a `BackboneConfig`, or its fields as a dict or as a
            JSON file. The shapes tell most fields; heads, window and voxel_size must be given.
        install: False leaves the installed `scannet` as it is.

    Raises:
        FileError: the file is missing, truncated, no checkpoint or holds Python objects; or the output cannot be
            written. Where only HF_HOME cannot, `out_dir` is complete.
        WeightsError: tensors are missing, unexpected, of the wrong shape, or not finite; each is named.
    """
    path = Path(path)
    read = [path] if config is None or isinstance(config, BackboneConfig | Mapping) else [path, Path(config)]
    if out_dir is not None:
        apart([Path(out_dir) / CONFIG, Path(out_dir) / MODEL], read)
    student, ignored = _student(_checkpoint(path), path)
    shapes = {name: tuple(tensor.shape) for name, tensor in student.items()}
    backbone = _backbone(shapes, config, path)
    name = "scannet" if config is None else None
    if out_dir is None and not (name and install):
        raise InputError(f"{path} needs a directory to be converted to; name one with -o DIR.")
    tensors = renamed(student, backbone, path)
    meta = {"name": name or path.stem, "converted_from": {"file": path.name, "sha256": store.sha256(path)}}
    if name:
        release = weights.releases()[name]
        meta |= {key: release[key] for key in ("licence", "data", "source", "scores", "scores_source")}
    directory = store.write(weights.installed("scannet") if out_dir is None else out_dir, backbone, tensors, meta)
    installed = None
    if name and install:
        installed = directory if out_dir is None else weights.install(directory, name)
    return Conversion(
        directory=directory,
        name=name if install else None,
        config=backbone,
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        ignored=ignored,
        installed=installed,
    )


def renamed(student: Mapping[str, Tensor], config: BackboneConfig, where: Source) -> dict[str, Tensor]:
    """Return the authors' tensors under our names, convolution weights as (slot, in, out) with slot = x, y, z.

    Raises:
        WeightsError: a name is missing, unexpected or of another shape, or a value is not finite.
    """
    rows = table(config)
    complaints = store.disagreements(
        {theirs: shape for theirs, (_, shape) in rows.items()},
        {theirs: tuple(tensor.shape) for theirs, tensor in student.items()},
    )
    if complaints:
        raise WeightsError(
            f"{os.fspath(where)} is not the network that was expected: {store.listed(complaints)}; "
            "give the authors' released file, or the configuration of this network with --config FILE."
        )
    broken = [name for name, tensor in student.items() if not tensor.is_floating_point() or not tensor.isfinite().all()]
    if broken:
        raise WeightsError(
            f"{os.fspath(where)} has NaN, infinity or integers in {', '.join(sorted(broken))}; get the file again."
        )
    return {ours: _ours(theirs, student[theirs].float()) for theirs, (ours, _) in rows.items()}


def table(config: BackboneConfig) -> dict[str, Row]:
    """Return the authors' name → (our name, the authors' shape) of every tensor of a network.

    >>> table(PUBLISHED)["down.0.0.weight"]
    ('encoder.1.down.conv.weight', (64, 2, 2, 2, 32))
    """
    rows: dict[str, Row] = {}
    last = config.levels - 1
    rows |= _layer("init_transform.0", "stem.linear", (config.channels[0], config.in_channels), bias=True)
    rows |= _norm("init_transform.1", "stem.norm", config.channels[0], config)
    for level in range(config.levels):
        if level > 0:
            narrow, wide = config.channels[level - 1], config.channels[level]
            rows |= _layer(f"down.{level - 1}.0", f"encoder.{level}.down.conv", (wide, 2, 2, 2, narrow), bias=True)
            rows |= _norm(f"down.{level - 1}.1", f"encoder.{level}.down.norm", wide, config)
        rows |= _blocks(f"enc.{level}", f"encoder.{level}", level, config.channels[level], config)
    rows |= _norm("decoder_init_norm", "bottleneck", config.channels[last], config)
    for level in range(config.levels):
        stage, ours, width = last - level, f"decoder.{level}", config.decoder_channels[level]
        rows |= _blocks(f"dec.{stage}", ours, level, width, config)
        if level < last:
            below, across = config.decoder_channels[level + 1], config.channels[level]
            rows |= _norm(f"up.{stage - 1}.0", f"{ours}.up.norm", below, config)
            rows |= _layer(f"up.{stage - 1}.1", f"{ours}.up.conv", (width, 2, 2, 2, below), bias=True)
            rows |= _norm(f"linears_skip.{stage - 1}.0", f"{ours}.skip.norm", across, config)
            rows |= _layer(f"linears_skip.{stage - 1}.1", f"{ours}.skip.linear", (width, across), bias=True)
            rows |= _gamma(f"skip.{stage - 1}", f"{ours}.gamma", width)
    return rows


def _blocks(stage: str, ours: str, level: int, width: int, config: BackboneConfig) -> dict[str, Row]:
    """Return the rows of a stage's residual blocks, convolutions first; the authors' attention 0 is the curve."""
    rows: dict[str, Row] = {}
    for index in range(config.conv_blocks[level]):
        theirs, block = f"resnet_{stage}.{index}", f"{ours}.convs.{index}"
        rows |= _norm(f"{theirs}.norm", f"{block}.norm", width, config)
        for conv in ("conv1", "conv2"):
            rows |= _layer(f"{theirs}.{conv}", f"{block}.{conv}", (width, 3, 3, 3, width), bias=config.bias)
        rows |= _norm(f"{theirs}.norm_post_layer", f"{block}.post_norm", width, config)
        rows |= _gamma(f"{theirs}.skip_path", f"{block}.gamma", width)
    gated = config.mlp == "geglu"
    mlp_norm, mlp_in, mlp_out = ("mlp_norm", "mlp_lin_1", "mlp_lin_2") if gated else ("mlp.0", "mlp.1", "mlp.3")
    hidden = config.mlp_ratio * width
    for index in range(config.attention_blocks[level]):
        theirs, block = f"att_{stage}.{index + 1}", f"{ours}.attentions.{index}"
        rows |= _norm(f"{theirs}.norm", f"{block}.norm", width, config)
        rows |= _layer(f"{theirs}.linear_in", f"{block}.qkv", (3 * width, width), bias=config.bias)
        rows |= _layer(f"{theirs}.linear_out", f"{block}.proj", (width, width), bias=config.bias)
        rows |= _gamma(f"{theirs}.skip_path_1", f"{block}.gamma1", width)
        rows |= _norm(f"{theirs}.{mlp_norm}", f"{block}.mlp_norm", width, config)
        rows |= _layer(f"{theirs}.{mlp_in}", f"{block}.mlp_in", (hidden * (2 if gated else 1), width), bias=config.bias)
        rows |= _layer(f"{theirs}.{mlp_out}", f"{block}.mlp_out", (width, hidden), bias=config.bias)
        rows |= _gamma(f"{theirs}.skip_path_2", f"{block}.gamma2", width)
    return rows


def _norm(theirs: str, ours: str, width: int, config: BackboneConfig) -> dict[str, Row]:
    leaves = ("scale",) if config.norm == "rmsnorm" else ("weight", "bias")
    return {f"{theirs}.norm.{leaf}": (f"{ours}.{leaf}", (width,)) for leaf in leaves}


def _layer(theirs: str, ours: str, shape: tuple[int, ...], *, bias: bool) -> dict[str, Row]:
    rows = {f"{theirs}.weight": (f"{ours}.weight", shape)}
    return rows | {f"{theirs}.bias": (f"{ours}.bias", shape[:1])} if bias else rows


def _gamma(theirs: str, ours: str, width: int) -> dict[str, Row]:
    return {f"{theirs}.gamma": (ours, (1, width))}


def _ours(name: str, tensor: Tensor) -> Tensor:
    if tensor.dim() == 5:  # (out, kx, ky, kz, in)
        return tensor.permute(1, 2, 3, 4, 0).reshape(-1, tensor.shape[4], tensor.shape[0]).contiguous()
    return tensor.flatten() if name.endswith(".gamma") else tensor


def _checkpoint(path: Path) -> Mapping[str, Any]:
    """Return the content of a .pth file: tensors and plain values, no code."""
    if not path.is_file():
        raise FileError(f"there is no file {str(path)!r}; give the authors' checkpoint.")
    _refuse_compressed(path)
    try:
        with _numbers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of a pickle's age before it refuses or reads it
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FileError(
            f"{path} is damaged or holds Python objects, which msm3d never runs; get the authors' file, or, if you "
            f'trust this one, save its tensors alone: torch.save({{"state_dict": ...}}, "tensors.pth").'
        ) from error
    except Exception as error:  # a damaged pickle may raise anything
        raise FileError(f"{path} is truncated or is not a checkpoint of torch; get the file again.") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise FileError(f"{path} holds no state_dict; give the authors' checkpoint.")
    return state


def _refuse_compressed(path: Path) -> None:
    """Refuse an archive that stands for more bytes than it has: torch compresses nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(info.file_size for info in archive.infolist())
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return  # torch's older form, or none at all, as is said then
    if declared > path.stat().st_size:
        raise FileError(f"{path} stands for {declared:,} bytes, more than it has; save it again with torch.save.")


def _numbers() -> AbstractContextManager[None]:
    """Let torch rebuild numpy's numbers too, as trainers store their best score; torch 2.4 cannot be told to."""
    rebuild: Any = np.float64(0).__reduce__()[0]

    def named(module: str) -> Callable[..., Any]:
        def scalar(*arguments: Any) -> Any:
            return rebuild(*arguments)

        scalar.__module__, scalar.__qualname__ = module, "scalar"
        return scalar

    kinds = [type(np.dtype(name)) for name in ("float64", "float32", "int64")]
    safe = [named("numpy.core.multiarray"), named("numpy._core.multiarray"), np.dtype, *kinds]
    return torch.serialization.safe_globals(safe) if hasattr(torch.serialization, "safe_globals") else nullcontext()


def _student(state: Mapping[str, Any], path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the student's tensors without their prefix, and the names of what is not the student's."""
    prefixes = sorted(str(key)[: -len(_FIRST)] for key in state if str(key).endswith(_FIRST))
    students = [prefix for prefix in prefixes if prefix.endswith("student.")]
    if len(students or prefixes) != 1:
        found = ", ".join(quoted(prefix) for prefix in prefixes[:10]) or "none"
        raise WeightsError(
            f"{path} must hold one student network, a prefix of {_FIRST!r}, but these were found: {found}; "
            "give the authors' checkpoint, or save one network's state_dict alone."
        )
    prefix = (students or prefixes)[0]
    student = {str(key)[len(prefix) :]: value for key, value in state.items() if str(key).startswith(prefix)}
    if strange := sorted(key for key, value in student.items() if not _is_plain(value)):
        names = store.listed([cut(name) for name in strange])
        raise WeightsError(f"{path} has no plain tensor under {names}; get the authors' file again.")
    needed = sum(value.numel() * value.element_size() for value in student.values())
    if needed > path.stat().st_size:  # rows that are one row many times, or that are not there at all
        raise WeightsError(f"{path} describes {needed:,} bytes of tensors, more than it has; get the file again.")
    return student, sorted(str(key) for key in state if not str(key).startswith(prefix))


def _is_plain(value: Any) -> bool:
    """Whether a value is a tensor whose numbers lie in memory one by one."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_nested
    )


def _backbone(
    shapes: Mapping[str, tuple[int, ...]],
    config: BackboneConfig | Mapping[str, Any] | Source | None,
    path: Path,
) -> BackboneConfig:
    """Return the network of a checkpoint: the published one if it resembles it, or what `config` and the shapes say."""
    if isinstance(config, BackboneConfig):
        return config
    if config is None:
        rows = table(PUBLISHED)
        alike = sum(shapes.get(theirs) == shape for theirs, (_, shape) in rows.items())
        if alike > 0.9 * len(rows):  # what differs will be named, not guessed around
            return PUBLISHED
    given = _fields(config)
    if missing := [name for name in _UNREADABLE if name not in given]:
        raise WeightsError(
            f"{path} is not the published network, and no tensor tells its {', '.join(missing)}; write them to a file, "
            'such as {"heads": [0, 0, 0, 32, 48], "window": 1024, "voxel_size": 0.02}, and give --config FILE.'
        )
    try:
        backbone = store.described({"sampling": "published", **_inferred(shapes), **given})
        assert isinstance(backbone, BackboneConfig)
    except (LookupError, ValueError, ArithmeticError) as error:
        if isinstance(error, Msm3dError):
            raise
        raise WeightsError(
            f"{path} does not show the shape of its network; give every field with --config FILE."
        ) from error
    if (blocks := sum(backbone.conv_blocks) + sum(backbone.attention_blocks)) > len(shapes):
        raise WeightsError(
            f"{path} is not the network that was expected: it has {len(shapes)} tensors, the configuration "
            f"{blocks} blocks; give the configuration of this network with --config FILE."
        )
    return backbone


def _fields(config: Mapping[str, Any] | Source | None) -> dict[str, Any]:
    if config is None or isinstance(config, Mapping):
        return dict(config or {})
    try:
        if (size := Path(config).stat().st_size) > 1 << 20:
            raise FileError(f"{os.fspath(config)} is not a configuration, it has {size:,} bytes; give another file.")
        values = json.loads(Path(config).read_text(encoding="utf-8"))
    except (OSError, RecursionError) as error:
        raise FileError(f"{os.fspath(config)} is not a readable JSON file: {cut(error, 200)}.") from error
    except ValueError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{os.fspath(config)} is not a readable JSON file: {cut(error, 200)}.") from error
    values = values.get("backbone", values) if isinstance(values, dict) else values
    if not isinstance(values, dict):
        raise FileError(f'{os.fspath(config)} must hold a JSON object such as {{"heads": [0, 0, 0, 6, 8]}}.')
    return values


def _inferred(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the fields of a configuration that the shapes of the authors' tensors determine."""
    levels = range(1 + _highest(shapes, "resnet_enc."))
    widths = [shapes[f"resnet_enc.{level}.0.skip_path.gamma"][-1] for level in levels]
    attention = [_highest(shapes, f"att_enc.{level}.") for level in levels]  # 0 is the curve
    fields: dict[str, Any] = {
        "channels": widths,
        "decoder_channels": [shapes[f"resnet_dec.{levels[-1] - level}.0.skip_path.gamma"][-1] for level in levels],
        "conv_blocks": [1 + _highest(shapes, f"resnet_enc.{level}.") for level in levels],
        "attention_blocks": [max(0, highest) for highest in attention],
        "in_channels": shapes[_FIRST][1],
        "norm": "rmsnorm" if "init_transform.1.norm.scale" in shapes else "layernorm",
        "bias": "resnet_enc.0.0.conv1.bias" in shapes,
    }
    for level in levels:
        if attention[level] > 0:
            gated = f"att_enc.{level}.1.mlp_lin_2.weight" in shapes
            out = shapes[f"att_enc.{level}.1.{'mlp_lin_2' if gated else 'mlp.3'}.weight"]
            fields |= {"mlp": "geglu" if gated else "gelu", "mlp_ratio": out[1] // widths[level]}
    return fields


def _highest(names: Iterable[str], prefix: str) -> int:
    """Return the highest number that follows `prefix`, or -1."""
    return max((int(name[len(prefix) :].split(".")[0]) for name in names if name.startswith(prefix)), default=-1)
