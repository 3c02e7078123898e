"""Weights by name: what is released, what is on this machine, and how the rest gets here; see `store` for the files."""

import json
import os
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .._util.words import choices, warn
from ..errors import InputError, WeightsError
from . import hub
from .store import CARD, CONFIG, MODEL, Source, backbone, copy, metadata, read, sha256, verify
from .store import load_state as load_state
from .store import require_fit as require_fit
from .store import write as write

DEFAULT = "rooms-labelled"  # comes with the package; the best of these on the half of the yardstick that reports
_RELEASES = Path(__file__).with_name("releases.json")
_BUNDLED = Path(__file__).with_name("bundled")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What is known about some weights without loading them."""

    name: str
    """What `load` calls them: a release's name, or a path."""
    status: str
    """`bundled`, `installed`, `downloadable` or `needs download` for a release; `directory` for a path."""
    licence: str
    """The licence of the weights, not of the code."""
    data: str
    """What they were trained on."""
    source: str
    """Who made them, and where they are described."""
    dims: tuple[int, ...]
    """Channels per level, fine to coarse; a descriptor is all of them."""
    voxel_size: float
    """Edge of a finest voxel in metres."""
    parameters: int
    """Number of trained values."""
    scores: dict[str, float] = field(default_factory=dict)
    """Measured results by name."""
    scores_source: str = ""
    """Who measured them."""
    sha256: str | None = None
    """Hash of model.safetensors, or None where no file is pinned yet."""
    path: Path | None = None
    """The directory on this machine, if there is one."""

    @property
    def channels(self) -> int:
        """Width of a descriptor."""
        return sum(self.dims)


def list_models() -> list[str]:
    """Return the names that `load` knows; `info(name)` says which of them are on this machine.

    >>> "scannet" in list_models()
    True
    """
    return sorted(releases())


def info(source: Source) -> ModelInfo:
    """Return licence, data, dims, voxel size, scores and hash of a release or of a model's directory.

    >>> scannet = info("scannet")
    >>> scannet.dims, scannet.channels, scannet.voxel_size
    ((64, 96, 128, 256, 384), 928, 0.02)

    Args:
        source: a release's name, a directory, or a repository of the Hub that is in the cache already.

    Raises:
        WeightsError: there is no such release or directory, or it holds no model.
    """
    release = releases().get(source) if isinstance(source, str) else None
    if release is None:
        name, known, status, path = os.fspath(source), {}, "directory", resolve(source, local_files_only=True)
    else:
        name, known, absent = str(source), release, "downloadable" if release["repo"] else "needs download"
        status, path = _local(name) or (absent, None)
    if path is not None:  # what is there counts, not what the release would be
        meta = metadata(path)
        config = backbone(path, meta)
        known = {**known, **meta, "dims": config.widths, "voxel_size": config.inputs.voxel_size}
    return ModelInfo(
        name=name,
        status=status,
        **{key: known.get(key) or "not stated" for key in ("licence", "data", "source")},
        dims=tuple(known["dims"]),
        voxel_size=known["voxel_size"],
        parameters=known.get("parameters") or 0,
        scores=dict(known.get("scores") or {}),
        scores_source=known.get("scores_source") or "",
        sha256=known.get("sha256"),
        path=path,
    )


def resolve(
    source: Source | None = None,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    refresh: bool = False,
    cache_dir: Source | None = None,
    token: str | bool | None = None,
) -> Path:
    """Return the directory of some weights, downloaded into the Hugging Face cache where needed.

    A plain name is always a release, even beside a directory of that name: type ./NAME for the directory. What has
    been downloaded once is used without the network, whatever its branch does later, until `refresh` asks again.

    Args:
        source: a release's name, a directory, or `owner/repository` on the Hub; None is the bundled release.
        revision: branch, tag or commit of a Hub repository; a release pins its own.
        local_files_only: never use the network.
        refresh: ask the Hub whether the branch has moved.
        cache_dir: cache to use instead of `HF_HUB_CACHE`.
        token: access token instead of `HF_TOKEN`.

    Raises:
        WeightsError: the weights are unknown, unavailable or damaged; the message says what to type next.
    """
    if source is None:
        source = DEFAULT
    if not isinstance(source, (str, os.PathLike)):
        raise WeightsError(f"weights are named by text or a path, not by {type(source).__name__}; see list_models().")
    fetch = partial(_fetch, refresh=refresh, local_files_only=local_files_only, cache_dir=cache_dir, token=token)
    text = os.path.expanduser(os.fspath(source))
    is_text = isinstance(source, str)  # a Path is never a name
    if is_text and (release := releases().get(text)):
        if found := _local(text):
            return _unrevised(found[1], revision, text)
        if release["repo"] is None:
            raise WeightsError(release["unavailable"])
        if release.get("checkpoint"):
            if revision is not None:
                raise InputError(f"revision is {revision!r}, but {text!r} is of one commit; leave revision out.")
            return _converted(text, release, local_files_only=local_files_only, cache_dir=cache_dir, token=token)
        pinned = release["sha256"] if revision is None else None
        return fetch(release["repo"], revision or release["revision"], pinned)
    if os.path.isfile(text) and text.endswith((".pth", ".pt", ".ckpt")):
        raise WeightsError(
            f"{text} is a checkpoint, not a directory of msm3d; run `msm3d convert {text} -o DIR`, then give DIR."
        )
    if is_text and _NAME.fullmatch(text):
        if os.path.isdir(text):
            raise WeightsError(
                f"{text!r} is not a release of msm3d, but a directory here has this name; type ./{text} for it."
            )
        end = choices(text, list_models())
        end = end if end.endswith("?") else f"{end[:-1]}, or give ./DIRECTORY or OWNER/REPOSITORY."
        raise WeightsError(f"unknown weights {text!r}; {end}")
    if os.path.isdir(text):
        return _unrevised(Path(text), revision, text)
    if is_text and hub.names_repository(text):
        return fetch(text, revision, None)
    raise WeightsError(f"there is no directory {text!r}; give one that holds {CONFIG} and {MODEL}.")


