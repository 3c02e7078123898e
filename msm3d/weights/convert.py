"""Authors' checkpoints, as `Backbone.released` tells of them, → a directory of msm3d; every key is accounted for."""

import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import weights
from .._util.atomic import apart
from ..backbones import Released, Shape, families, family
from ..errors import FileError, InputError, Msm3dError, WeightsError, cut, quoted
from . import store
from .store import CONFIG, MODEL, Source


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What `convert` has made."""

    directory: Path  # where config.json and model.safetensors are now
    name: str | None  # what `load` may be given instead of the directory, or None
    config: Shape  # shape of the network
    parameters: int  # number of trained values
    ignored: list[str]  # keys of the checkpoint that are not the student's: teacher, predictor, optimiser
    installed: Path | None = None  # where it is for `load(name)`, or None if it is not installed


def convert(
    path: Source,
    out_dir: Source | None = None,
    *,
    config: Shape | Mapping[str, Any] | Source | None = None,
    install: bool = True,
    release: str | None = None,
) -> Conversion:
    """Convert a checkpoint of the authors' code to `out_dir` with config.json and model.safetensors.

    Nothing in the checkpoint is executed, and the student's tensors must be exactly those of the network.

    Args:
        path: the authors' .pth file, or their .safetensors file with its config.json beside it.
        out_dir: where to write; may be left out for the published network, which then is installed only.
        config: the network where it is not the published one: a `BackboneConfig`, or its fields as a dict or as a
            JSON file. The shapes tell most fields; heads, window and voxel_size must be given.
        install: keep the published network, as hard links, where `load("scannet")` finds it.
        release: the name of the release that the file is of: its table says what the file does not.

    Raises:
        FileError: the file is missing, truncated, no checkpoint or holds Python objects; or the output cannot be
            written. Where only HF_HOME cannot, `out_dir` is complete.
        WeightsError: tensors are missing, unexpected, of the wrong shape, or not finite; each is named.
    """
    path = Path(path)
    read = [path] if config is None or isinstance(config, Shape | Mapping) else [path, Path(config)]
    if out_dir is not None:
        apart([Path(out_dir) / CONFIG, Path(out_dir) / MODEL], read)
    state, about = checkpoint(path)
    released, prefix = _recognised(state, config, path)
    student, ignored = plain(state, prefix, path)
    told = _told(student, about, released, path)
    for name in [name for name in student if name.endswith(released.unused)]:
        del student[name]
    shapes = {name: tuple(tensor.shape) for name, tensor in student.items()}
    releases = weights.releases()
    known = releases[release] if release else {}
    backbone = _backbone(shapes, released, config, {**known.get("backbone", {}), **told}, path)
    if release and list(backbone.widths) != known["dims"]:
        raise WeightsError(
            f"{path} is not {release!r}: its levels have {', '.join(map(str, backbone.widths))} channels, not "
            f"{', '.join(map(str, known['dims']))}; tell us, the authors' file may have changed."
        )
    published = config is None and backbone == released.published
    own = releases.get(released.name)
    named = published and own is not None and not own.get("checkpoint")  # several that are fetched have one shape
    name = release or (released.name if named else None)
    if out_dir is None and not (name and install):
        raise InputError(f"{path} needs a directory to be converted to; name one with -o DIR.")
    tensors = renamed(student, backbone, path)
    meta = {"name": name or path.stem, "converted_from": {"file": path.name, "sha256": store.sha256(path)}}
    if name:
        meta |= {key: releases[name][key] for key in ("licence", "data", "source", "scores", "scores_source")}
    directory = store.write(weights.installed(released.name) if out_dir is None else out_dir, backbone, tensors, meta)
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


def renamed(student: Mapping[str, Tensor], config: Shape, where: Source) -> dict[str, Tensor]:
    """Return the authors' tensors under our names and in our layout, as float32, or raise WeightsError."""
    released = family(config.architecture).released
    assert released is not None, f"{config.architecture} has no checkpoints to convert"
    rows = released.table(config)
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
    return {ours: released.ours(theirs, student[theirs].float()) for theirs, (ours, _) in rows.items()}


