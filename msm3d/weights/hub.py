"""Files on the Hugging Face Hub: into its cache and back. The only module that knows the Hub's client."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError, WeightsError, cut, quoted

# a branch, tag or commit; never a way out of the cache
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*([./][A-Za-z0-9_-]+)*")
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+=-]*")  # a commit or the hash of a file, which the client makes a name of
ONLY_OURS = "only weights of msm3d can be loaded, and `msm3d models` lists what loads by name."


def home() -> Path:
    """Return the Hub's own folder, `HF_HOME`, beside whose cache we keep what was converted here."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME)


def offline() -> bool:
    """Return whether `HF_HUB_OFFLINE` forbids the network."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def names_repository(source: str | os.PathLike[str]) -> bool:
    """Return whether this is `owner/name`."""
    return isinstance(source, str) and bool(_REPO.fullmatch(source))


def file(
    repo: str,
    name: str,
    revision: str | None = None,
    *,
    refresh: bool = False,
    force: bool = False,
    local_files_only: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    cure: str | None = None,
) -> Path:
    """Return the path of a file in the Hub's cache, in a folder named after the commit, downloaded if need be.

    What is in the cache is used without asking the network; `refresh` asks whether a branch has moved, `force`
    downloads a file that is there but damaged. WeightsError says why there is no such file, or none in the cache, and
    of a file that is no model of msm3d what `cure` says.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    if revision is not None and not (isinstance(revision, str) and _REVISION.fullmatch(revision)):
        raise InputError(f"revision is {quoted(revision)}; it must be a branch, a tag or a commit of {repo}.")

    def download(**options: bool) -> Path:
        return Path(hf_hub_download(repo, name, revision=revision, cache_dir=cache_dir, token=token, **options))

    cache = Path(cache_dir or constants.HF_HUB_CACHE)
    try:
        with _silent():
            moves = revision is None or not _COMMIT.fullmatch(revision)
            if not force and not (refresh and moves):
                try:
                    return _within(cache, download(local_files_only=True))
                except LocalEntryNotFoundError:
                    if local_files_only:
                        raise
            if not (local_files_only or offline()):
                _ask(repo, name, revision, token)
            return _within(cache, download(local_files_only=local_files_only, force_download=force))
    except WeightsError:
        raise
    except Exception as error:  # the client's HTTP library changes between its versions, and so do its errors
        raise WeightsError(_sentence(error, repo, name, revision, local_files_only, cure)) from error


def forget(path: Path) -> bool:
    """Delete the content of a file that `file` returned, if it is the cache's own; return whether it was."""
    blobs, content = path.parents[2] / "blobs", path.resolve()  # of REPOSITORY/snapshots/COMMIT/NAME
    ours = content.parent in (blobs.resolve(), path.parent.resolve())  # the latter where a disk has no links
    if ours:
        content.unlink(missing_ok=True)
    return ours


def _ask(repo: str, name: str, revision: str | None, token: str | bool | None) -> None:
    """Ask for a file's description once, or raise: the client itself tries an unreachable Hub for twenty seconds, and
    stores a file under whatever commit the answer names.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        said = get_hf_file_metadata(hf_hub_url(repo, name, revision=revision), token=token)
    except Exception as error:
        if (status := _status(error)) is not None and (status >= 500 or status in (408, 429)):
            return  # a server that stumbles is asked again, by the client
        raise
    for part in (said.commit_hash, said.etag):
        if part is not None and not _PART.fullmatch(part):
            raise WeightsError(
                f"the Hub's answer for {name} of {repo} leads out of the cache ({quoted(part)}), so nothing was "
                "downloaded; check HF_ENDPOINT, or tell the owner of that Hub."
            )


def _within(cache: Path, path: Path) -> Path:
    """Return the path of a file in the cache, unless it, or what it links to, lies elsewhere."""
    whole, content = cache.resolve(), path.resolve()
    steps = Path(os.path.relpath(path, cache)).parts  # REPOSITORY/snapshots/COMMIT/NAME
    if len(steps) != 4 or steps[0] == ".." or steps[1] != "snapshots" or whole not in content.parents:
        raise WeightsError(
            f"{path} leads out of the cache, to {content}, so it is not used; delete that link, "
            "and load or download the model again."
        )
    return path


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the client from telling of its tries: the one sentence that counts is ours."""
    log = logging.getLogger("huggingface_hub")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def upload(
    directory: Path, repo: str, *, files: list[str], private: bool, token: str | bool | None, message: str
) -> str:
    """Upload `files` of `directory` to `repo`, made when it does not exist, in one commit; return the commit's URL."""
    from huggingface_hub import HfApi

    if not names_repository(repo):
        raise InputError(f"{quoted(repo)} cannot name a repository of the Hugging Face Hub; give owner/name.")
    api = HfApi(token=token)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repo, folder_path=directory, allow_patterns=files, commit_message=message)
    except Exception as error:
        raise WeightsError(_refusal(error, repo)) from error
    return str(commit.commit_url)


