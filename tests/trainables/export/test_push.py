"""An export on the hub: the files of the export and no others, by the hub's own client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from fake_hub import COMMIT, FakeHub, fake_hub

from trainables.errors import StorageError
from trainables.export.push import check_push, push_export


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub(monkeypatch) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export into which somebody has put files of their own."""
    for name in ("README.md", "base/config.json", ".env", "optimizer.pt", "base/.env"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"content of {name}")
    return tmp_path


FILES = ("README.md", "base/config.json")


def test_the_files_of_the_export_and_no_others_are_uploaded(hub: FakeHub, folder: Path) -> None:
    check_push("me/lora")
    done = push_export(folder, FILES, "me/lora", public=False, title="trial 7 of nuclei")
    assert hub.repos == {"me/lora": {name: f"content of {name}".encode() for name in FILES}}
    assert (done.private, done.commit) == (True, COMMIT)
    assert done.url == f"{hub.url}/me/lora/commit/{COMMIT}"
    assert sum("/commit/" in line for line in hub.asked) == 1


def test_what_a_repository_holds_besides_stays_and_so_does_its_visibility(hub: FakeHub, folder: Path) -> None:
    hub.repos["me/lora"] = {"notes.md": b"mine", "README.md": b"before"}
    hub.private["me/lora"] = False
    done = push_export(folder, FILES, "me/lora", public=False, title="x")
    assert not done.private
    assert sorted(hub.repos["me/lora"]) == ["README.md", "base/config.json", "notes.md"]
    assert hub.repos["me/lora"]["README.md"] == b"content of README.md"


def test_a_new_one_is_public_only_if_asked(hub: FakeHub, folder: Path) -> None:
    assert not push_export(folder, FILES, "me/lora", public=True, title="x").private
    assert hub.private == {"me/lora": False}


def test_what_the_hub_did_not_keep_is_an_error(hub: FakeHub, folder: Path) -> None:
    hub.loses = "base/config.json"
    with pytest.raises(StorageError, match=r"me/lora lacks base/config\.json; push again"):
        push_export(folder, FILES, "me/lora", public=False, title="x")


@pytest.mark.parametrize(
    ("repo", "error"),
    [
        ("lora", "--push must name its owner too, as in YOUR-NAME/lora, got 'lora'"),
        ("me/my lora", "--push must be a repository such as YOUR-NAME/nuclei-lora, got 'me/my lora'"),
        ("a/b/c", "--push must be a repository such as YOUR-NAME/nuclei-lora, got 'a/b/c'"),
    ],
)
def test_a_name_that_is_no_repository_is_an_error_before_any_request(
    hub: FakeHub, repo: str, error: str
) -> None:
    with pytest.raises(StorageError) as raised:
        check_push(repo)
    assert str(raised.value).startswith(error)
    assert not hub.asked


def test_without_an_account_it_says_how_to_get_one(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.export.push.get_token", lambda: None)
    with pytest.raises(StorageError, match="--push needs an account: run `hf auth login`, or set HF_TOKEN"):
        check_push("me/lora")
    assert not hub.asked


def test_a_wrong_token_a_missing_right_and_a_missing_hub_are_said(
    hub: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(
        StorageError, match=r"cannot log in to the hub: .*; the token is not valid: run `hf auth"
    ):
        check_push("me/lora")
    monkeypatch.undo()
    with fake_hub(monkeypatch) as other:
        other.may_write = False
        check_push("me/lora")
        with pytest.raises(
            StorageError, match=r"cannot be uploaded to me/lora: .*the token may not write there"
        ):
            push_export(folder, FILES, "me/lora", public=False, title="x")
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
        with pytest.raises(StorageError, match=r"cannot log in to the hub: .*; try again"):
            check_push("me/lora")
