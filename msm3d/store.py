"""A model on disk: a directory of config.json + model.safetensors, checked before it is believed.

`config.json` holds `format` ("msm3d"), `format_version`, `backbone` (the fields of `BackboneConfig`), `sha256` of
`model.safetensors`, and what a reader wants to know: `name`, `licence`, `data`, `source`, `scores`, `parameters`.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .config import BackboneConfig
from .errors import FileError, Msm3dError, WeightsError

FORMAT_VERSION = 1
CONFIG, MODEL, CARD = "config.json", "model.safetensors", "README.md"

Source = str | os.PathLike[str]


def read(directory: Source) -> tuple[BackboneConfig, dict[str, Tensor], dict[str, Any]]:
    """Read a model's directory: the network's shape, its tensors as they are stored, and config.json as a dict.

    Raises:
        WeightsError: a file is missing, damaged, of another program, or made by a newer msm3d.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    directory = Path(directory)
    meta = metadata(directory)
    config = backbone(directory, meta)
    verify(directory, meta)
    try:
        return config, load_file(directory / MODEL), meta
    except SafetensorError as error:
        raise WeightsError(
            f"{directory / MODEL} is not a safetensors file ({error}); save or download it again."
        ) from error


def write(
    directory: Source, config: BackboneConfig, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None = None
) -> Path:
    """Write a model's directory and return it; other files in it, and a model card already there, are left alone.

    Everything is written beside `directory` first and renamed last, so a reader never sees half of it.

    Args:
        directory: made where missing; the two files of a model already there are replaced.
        config: shape of the network.
        tensors: name to tensor, stored in the dtype they have; float16 halves the file.
        meta: `name`, `licence`, `data`, `source`, `scores` for config.json.
    """
    from safetensors.torch import save_file

    with _staged(Path(directory)) as stage:
        stored = {name: _alone(tensor.detach().cpu().contiguous()) for name, tensor in tensors.items()}
        save_file(stored, stage / MODEL, metadata={"format": "pt"})
        values = {
            **(meta or {}),
            "format": "msm3d",
            "format_version": FORMAT_VERSION,
            "parameters": sum(tensor.numel() for tensor in stored.values()),
            "backbone": config.to_dict(),
            "sha256": sha256(stage / MODEL),
        }
        (stage / CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        shutil.copymode(stage / CONFIG, stage / MODEL)  # safetensors writes for the owner alone
        if not (Path(directory) / CARD).exists():
            (stage / CARD).write_text(card(config, values), encoding="utf-8")
    return Path(directory)


def load_state(module: nn.Module, tensors: Mapping[str, Tensor], where: Source) -> None:
    """Copy `tensors` into `module`, in the module's dtype, or change nothing and name every disagreement.

    Args:
        module: the network.
        tensors: name to tensor.
        where: what the message calls their origin.

    Raises:
        WeightsError: a name is missing, unexpected, of another shape or not of floating point.
    """
    wanted = module.state_dict()
    complaints = disagreements(
        {name: tuple(tensor.shape) for name, tensor in wanted.items()},
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
    )
    complaints += [f"not floating point: {name}" for name in sorted(tensors) if not tensors[name].is_floating_point()]
    if complaints:
        cure = f"use the {CONFIG} that was saved with them."
        raise WeightsError(f"the weights in {os.fspath(where)} do not fit the network: {'; '.join(complaints)}; {cure}")
    module.load_state_dict(dict(tensors), strict=True)


def disagreements(wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return every missing name, every unexpected name and every wrong shape, sorted; empty when all agree.

    >>> disagreements({"a": (2,), "b": (3,)}, {"b": (4,), "c": (1,)})
    ['missing: a', 'unexpected: c', 'wrong shape: b is (4,) instead of (3,)']
    """
    shapes = [name for name in sorted(wanted.keys() & given.keys()) if tuple(wanted[name]) != tuple(given[name])]
    return (
        [f"missing: {name}" for name in sorted(wanted.keys() - given.keys())]
        + [f"unexpected: {name}" for name in sorted(given.keys() - wanted.keys())]
        + [f"wrong shape: {name} is {tuple(given[name])} instead of {tuple(wanted[name])}" for name in shapes]
    )


def card(config: BackboneConfig, meta: Mapping[str, Any]) -> str:
    """Return a model card in Markdown: what goes in, what comes out, from which data, under which licence."""
    name = meta.get("name") or "A model of msm3d"
    widths = " + ".join(map(str, config.decoder_channels))
    scores = "\n".join(f"| {key} | {value} |" for key, value in (meta.get("scores") or {}).items())
    return f"""---
library_name: msm3d
pipeline_tag: feature-extraction
tags: [point-cloud, 3d, msm3d]
license: other
---
# {name}

One vector per point of an indoor 3D scan: `pip install msm3d`, then `msm3d.load(...)` and `model.extract("scan.ply")`.

| | |
|---|---|
| input | coordinates in metres, colour, normals; voxels of {config.voxel_size} m |
| output | {config.descriptor_channels} channels per point: {widths}, fine to coarse |
| parameters | {meta.get("parameters", "not stated")} |
| trained on | {meta.get("data") or "not stated"} |
| licence of the weights | {meta.get("licence") or "not stated"} |
| source | {meta.get("source") or "not stated"} |
{scores}
"""


def _alone(tensor: Tensor) -> Tensor:
    """Return a tensor that shares no memory, copied only where it is a part of another."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def metadata(directory: Path) -> dict[str, Any]:
    """Return config.json, which is ours and of a version that we can read."""
    path = directory / CONFIG
    if not directory.is_dir():
        raise WeightsError(f"there is no directory {str(directory)!r}; give one that holds {CONFIG} and {MODEL}.")
    if not path.is_file():
        raise WeightsError(f"{directory} has no {CONFIG}; a model of msm3d needs {CONFIG} and {MODEL}.")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON ({error}); save or download it again.") from error
    if not isinstance(meta, dict) or meta.get("format") != "msm3d":
        raise WeightsError(
            f'{path} is not of msm3d (it has no "format": "msm3d"); give a model that msm3d has written.'
        )
    version = meta.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise WeightsError(f"{path} was made by a newer msm3d (format {version}); run pip install -U msm3d.")
    if version != FORMAT_VERSION:
        raise WeightsError(f"{path} has format_version {version!r}; it must be {FORMAT_VERSION}.")
    if not isinstance(meta.get("sha256"), str) or not isinstance(meta.get("backbone"), dict):
        raise WeightsError(f"{path} lacks sha256 or backbone; save or download it again.")
    return meta


def backbone(directory: Path, meta: Mapping[str, Any]) -> BackboneConfig:
    """Return the shape of the network that config.json describes."""
    try:
        return BackboneConfig.from_dict(meta["backbone"])
    except (Msm3dError, TypeError) as error:
        raise WeightsError(f"{directory / CONFIG} does not describe a network: {error}") from error


def verify(directory: Path, meta: Mapping[str, Any]) -> None:
    """Raise WeightsError unless model.safetensors has the hash that config.json says."""
    path = directory / MODEL
    if not path.is_file():
        raise WeightsError(f"{directory} has no {MODEL}; a model of msm3d needs {CONFIG} and {MODEL}.")
    if (found := sha256(path)) != meta["sha256"]:
        raise WeightsError(
            f"{path} is damaged or of another model: its sha256 is {found}, {CONFIG} says {meta['sha256']}; "
            "download or convert it again."
        )


def sha256(path: Path) -> str:
    """Return the hash of a file as 64 hexadecimal digits."""
    state = path.stat()
    return _digest(str(path.resolve()), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(path: str, _size: int, _changed: int) -> str:
    """Return the hash of a file, read once per process as long as size and time of change stay the same."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _staged(directory: Path) -> Iterator[Path]:
    """Give an empty folder beside `directory` to write in; on success its files move to `directory`, by renaming."""
    from safetensors import SafetensorError

    if directory.exists() and not directory.is_dir():
        raise FileError(f"{directory} is a file; give a directory to write the model to.")
    stage = directory.absolute().parent / f".{directory.name}.{uuid.uuid4().hex[:8]}"
    try:
        stage.mkdir(parents=True)
        yield stage
        if directory.exists():
            for path in sorted(stage.iterdir(), key=lambda path: path.name == CONFIG):  # config.json, the seal, is last
                os.replace(path, directory / path.name)
        else:
            os.rename(stage, directory)
    except (OSError, SafetensorError) as error:
        raise FileError(f"{directory} cannot be written ({error}); give another directory or make room.") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def copy(directory: Path, target: Path) -> Path:
    """Copy a model to another directory, as hard links where possible; return the target."""
    with _staged(target) as stage:
        for name in (MODEL, CONFIG, CARD):
            if (path := (directory / name).resolve()).is_file():
                try:
                    os.link(path, stage / name)
                except OSError:  # another disk, or one without links
                    shutil.copyfile(path, stage / name)
    return target
