"""The folder of features stays within its limit, removes what is oldest, and never what is in use."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from small_disk import small_disk

from trainables.features.feature_file import FeatureFile, FileShape
from trainables.features.feature_folder import SUFFIX, FeatureFolder, NoRoomError

ROW = 20_000


def shape(name: str, rows: int = 10) -> FileShape:
    return FileShape({"name": name}, rows, ROW)


def fill(file: FeatureFile, rows: int = 10) -> None:
    for row in range(rows):
        file.write([row], np.full((1, ROW), row, np.uint8))


def old(file: FeatureFile, age_s: float) -> Path:
    """Its path, after it was closed, with a last use this long ago."""
    path, now = file.path, file.path.stat().st_mtime
    os.utime(path, (now - age_s, now - age_s))
    return path


def names(folder: FeatureFolder) -> set[Path]:
    return set(folder.path.glob(f"*{SUFFIX}"))


NEEDED = shape("any").needed(10)


def test_a_file_is_made_once_and_found_again(tmp_path: Path) -> None:
    folder = FeatureFolder(tmp_path / "features", 10 * NEEDED)
    file = folder.open(shape("a"), 10)
    file.write([2], np.full((1, ROW), 7, np.uint8))
    again = folder.open(shape("a"), 10)
    assert again.path == file.path
    assert again.read([2]) is not None
    assert folder.open(shape("b"), 10).path != file.path


def test_the_oldest_unused_files_make_room(tmp_path: Path) -> None:
    folder = FeatureFolder(tmp_path, 7 * NEEDED // 2)
    opened = [folder.open(shape(name), 10) for name in "abc"]
    for file in opened:
        fill(file)
    paths = [old(file, age) for file, age in zip(opened, (100, 300, 200), strict=True)]
    del opened, file
    new = folder.open(shape("d"), 10)
    assert names(folder) == {paths[0], paths[2], new.path}
    other = folder.open(shape("e"), 10)
    assert names(folder) == {paths[0], new.path, other.path}


def test_a_file_in_use_stays(tmp_path: Path) -> None:
    folder = FeatureFolder(tmp_path, 5 * NEEDED // 2)
    used, idle = folder.open(shape("used"), 10), folder.open(shape("idle"), 10)
    path, gone = old(used, 300), old(idle, 100)
    del idle
    new = folder.open(shape("new"), 10)
    assert names(folder) == {path, new.path}
    assert not gone.exists()
    with pytest.raises(NoRoomError, match=r"running trials use .* of data.cache_gb; raise it"):
        folder.open(shape("more"), 10)
    assert names(folder) == {path, new.path}
    fill(used)
    assert used.read([9]) is not None


def test_what_was_promised_counts_before_it_is_written(tmp_path: Path) -> None:
    """Two trials that begin at once do not fill the disk twice."""
    folder = FeatureFolder(tmp_path, 2 * NEEDED - 1)
    first = folder.open(shape("a"), 10)
    assert first.path.stat().st_blocks * 512 < NEEDED / 2
    with pytest.raises(NoRoomError, match="running trials use"):
        folder.open(shape("b"), 10)


def test_only_the_images_of_a_trial_count(tmp_path: Path) -> None:
    """A file has a place for each image of the data, and takes space for those that trials see."""
    folder = FeatureFolder(tmp_path, NEEDED)
    large = shape("large", rows=1000)
    part = folder.open(large, 9)
    fill(part, 9)
    with pytest.raises(NoRoomError, match=r"0.02 GB are needed, and data.cache_gb allows"):
        folder.open(large, 1000)
    assert part.read([8]) is not None


def test_a_file_that_can_never_fit_removes_nothing(tmp_path: Path) -> None:
    folder = FeatureFolder(tmp_path, NEEDED)
    path = old(folder.open(shape("a"), 10), 100)
    with pytest.raises(NoRoomError, match=r"data\.cache_gb allows"):
        folder.open(shape("b", rows=11), 11)
    assert path.exists()


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    folder = FeatureFolder(tmp_path, NEEDED)
    path = folder.open(shape("a"), 10).path
    path.write_bytes(b"something else")
    file = folder.open(shape("a"), 10)
    assert file.path == path
    assert file.filled() == 0


def test_a_disk_that_is_almost_full_is_left_alone(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_kb=1000) as disk:
        folder = FeatureFolder(disk.path / "features", 10**9)
        first = folder.open(shape("a"), 10)
        fill(first)
        disk.fill(leave=150_000)
        with pytest.raises(NoRoomError, match="has too little space"):
            folder.open(shape("b"), 10)
        assert first.read([3]) is not None
        del first
        second = folder.open(shape("b"), 10)
        assert names(folder) == {second.path}, "an old file makes room on the disk too"


def test_a_read_only_folder_is_a_reason_not_an_error(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_kb=1000) as disk:
        disk.read_only()
        with pytest.raises(NoRoomError, match="cannot be written: Read-only file system"):
            FeatureFolder(disk.path / "features", 10**9).open(shape("a"), 10)


def test_the_folder_is_in_the_cache_that_holds_the_data(tmp_path: Path, cache: Path) -> None:
    """A relative ADAPTERTUNE_CACHE means another folder in a worker."""
    assert FeatureFolder.beside(tmp_path / "prepared" / "abc", 2.5) == FeatureFolder(
        tmp_path / "features", 2_500_000_000
    )
    assert FeatureFolder.beside(tmp_path / "elsewhere" / "abc", 1).path == cache / "features"
