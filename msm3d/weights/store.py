"""A model on disk: a directory of config.json + model.safetensors, checked before it is believed.

`config.json` holds `format` ("msm3d"), `format_version`, `architecture` (the family of the network; older files, which
do not say it, are `hunet`), `backbone` (the fields of its shape), `sha256` of the tensors' file, and texts to read.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._util.atomic import staged
from ..backbones import DEFAULT, Shape, build, family, shape_of
from ..errors import InputError, Msm3dError, WeightsError, cut, quoted
from .hub import ONLY_OURS

FORMAT_VERSION = 1
CONFIG, MODEL, CARD = "config.json", "model.safetensors", "README.md"

Source = str | os.PathLike[str]
Shapes = Mapping[str, tuple[int, ...]]

_LONGEST_CONFIG = 1 << 20  # bytes
_TEXTS = ("architecture", "name", "licence", "data", "source", "scores_source")
_WIDEST = 1 << 20  # channels, or voxels of a window: far beyond any network, and products of them are no overflow
_COMPLAINTS = 12  # that a message lists


def read(directory: Source) -> tuple[Shape, dict[str, Tensor], dict[str, Any]]:
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
            f"{directory / MODEL} is not a safetensors file ({cut(error)}); save or download it again."
        ) from error


def write(
    directory: Source, config: Shape, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None = None
) -> Path:
    """Write a model's directory and return it; other files in it, and a model card already there, are left alone.

    Tensors are stored in the dtype they have; `meta` is `name`, `licence`, `data`, `source` and `scores`.

    Raises:
        FileError: the directory is a file, or cannot be written.
    """
    values = {
        **(meta or {}),
        "format": "msm3d",
        "format_version": FORMAT_VERSION,
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "architecture": config.architecture,
        "backbone": config.to_dict(),
    }
    return write_files(Path(directory), (CONFIG, MODEL), values, tensors, card(config, values))


def write_files(
    directory: Path, names: tuple[str, str], values: Mapping[str, Any], tensors: Mapping[str, Tensor], about: str
) -> Path:
    """Write values as JSON, with the tensors' `sha256`, beside the tensors, and the card `about` where there is none.

    All or nothing: a reader never sees half of it. `names` are those of the JSON and of the safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    config, model = names
    with staged(directory, last=config) as stage:
        stored = {name: tensor.detach().cpu().resolve_neg().contiguous() for name, tensor in tensors.items()}
        for name, tensor in stored.items():  # a part of another is copied: no two may share memory
            if tensor.untyped_storage().nbytes() != tensor.nbytes:
                stored[name] = tensor.clone()
        try:
            save_file(stored, stage / model, metadata={"format": "pt"})
        except SafetensorError as error:  # its writer's word for a full disk
            raise OSError(None, cut(error)) from error
        values = {**values, "sha256": sha256(stage / model)}
        (stage / config).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        shutil.copymode(stage / config, stage / model)  # safetensors writes for the owner alone
        if not (directory / CARD).exists():
            (stage / CARD).write_text(about, encoding="utf-8")
    return directory


def load_state(module: nn.Module, tensors: Mapping[str, Tensor], where: Source) -> None:
    """Put `tensors` into `module`, in the module's dtype, or change nothing and name every disagreement.

    A module on the meta device, which takes no memory and no time to build, gets memory by this.

    Raises:
        WeightsError: a name is missing, unexpected, of another shape or not of floating point.
    """
    _refuse_what_does_not_fit(module, tensors, where)
    own = module.state_dict()
    if any(tensor.is_meta for tensor in own.values()):  # `to_empty` imports sympy: 0.4 s of a first load
        tensors = {name: tensor.to(own[name].dtype, copy=True) for name, tensor in tensors.items()}
        module.load_state_dict(tensors, assign=True)
    else:
        module.load_state_dict(dict(tensors))


def require_fit(config: Shape, tensors: Mapping[str, Tensor], where: Source) -> None:
    """Raise WeightsError unless `tensors` are those of the network, before memory is taken for it: a stranger's
    config.json may ask for any size, but as many tensors and values must be in the file.
    """
    found = {"tensors": len(tensors), "values": sum(tensor.numel() for tensor in tensors.values())}
    for asked, name, kind in config.least():
        there = found[kind]
        if asked > there:
            raise WeightsError(
                f"the weights in {os.fspath(where)} do not fit the network: {CONFIG} asks for {quoted(asked)} {name}, "
                f"but {MODEL} holds {there} {kind}; use the {CONFIG} that was saved with them."
            )
    with torch.device("meta"):
        _refuse_what_does_not_fit(build(config), tensors, where)


def _refuse_what_does_not_fit(module: nn.Module, tensors: Mapping[str, Tensor], where: Source) -> None:
    complaints = disagreements(
        {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()},
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
    )
    complaints += [f"not floating point: {cut(n)}" for n in sorted(tensors) if not tensors[n].is_floating_point()]
    if complaints:
        raise WeightsError(
            f"the weights in {os.fspath(where)} do not fit the network: {listed(complaints)}; "
            f"use the {CONFIG} that was saved with them."
        )


def listed(complaints: list[str]) -> str:
    """Return complaints as a part of a sentence; of very many the first.

    >>> listed(["a", "b"]), listed([str(i) for i in range(15)])
    ('a; b', '0; 1; 2; 3; 4; 5; 6; 7; 8; 9; 10; 11; and 3 more')
    """
    more = len(complaints) - _COMPLAINTS
    return "; ".join(complaints[:_COMPLAINTS] + ([f"and {more:,} more"] if more > 0 else []))


