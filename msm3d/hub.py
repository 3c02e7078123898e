"""Files on the Hugging Face Hub: into its cache and back. The only module that knows the Hub's client."""

import os
import re
from pathlib import Path

from .errors import InputError, WeightsError

_REVISION = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_-]*([./][A-Za-z0-9_-]+)*"
)  # a branch, tag or commit; never a way out of the cache


def home() -> Path:
    """Return the Hub's own folder, `HF_HOME`, beside whose cache we keep what was converted here."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME)


def offline() -> bool:
    """Return whether `HF_HUB_OFFLINE` forbids the network."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


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
) -> Path:
    """Return the path of `name` of the repository `repo` in the Hub's cache, downloaded when it is not there.

    What is in the cache is used without asking the network; `refresh` asks whether a branch has moved, `force`
    downloads a file that is there but damaged. The folder of the returned path is named after the commit.

    Raises:
        WeightsError: the file does not exist, may not be read, or cannot be downloaded now.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    if revision is not None and not _REVISION.fullmatch(revision):
        raise InputError(f"revision is {revision!r}; it must be a branch, a tag or a commit of {repo}.")

    def download(**options: bool) -> Path:
        return Path(hf_hub_download(repo, name, revision=revision, cache_dir=cache_dir, token=token, **options))

    try:
        if not (refresh or force):
            try:
                return download(local_files_only=True)
            except LocalEntryNotFoundError:
                if local_files_only:
                    raise
        return download(local_files_only=local_files_only, force_download=force)
    except Exception as error:  # the client's HTTP library changes between its versions, and so do its errors
        raise WeightsError(_sentence(error, repo, name, revision, local_files_only)) from error


def upload(
    directory: Path, repo: str, *, files: list[str], private: bool, token: str | bool | None, message: str
) -> str:
    """Upload `files` of `directory` to `repo`, made when it does not exist, in one commit; return the commit's URL."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repo, folder_path=directory, allow_patterns=files, commit_message=message)
    except Exception as error:
        raise WeightsError(_refusal(error, repo)) from error
    return str(commit.commit_url)


def _sentence(error: BaseException, repo: str, name: str, revision: str | None, local_files_only: bool) -> str:
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
        return f"{at} has no {name}; a model of msm3d needs config.json and model.safetensors."
    if status in (401, 403):
        return f"the Hugging Face Hub refused to hand out {repo} ({status}); set HF_TOKEN to a token that may read it."
    if status is not None:
        return f"the Hugging Face Hub answered {status} for {name} of {at}; this passes as a rule, so try again later."
    if local_files_only or offline():
        why = "local_files_only is set" if local_files_only else "HF_HUB_OFFLINE is set"
        return f"{name} of {at} is not in the cache and {why}; fetch it once with `msm3d download {repo}` while online."
    if isinstance(error, errors.HFValidationError):
        return f"{repo!r} cannot name a repository of the Hugging Face Hub ({_first_line(error)}); give owner/name."
    if isinstance(error, errors.LocalEntryNotFoundError) or _lacks_connection(error):
        return (
            f"{name} of {at} is not in the cache and {constants.ENDPOINT} cannot be reached; "
            "check the connection, or copy a model's directory here and give its path."
        )
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
        return (
            f"{constants.ENDPOINT} cannot be reached, so {repo} was not changed; check the connection and run it again."
        )
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
    responses = [getattr(cause, "response", None) for cause in _chain(error)]
    return next((response.status_code for response in responses if response is not None), None)


def _lacks_connection(error: BaseException) -> bool:
    names = {kind.__name__ for cause in _chain(error) for kind in type(cause).__mro__}
    return bool(names & {"ConnectError", "ConnectionError", "ConnectTimeout"})


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
