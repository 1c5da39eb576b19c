from __future__ import annotations

from pathlib import Path

import pytest

from trainables.storage_paths import StorePath
from tuning.checkpoints.store_check import check_store


def test_a_store_that_keeps_objects_is_in_order_and_nothing_is_left(tmp_path: Path) -> None:
    found = check_store(f"file://{tmp_path}/store")
    assert found.error == ""
    assert found.write_ms is not None
    assert list((tmp_path / "store").iterdir()) == []


def test_a_store_that_refuses_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"file://{tmp_path}/file" in check_store(f"file://{tmp_path}/file").error
    assert "begins with one of" in check_store("ftp://host/folder").error


@pytest.mark.parametrize("lost", [True, False])
def test_objects_that_are_lost_or_changed_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    def read(path: StorePath) -> bytes:
        if lost:
            raise FileNotFoundError
        return b"another content"

    monkeypatch.setattr(StorePath, "read_bytes", read)
    assert ("cannot be read" if lost else "another content") in check_store(f"file://{tmp_path}").error
    assert list(tmp_path.iterdir()) == []