def disagreements(wanted: Shapes, given: Shapes) -> list[str]:
    """Return every missing name, every unexpected name and every wrong shape, sorted; empty when all agree.

    >>> disagreements({"a": (2,), "b": (3,)}, {"b": (4,), "c": (1,)})
    ['missing: a', 'unexpected: c', 'wrong shape: b is (4,) instead of (3,)']
    """
    shapes = [name for name in sorted(wanted.keys() & given.keys()) if tuple(wanted[name]) != tuple(given[name])]
    return (
        [f"missing: {name}" for name in sorted(wanted.keys() - given.keys())]
        + [f"unexpected: {cut(name)}" for name in sorted(given.keys() - wanted.keys())]
        + [f"wrong shape: {n} is {quoted(tuple(given[n]))} instead of {quoted(tuple(wanted[n]))}" for n in shapes]
    )


def card(config: Shape, meta: Mapping[str, Any]) -> str:
    """Return a model card in Markdown: what goes in, what comes out, from which data, under which licence."""
    name = meta.get("name") or "A model of msm3d"
    widths = " + ".join(map(str, config.widths))
    words = {"color": ", colour", "normal": ", normals"}
    attributes = "".join(word for key, word in words.items() if key in config.inputs.names)
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
| input | coordinates in metres{attributes}; voxels of {config.inputs.voxel_size} m |
| output | {config.descriptor_channels} channels per point: {widths}, fine to coarse |
| parameters | {meta.get("parameters", "not stated")} |
| trained on | {meta.get("data") or "not stated"} |
| licence of the weights | {meta.get("licence") or "not stated"} |
| source | {meta.get("source") or "not stated"} |
{scores}
"""


def metadata(directory: Path) -> dict[str, Any]:
    """Return config.json, which is ours, of a version that we can read, and whose fields are of their kinds."""
    path = directory / CONFIG
    if not directory.is_dir():
        raise WeightsError(f"there is no directory {str(directory)!r}; give one that holds {CONFIG} and {MODEL}.")
    if not path.is_file():
        raise WeightsError(f"{directory} has no {CONFIG}; a model of msm3d needs {CONFIG} and {MODEL}.")
    if path.stat().st_size > _LONGEST_CONFIG:
        raise WeightsError(f"{path} is not of msm3d (it has {path.stat().st_size:,} bytes); {ONLY_OURS}")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON ({cut(error)}); save or download it again.") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    if not isinstance(meta, dict) or meta.get("format") != "msm3d":
        raise WeightsError(f'{path} is not of msm3d (it has no "format": "msm3d"); {ONLY_OURS}')
    version = meta.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise WeightsError(f"{path} was made by a newer msm3d (format {quoted(version)}); run pip install -U msm3d.")
    if version != FORMAT_VERSION:
        raise WeightsError(f"{path} has format_version {quoted(version)}; it must be {FORMAT_VERSION}.")
    if not isinstance(meta.get("sha256"), str) or not isinstance(meta.get("backbone"), dict):
        raise WeightsError(f"{path} lacks sha256 or backbone; save or download it again.")
    scores, count = meta.get("scores"), meta.get("parameters")
    scored = isinstance(scores, dict) and all(isinstance(value, int | float) for value in scores.values())
    for name, good, needed in (
        ("sha256", re.fullmatch("[0-9a-f]{64}", meta["sha256"]) is not None, "64 hexadecimal digits"),
        *((name, isinstance(meta.get(name, ""), str | None), "text") for name in _TEXTS),
        ("scores", scores is None or scored, "numbers by name"),
        ("parameters", count is None or (type(count) is int and 0 <= count < 1 << 62), "a number of values"),
    ):
        if not good:
            raise WeightsError(
                f"{path} has {name} {quoted(meta[name])}; it must be {needed}, so save or download it again."
            )
    return meta


def backbone(directory: Path, meta: Mapping[str, Any]) -> Shape:
    """Return the shape of the network that config.json describes."""
    architecture = meta.get("architecture") or DEFAULT
    try:
        family(architecture)
    except InputError as error:
        raise WeightsError(f"{directory / CONFIG} cannot be used: {error}") from error
    try:
        return described({**meta["backbone"], "architecture": architecture})
    except Msm3dError as error:
        raise WeightsError(f"{directory / CONFIG} does not describe a network: {error}") from error


def described(values: Mapping[str, Any]) -> Shape:
    """Return the shape of a network from a record, see `backbones.record`, that a stranger may have written.

    >>> described({"channels": [32, 10**30]})
    Traceback (most recent call last):
    msm3d.errors.InputError: channels is [32, 1000000000000000000000000000000]; the largest number is 1048576.
    """
    for name, value in values.items():
        numbers = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(number, int) and abs(number) > _WIDEST for number in numbers):
            raise InputError(f"{cut(name)} is {quoted(value)}; the largest number is {_WIDEST}.")
    try:
        return shape_of(values)
    except InputError:
        raise
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise InputError(f"a field is of a wrong kind ({cut(error)}); save the model again.") from error


def verify(directory: Path, meta: Mapping[str, Any]) -> None:
    """Raise WeightsError unless model.safetensors has the hash that config.json says."""
    path = directory / MODEL
    if not path.is_file():
        raise WeightsError(f"{directory} has no {MODEL}; a model of msm3d needs {CONFIG} and {MODEL}.")
    try:
        found = sha256(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    if found != meta["sha256"]:
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


def copy(directory: Path, target: Path) -> Path:
    """Copy a model to another directory, as hard links where possible; return the target."""
    with staged(target, last=CONFIG) as stage:
        for name in (MODEL, CONFIG, CARD):
            if (path := (directory / name).resolve()).is_file():
                try:
                    os.link(path, stage / name)
                except OSError:  # another disk, or one without links
                    shutil.copyfile(path, stage / name)
    return target