def _sentence(
    error: BaseException, repo: str, name: str, revision: str | None, local_files_only: bool, cure: str | None
) -> str:
    """Return what went wrong with a download and what to do about it."""
    from huggingface_hub import constants, errors

    at = repo if revision is None else f"{repo} at revision {revision!r}"
    status = _status(error)
    if isinstance(error, errors.GatedRepoError):
        return f"{repo} asks you to accept its terms; do so at {constants.ENDPOINT}/{repo}, then set HF_TOKEN."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"the Hugging Face Hub has no repository {repo!r}, or it is private; check its name, or set HF_TOKEN."
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{repo} has no revision {revision!r}; give one of its branches, tags or commits, or none for the newest."
        )
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"{at} has no {name}" + (f"; {cure}" if cure else f", so it is not a model of msm3d; {ONLY_OURS}")
    if status in (401, 403):
        return f"the Hugging Face Hub refused to hand out {repo} ({status}); set HF_TOKEN to a token that may read it."
    if status is not None:
        return f"the Hugging Face Hub answered {status} for {name} of {at}; this passes as a rule, so try again later."
    if local_files_only or offline():
        why = "local_files_only is set" if local_files_only else "HF_HUB_OFFLINE is set"
        fetch = cure or f"fetch it once with `msm3d download {repo}` while online; {ONLY_OURS}"
        return f"{name} of {at} is not in the cache and {why}; {fetch}"
    if isinstance(error, errors.HFValidationError):
        return f"{repo!r} cannot name a repository of the Hugging Face Hub ({_first_line(error)}); give owner/name."
    if isinstance(error, errors.LocalEntryNotFoundError) or _lacks_connection(error):
        other = cure or f"check the connection, or copy a model's directory here and give its path; {ONLY_OURS}"
        return f"{name} of {at} is not in the cache and {constants.ENDPOINT} cannot be reached; {other}"
    return f"downloading {name} of {at} broke off ({_first_line(error)}); run it again."


def _refusal(error: BaseException, repo: str) -> str:
    """Return why an upload failed and what to do about it."""
    from huggingface_hub import constants

    status = _status(error)
    if status in (401, 403, 404) or type(error).__name__ == "LocalTokenNotFoundError":
        return f"the Hugging Face Hub does not let you write to {repo}; set HF_TOKEN to a token that may."
    if status is not None:
        return f"the Hugging Face Hub answered {status} to the upload to {repo}; try again later."
    if _lacks_connection(error):
        cure = "check the connection and run it again."
        return f"{constants.ENDPOINT} cannot be reached, so {repo} was not changed; {cure}"
    return f"the upload to {repo} broke off ({_first_line(error)}); run it again."


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return the error and its causes: the client wraps a server's answer in "not found locally"."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__
    return chain


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of a server's answer, if it was an answer."""
    responses = (getattr(cause, "response", None) for cause in _chain(error))
    return next((response.status_code for response in responses if response is not None), None)


def _lacks_connection(error: BaseException) -> bool:
    names = {kind.__name__ for cause in _chain(error) for kind in type(cause).__mro__}
    return bool(names & {"ConnectError", "ConnectionError", "ConnectTimeout"})


def _first_line(error: BaseException) -> str:
    return cut((str(error).strip().splitlines() or [type(error).__name__])[0].rstrip("."), 200)