def checkpoint(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the tensors of a file and the configuration in it or beside it, if any: plain values, no code."""
    if not path.is_file():
        raise FileError(f"there is no file {str(path)!r}; give the authors' checkpoint.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        beside = path.with_name(CONFIG)
        try:
            return load_file(path), _fields(beside) if beside.is_file() else {}
        except SafetensorError as error:
            raise FileError(f"{path} is not a safetensors file ({cut(error)}); get the file again.") from error
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
    about = content.get("config") if state is not content else None
    return state, about if isinstance(about, Mapping) else {}


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
    """Let torch rebuild numpy's numbers too, as trainers store their best score."""
    rebuild: Any = np.float64(0).__reduce__()[0]

    def named(module: str) -> Callable[..., Any]:
        def scalar(*arguments: Any) -> Any:
            return rebuild(*arguments)

        scalar.__module__, scalar.__qualname__ = module, "scalar"
        return scalar

    kinds = [type(np.dtype(name)) for name in ("float64", "float32", "int64")]
    safe = [named("numpy.core.multiarray"), named("numpy._core.multiarray"), np.dtype, *kinds]
    return torch.serialization.safe_globals(safe)


def _recognised(
    state: Mapping[str, Any], config: Shape | Mapping[str, Any] | Source | None, path: Path
) -> tuple[Released, str]:
    """Return whose checkpoint it is, and the prefix of the one network to take."""
    names = [config.architecture] if isinstance(config, Shape) else families()
    known = [released for name in names if (released := family(name).released) is not None]
    found = ""
    for released in known:
        prefixes = sorted(str(key)[: -len(released.first)] for key in state if str(key).endswith(released.first))
        students = [prefix for prefix in prefixes if prefix.endswith(released.student)]
        if len(students or prefixes) == 1:
            return released, (students or prefixes)[0]
        found = found or ", ".join(quoted(prefix) for prefix in prefixes[:10])
    if not known:
        raise WeightsError(
            f"the authors' checkpoints of the family {names[0]!r} are unknown here; give a model that msm3d saved."
        )
    first = " or ".join(repr(released.first) for released in known)
    raise WeightsError(
        f"{path} must hold one student network, a prefix of {first}, but these were found: {found or 'none'}; "
        "give the authors' checkpoint, or save one network's state_dict alone."
    )


def plain(state: Mapping[str, Any], prefix: str, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of one network without their prefix, and the names of what is not of it."""
    student = {str(key)[len(prefix) :]: value for key, value in state.items() if str(key).startswith(prefix)}
    if strange := sorted(key for key, value in student.items() if not _is_plain(value)):
        names = store.listed([cut(name) for name in strange])
        raise WeightsError(f"{path} has no plain tensor under {names}; get the authors' file again.")
    needed = sum(value.numel() * value.element_size() for value in student.values())
    if needed > path.stat().st_size:  # rows that are one row many times, or that are not there at all
        raise WeightsError(f"{path} describes {needed:,} bytes of tensors, more than it has; get the file again.")
    return student, sorted(str(key) for key in state if not str(key).startswith(prefix))


def _told(student: Mapping[str, Tensor], about: Mapping[str, Any], released: Released, path: Path) -> dict[str, Any]:
    """Return the fields of a shape that the values in a checkpoint tell."""
    if released.told is None:
        return {}
    try:
        return released.told(student, about)
    except Msm3dError as error:
        raise WeightsError(f"{path} cannot be converted: {error}") from error
    except Exception as error:  # a stranger's configuration may hold anything
        raise WeightsError(
            f"{path} has a configuration that cannot be read ({cut(error)}); get the authors' file again."
        ) from error


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
    released: Released,
    config: Shape | Mapping[str, Any] | Source | None,
    told: Mapping[str, Any],
    path: Path,
) -> Shape:
    """Return the network of a checkpoint: the published one if it resembles it, or what `config` and the shapes say."""
    if isinstance(config, Shape):
        return config
    published = released.published
    if config is None and not told:
        rows = released.table(published)
        alike = sum(shapes.get(theirs) == shape for theirs, (_, shape) in rows.items())
        if alike > 0.9 * len(rows):  # what differs will be named, not guessed around
            return published
    given = {**told, **_fields(config)}
    if missing := [name for name in released.unseen if name not in given]:
        example = json.dumps({name: published.to_dict()[name] for name in released.unseen})
        raise WeightsError(
            f"{path} is not the published network, and no tensor tells its {', '.join(missing)}; write them to a file, "
            f"such as {example}, and give --config FILE."
        )
    try:
        backbone = store.described({"architecture": published.architecture, **released.inferred(shapes), **given})
    except Msm3dError:
        raise
    except (LookupError, ValueError, ArithmeticError) as error:
        raise WeightsError(
            f"{path} does not show the shape of its network; give every field with --config FILE."
        ) from error
    for asked, name, kind in backbone.least():
        if kind == "tensors" and asked > len(shapes):
            raise WeightsError(
                f"{path} is not the network that was expected: it has {len(shapes)} tensors, the configuration "
                f"{asked} {name}; give the configuration of this network with --config FILE."
            )
    return backbone


def _fields(config: Mapping[str, Any] | Source | None) -> dict[str, Any]:
    if config is None or isinstance(config, Mapping):
        return dict(config or {})
    try:
        if (size := Path(config).stat().st_size) > 1 << 20:
            raise FileError(f"{os.fspath(config)} is not a configuration, it has {size:,} bytes; give another file.")
        values = json.loads(Path(config).read_text(encoding="utf-8"))
    except FileError:
        raise
    except (OSError, RecursionError, ValueError) as error:
        raise FileError(f"{os.fspath(config)} is not a readable JSON file: {cut(error, 200)}.") from error
    values = values.get("backbone", values) if isinstance(values, dict) else values
    if not isinstance(values, dict):
        raise FileError(f'{os.fspath(config)} must hold a JSON object such as {{"heads": [0, 0, 0, 6, 8]}}.')
    return values
