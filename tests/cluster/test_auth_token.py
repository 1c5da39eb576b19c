from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.auth_token import exposed_token, token_file, why_not_sendable


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder that everybody may enter, as pytest's own folders are not, with Ray's file of a token."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    folder = Path(tempfile.mkdtemp(prefix="home-", dir="/tmp")).resolve()
    folder.chmod(0o755)
    (folder / ".ray").mkdir(mode=0o755)
    (folder / ".ray" / "auth_token").write_text("a" * 64)
    monkeypatch.setenv("HOME", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("file", "folder", "exposed"),
    [
        (0o644, 0o755, True),
        (0o640, 0o755, True),
        (0o604, 0o755, True),
        (0o600, 0o755, False),
        (0o611, 0o755, False),
        (0o644, 0o700, False),
        (0o640, 0o710, True),
        (0o644, 0o710, True),
        (0o604, 0o710, False),
    ],
)
def test_whether_others_can_read_the_token(home: Path, file: int, folder: int, exposed: bool) -> None:
    token = home / ".ray" / "auth_token"
    token.chmod(file)
    home.chmod(folder)
    assert exposed_token() == (token if exposed else None)


def test_a_group_that_cannot_enter_the_folder_reads_nothing(home: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder to another group")
    (home / ".ray" / "auth_token").chmod(0o640)
    home.chmod(0o750)
    assert exposed_token() is not None
    os.chown(home, -1, os.getegid() + 1)
    assert exposed_token() is None


def test_the_file_is_the_one_that_ray_reads(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert token_file() == home / ".ray" / "auth_token"
    other = home / "other"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(other))
    assert token_file() is None
    other.write_text("b" * 64)
    assert token_file() == other
    monkeypatch.setenv("RAY_AUTH_TOKEN", "c" * 64)
    assert token_file() is None
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_MODE", "Disabled")
    assert token_file() is None


@pytest.mark.parametrize(
    ("token", "fine"),
    [("a" * 64, True), ("a b\n", True), ("", True), ("a\nb", False), ("ä", False), ("\ufeffab", False)],
)
def test_a_token_must_be_of_printable_characters(
    home: Path, monkeypatch: pytest.MonkeyPatch, token: str, fine: bool
) -> None:
    path = home / ".ray" / "auth_token"
    path.write_text(token, encoding="utf-8")
    assert why_not_sendable() == "" if fine else str(path) in why_not_sendable()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    assert why_not_sendable() == ""
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    assert fine or "RAY_AUTH_TOKEN has characters" in why_not_sendable()
    assert why_not_sendable("10.0.0.1:6379") == ""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert why_not_sendable("10.0.0.1:6379") == why_not_sendable() == why_not_sendable("auto")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert why_not_sendable() == ""
