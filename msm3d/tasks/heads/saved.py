"""A head on disk, head.json + head.safetensors, checked before it is believed, and the way to the Hub.

`head.json` holds `format` ("msm3d-head"), `format_version`, `head` (its name), `parameters`, `features` (their number),
`classes` (their labels, of a classifier), `fingerprint` (of the descriptors, or null) and `sha256` of head.safetensors;
and `about`, where more is known of a classifier, see `about.About`.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from ...errors import InputError, Msm3dError, WeightsError, cut, quoted
from ...weights import hub
from ...weights.store import CARD, disagreements, listed, sha256, write_files
from ..fingerprint import Fingerprint, state_hash
from . import HEADS
from .about import About

FORMAT, FORMAT_VERSION = "msm3d-head", 1
CONFIG, TENSORS = "head.json", "head.safetensors"
_LONGEST_CONFIG = 1 << 20  # bytes
_WIDEST = 1 << 20  # columns, far beyond any network
_AGAIN = "save or download it again."
_OPTIONAL = {"about"}
_FIELDS = {"format", "format_version", "head", "parameters", "features", "classes", "fingerprint", "sha256"}

Self = TypeVar("Self", bound="Saved")


class Saved:
    """What a head does with files; `heads.load` reads any head, a class's own `load` its own kind."""

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write head.json and head.safetensors, whole files or nothing, and return the directory, made where missing.
        A head already there is replaced; NotFittedError says that there is none yet, FileError that nothing can be
        written there."""
        head: Any = self
        head.require_fitted()
        fingerprint = head.fingerprint_
        values = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "head": head.name,
            "parameters": {name: _plain(value) for name, value in head.get_params().items() if name != "device"},
            "features": head.n_features_in_,
            "classes": head.classes_.tolist() if hasattr(head, "classes_") else None,
            "fingerprint": fingerprint and fingerprint.to_dict(),
        }
        if about := hasattr(head, "about_") and head.about_.to_dict():
            values["about"] = about
        return write_files(Path(directory), (CONFIG, TENSORS), values, self._state(), _card(values, fingerprint))

    @classmethod
    def load(cls: type[Self], directory: str | os.PathLike[str], *, device: str = "cpu") -> Self:
        """Return the head that `save` wrote, to work on `device`; it predicts the same to the bit.

        Raises:
            WeightsError: a file is missing, damaged, of another program or kind of head, or made by a newer msm3d.
        """
        directory = Path(directory)
        values = _values(directory)
        try:
            return cls._built(values, directory, device)
        except WeightsError:
            raise
        except (Msm3dError, TypeError, ValueError, KeyError, IndexError, ArithmeticError) as error:
            why = cut(str(error).rstrip("."), 160)
            raise WeightsError(f"{directory} does not hold a head ({why}); {_AGAIN}") from error

    @classmethod
    def _built(cls: type[Self], values: Mapping[str, Any], directory: Path, device: str) -> Self:
        kind = HEADS[values["head"]]
        if not issubclass(kind, cls):
            raise WeightsError(f"{directory} holds a head {kind.name!r}; read it by msm3d.tasks.heads.load.")
        head: Any = kind()
        head.set_params(**{name: _sliced(value) for name, value in values["parameters"].items()}, device=device)
        head.check_params()
        fingerprint, width, classes = values["fingerprint"], values["features"], values["classes"]
        head.fingerprint_ = None if fingerprint is None else Fingerprint.from_dict(fingerprint)
        head.n_features_in_ = width
        if type(width) is not int or not 0 < width <= _WIDEST:
            raise InputError(f"it has {quoted(width)} features")
        if head.fingerprint_ is not None and head.fingerprint_.channels != width:
            raise InputError(f"{width} features are not the {head.fingerprint_.channels} of its network")
        if classes is not None:
            head.classes_ = np.array(classes, dtype=np.int64)
            if head.classes_.ndim != 1 or not len(head.classes_) or (np.diff(head.classes_) <= 0).any():
                raise InputError(f"its classes are {quoted(classes)}, not ascending labels")
        if (about := values.get("about")) is not None:
            head.about_ = About.from_dict(about, len(classes or ()))
        tensors = _tensors(directory, values["sha256"])
        there = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if complaints := disagreements(head._shapes(tensors), there):
            raise InputError(listed(complaints))
        head._restore(tensors)
        return head

    def digest(self) -> str:
        """Return 64 hexadecimal digits of what the head is and has learned: heads with the same ones predict alike."""
        head: Any = self
        head.require_fitted()
        parameters = {name: _plain(value) for name, value in head.get_params().items() if name != "device"}
        classes = head.classes_.tolist() if hasattr(head, "classes_") else None
        return state_hash([head.name, parameters, classes], self._state())

    def push_to_hub(
        self, repo_id: str, *, private: bool = False, token: Any = None, commit_message: str = "A head of msm3d"
    ) -> str:
        """Upload the head to the repository `repo_id`, owner/name, of the Hugging Face Hub, made if it does not exist,
        in one commit, and return its address; raise InputError for other names."""
        with TemporaryDirectory() as folder:
            where, files = self.save(Path(folder) / "head"), [CONFIG, TENSORS, CARD]
            return hub.upload(where, repo_id, files=files, private=private, token=token, message=commit_message)

    @classmethod
    def from_pretrained(
        cls: type[Self],
        source: str | os.PathLike[str],
        *,
        device: str = "cpu",
        revision: str | None = None,
        **options: Any,
    ) -> Self:
        """Return the head of a directory or of a Hub repository `owner/name`, to work on `device`.

        `revision` is a branch, tag or commit of a repository; `local_files_only`, `cache_dir` and `token` are as for
        any Hub client.

        Raises:
            WeightsError: there is no such head, it cannot be downloaded, or it is damaged.
        """
        if os.path.isdir(source) or not hub.names_repository(source):
            return cls.load(source, device=device)
        repo = str(source)
        directory = hub.file(repo, CONFIG, revision, **options).parent
        expected = _values(directory)["sha256"]  # before the large file: other programs' end here
        tensors = hub.file(repo, TENSORS, directory.name, **options)
        if sha256(tensors) != expected and not options.get("local_files_only"):
            hub.file(repo, TENSORS, directory.name, force=True, **options)
        return cls.load(directory, device=device)

    # What was learned, by name; its shapes by this head's parameters, width and classes, where only a length that is
    # free may be that of the given tensors, which are of a file; and what takes over the tensors.
    _state: Callable[[], dict[str, Tensor]]
    _shapes: Callable[[Mapping[str, Tensor]], dict[str, tuple[int, ...]]]
    _restore: Callable[[Mapping[str, Tensor]], None]


def load(directory: str | os.PathLike[str], *, device: str = "cpu") -> Any:
    """Return the head that `save` wrote, of whatever kind; see `Head.load`."""
    return Saved.load(directory, device=device)


def _values(directory: Path) -> dict[str, Any]:
    """Return head.json, which is ours, of a version that we can read, and complete."""
    path = directory / CONFIG
    if not directory.is_dir():
        raise WeightsError(f"there is no directory {str(directory)!r}; give one that holds {CONFIG} and {TENSORS}.")
    if not path.is_file() or path.stat().st_size > _LONGEST_CONFIG:
        raise WeightsError(f"{directory} has no {CONFIG} of msm3d; a head needs {CONFIG} and {TENSORS}.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON ({cut(error)}); {_AGAIN}") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise WeightsError(
            f'{path} is not a head of msm3d (it has no "format": "{FORMAT}"); give one that `save` wrote.'
        )
    version, wrong = values.get("format_version"), sorted(_FIELDS ^ (values.keys() - _OPTIONAL))
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise WeightsError(f"{path} was made by a newer msm3d (format {quoted(version)}); run pip install -U msm3d.")
    if version != FORMAT_VERSION or wrong or not isinstance(values["parameters"], dict):
        about = f"lacks, or should not have: {cut(', '.join(wrong))}" if wrong else "is not as `save` writes it"
        raise WeightsError(f"{path} {about}; {_AGAIN}")
    return values


def _tensors(directory: Path, expected: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = directory / TENSORS
    if not path.is_file():
        raise WeightsError(f"{directory} has no {TENSORS}; a head needs {CONFIG} and {TENSORS}.")
    if (found := sha256(path)) != expected:
        raise WeightsError(
            f"{path} is damaged or of another head: its sha256 is {found}, {CONFIG} says {quoted(expected)}; {_AGAIN}"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file ({cut(error)}); {_AGAIN}") from error


def _plain(value: Any) -> Any:
    """Return a parameter for JSON, where a list of slices is one of their starts, stops and steps."""
    if isinstance(value, (list, tuple)) and all(isinstance(part, slice) for part in value):
        return [{"slice": [part.start, part.stop, part.step]} for part in value]
    return value.item() if isinstance(value, np.generic) else value


def _sliced(value: Any) -> Any:
    """Return what `_plain` was given."""
    slices = isinstance(value, list) and value and all(isinstance(part, dict) for part in value)
    return [slice(*part["slice"]) for part in value] if slices else value


def _card(values: Mapping[str, Any], fingerprint: Fingerprint | None) -> str:
    """Return a card in Markdown: what goes in and what comes out."""
    about = values.get("about", {})
    called = about.get("names") or values["classes"] or ()
    classes = f"| classes | {', '.join(map(str, called))} |\n" if called else ""
    judged = ", ".join(f"{kind} {100 * score:.1f} %" for kind, score in about.get("scores", {}).items())
    for title, text in (("licence", about.get("licence")), ("made of", about.get("source")), ("compared", judged)):
        classes += f"| {title} | {text} |\n" if text else ""
    return f"""---
library_name: msm3d
tags: [point-cloud, 3d, msm3d]
---
# A head of msm3d: {values["head"]}

It predicts from the descriptors of one network: `head = msm3d.tasks.heads.load(DIRECTORY)`, then
`head.predict(model.extract("scan.ply"), of=model)`.

| | |
|---|---|
| descriptors | {values["features"]} columns, {fingerprint or "of a network that is not stated"} |
{classes}"""