def download(source: Source, out_dir: Source | None = None, **options: Any) -> Path:
    """Fetch some weights, check them, and return their directory; later `load`s need no network.

    Args:
        source: a release's name or `owner/repository`.
        out_dir: also copy them here, to carry to a machine without a network; `load("./DIR")` reads them there.
        options: `revision`, `cache_dir` and `token` of `resolve`.

    Raises:
        WeightsError: as `resolve`, or the files do not agree with each other.
    """
    release = releases().get(source) if isinstance(source, str) else None
    if release and (release.get("drive") or release.get("checkpoint")):
        _drop_damaged(installed(str(source)))
        if release.get("drive") and not _local(str(source)) and options.get("revision") is None:
            from .drive import fetch

            fetch(str(source), release, installed(str(source)))
    directory = resolve(source, refresh=True, **options)
    verify(directory, metadata(directory))
    return directory if out_dir is None else copy(directory, Path(out_dir))


def _drop_damaged(directory: Path) -> None:
    """Remove a model that `install` or a download has kept, where it is damaged: so it is fetched again."""
    if (directory / CONFIG).is_file():
        try:
            verify(directory, metadata(directory))
        except WeightsError:
            for name in (CONFIG, MODEL):
                (directory / name).unlink(missing_ok=True)


def installed(name: str) -> Path:
    """Return where `install` keeps the release `name`: `HF_HOME/msm3d/NAME`; it need not exist."""
    _require_name(name)
    return hub.home() / "msm3d" / name


def install(directory: Source, name: str) -> Path:
    """Make `load(name)` find a converted model, as hard links where possible, in place of an earlier one; return where.

    Raises:
        WeightsError: `name` is not one of `list_models()`, or `directory` holds no intact model.
    """
    if name not in list_models():
        raise WeightsError(f"{name!r} is not a release of msm3d; choose one of {', '.join(list_models())}.")
    directory = Path(directory)
    verify(directory, metadata(directory))
    return copy(directory, installed(name))


def push(
    directory: Source,
    repo: str,
    *,
    private: bool = False,
    token: str | bool | None = None,
    commit_message: str | None = None,
) -> str:
    """Upload a model's directory with its card to the Hub in one commit and return the commit's URL.

    Raises:
        WeightsError: the directory holds no intact model, or the Hub refuses.
    """
    read(directory)
    options = {"private": private, "token": token, "message": commit_message or "Upload a model of msm3d"}
    return hub.upload(Path(directory), repo, files=[CONFIG, MODEL, CARD], **options)


def releases() -> dict[str, dict[str, Any]]:
    """Return the table of releases; their names become directories, so a name may not be a path."""
    table = json.loads(_RELEASES.read_text(encoding="utf-8"))
    for name in table:
        _require_name(name)
    return table


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} cannot name weights; use letters, digits, '.', '_' and '-'.")


def _local(name: str) -> tuple[str, Path] | None:
    """Return status and directory of a release on this machine, if it is there."""
    places = [("bundled", _BUNDLED / name), ("installed", installed(name))]
    return next((place for place in places if (place[1] / CONFIG).is_file()), None)


def _unrevised(directory: Path, revision: str | None, source: str) -> Path:
    if revision is not None:
        raise InputError(
            f"revision is {revision!r}, but {source!r} is a directory on this machine; leave revision out."
        )
    return directory


def _converted(name: str, release: dict[str, Any], **options: Any) -> Path:
    """Return where the authors' checkpoint of a release is as a model of ours, once it was fetched and converted.

    Its commit is pinned; the hash of the file, which its authors do not state, is kept in our config.json.
    """
    from .convert import convert

    beside = [CONFIG] if release["checkpoint"].endswith(".safetensors") else []
    files = [*beside, release["checkpoint"]]
    path = [hub.file(release["repo"], file, release["revision"], **options) for file in files][-1]
    warn(f"the weights of {name!r} are {release['licence']}")
    return convert(path, installed(name), release=name, install=False).directory


def _fetch(repo: str, revision: str | None, pinned: str | None, *, refresh: bool, **options: Any) -> Path:
    """Download both files of one commit."""
    directory = hub.file(repo, CONFIG, revision, refresh=refresh, **options).parent  # named after the commit
    meta = metadata(directory)  # before the large file: other programs' models end here
    whole(repo, MODEL, directory.name, pinned or meta["sha256"], **options)
    return directory


def whole(repo: str, name: str, revision: str, expected: str, *, cure: str | None = None, **options: Any) -> Path:
    """Return a file of a commit whose sha256 is the expected one; a damaged one is downloaded again, once, where the
    network may be used. `cure` and other options are as for `hub.file`, of which WeightsError is too."""
    for force in (False, True):
        path = hub.file(repo, name, revision, force=force, cure=cure, **options)
        if (found := sha256(path)) == expected:
            return path
        if options.get("local_files_only") or hub.offline():
            again = cure or f"fetch it again with `msm3d download {repo}` while online."
            raise WeightsError(f"{path} is damaged: its sha256 is {found}, it should be {expected}; {again}")
    deleted = "so it was deleted" if hub.forget(path) else "and is not ours to delete"
    raise WeightsError(
        f"{name} of {repo} was damaged, {deleted}: its sha256 is {found}, it should be {expected}; "
        f"download it again, and if that does not help, tell the owner of {repo}."
    )
