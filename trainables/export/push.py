"""Uploads an export to a hub repository: the files that were exported, and no others.

The client's upload of a folder takes whatever lies there, an `.env` or an optimizer's state too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from trainables.errors import StorageError

_NETWORK_ERRORS: tuple[type[Any], ...] = (*HfHubHTTPError.__bases__, OSError)
"""Those of the hub's client: of httpx or of its successor, by the version that is installed."""


@dataclass(frozen=True)
class PushResult:
    """The uploaded commit.  private: whether only its owners see the repository."""

    url: str
    commit: str
    private: bool


def check_push(repo: str) -> None:
    """Check, before any work, that `repo` can be a repository and that the hub knows the user.

    Raises StorageError.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise StorageError(
            f"--push must be a repository such as YOUR-NAME/nuclei-lora, got '{repo}': {_line(error)}"
        ) from error
    if repo.count("/") != 1:
        raise StorageError(f"--push must name its owner too, as in YOUR-NAME/{repo}, got '{repo}'")
    if get_token() is None:
        raise StorageError("--push needs an account: run `hf auth login`, or set HF_TOKEN")
    with _as_our_errors("cannot log in to the hub"):
        HfApi().whoami()


def push_export(folder: Path, files: Sequence[str], repo: str, *, public: bool, title: str) -> PushResult:
    """Upload these files of `folder` to `repo` in one commit, and check that the hub has them.

    A repository that does not exist is created; what an existing one holds besides stays, and so does its
    visibility. public: whether a new one is visible to all. Raises StorageError.
    """
    adds = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(folder / name)) for name in files]
    api = HfApi()
    with _as_our_errors(f"the export is in {folder}, but cannot be uploaded to {repo}"):
        api.create_repo(repo, private=not public, exist_ok=True)
        done = api.create_commit(repo, adds, commit_message=f"Export {title}")
        there = set(api.list_repo_files(repo, revision=done.oid))
        private = bool(api.model_info(repo).private)
    if missing := sorted(set(files) - there):
        raise StorageError(
            f"the export is in {folder}, but after the upload {repo} lacks {', '.join(missing)}; push again"
        )
    return PushResult(str(done.commit_url), str(done.oid), private)


@contextmanager
def _as_our_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise StorageError(f"{what}: HF_HUB_OFFLINE is set; unset it") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        way_out = {
            401: "; the token is not valid: run `hf auth login`, or set HF_TOKEN",
            403: "; the token may not write there: use one with write access, or another owner",
        }.get(status, "")
        raise StorageError(f"{what}: {_line(error)}{way_out}") from error
    except _NETWORK_ERRORS as error:
        raise StorageError(f"{what}: {_line(error)}; try again") from error


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__
