from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_disk import small_disk

from trainables.errors import StorageError
from tuning.cli.files.inspection_files import check_folder, write_whole


def test_files_are_replaced_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    assert write_whole({"a": b"after", "b": b"new"}, tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert (tmp_path / "a").read_text() == "after"


def test_a_full_disk_keeps_the_files_of_before(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_kb=64) as disk:
        (disk.path / "a").write_text("before")
        with pytest.raises(StorageError, match="no space left on device; name another folder with --to"):
            write_whole({"a": b"after", "b": bytes(10**6)}, disk.path)
        assert os.listdir(disk.path) == ["a"]
        assert (disk.path / "a").read_text() == "before"


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder").is_dir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="must be written to"):
        check_folder(tmp_path / "file" / "inside")


def test_a_read_only_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_kb=64) as disk:
        disk.read_only()
        with pytest.raises(StorageError, match="read-only file system"):
            check_folder(disk.path / "look")
        disk.read_only(False)
