from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_disk import small_disk

from cluster.health.storage import (
    Locks,
    examine_storage,
    file_system_of,
    probe_in,
    remove,
    remove_probes_of_this_process,
)


def test_a_node_that_shares_the_storage_finds_everything_in_order(tmp_path: Path) -> None:
    with probe_in(tmp_path) as probe:
        found, second = examine_storage(probe, "n1"), examine_storage(probe, "n2")
        assert probe.sees("n1")
        assert not probe.sees("n3")
    assert (found.error, found.shared, found.claims, found.renames, found.links) == (
        "",
        True,
        True,
        True,
        True,
    )
    assert found.locks is Locks.CROSS
    assert (found.won, second.won) == (True, False)
    assert found.write_ms is not None
    assert found.read_ms is not None
    assert found.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
    assert found.kind
    assert list(tmp_path.iterdir()) == []


def test_a_storage_folder_that_is_made_for_the_check_is_removed_with_it(tmp_path: Path) -> None:
    with probe_in(tmp_path / "a" / "b") as probe:
        assert examine_storage(probe, "n1").shared
    assert list(tmp_path.iterdir()) == []
    with probe_in(tmp_path / "a" / "b"):
        (tmp_path / "a" / "kept").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "kept"]


class ChildError(Exception):
    pass


@pytest.mark.parametrize("error", [ChildError, KeyboardInterrupt])
def test_the_probe_is_removed_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    def check() -> None:
        with probe_in(tmp_path) as probe:
            examine_storage(probe, "n1")
            raise error

    with pytest.raises(error):
        check()
    assert list(tmp_path.iterdir()) == []


def test_probes_can_be_removed_before_the_process_is_ended(tmp_path: Path) -> None:
    with probe_in(tmp_path):
        remove_probes_of_this_process()
        assert list(tmp_path.iterdir()) == []


def test_a_folder_into_which_a_node_still_writes_is_removed_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, removed, tries = tmp_path / "probe", shutil.rmtree, 0

    def removed_too_early(path: Path, **options: bool) -> None:
        nonlocal tries
        tries += 1
        removed(path, **options)
        if tries < 3:
            path.mkdir()

    monkeypatch.setattr(shutil, "rmtree", removed_too_early)
    remove(folder, pause=lambda _: None)
    assert not folder.exists()
    assert tries == 3


def test_another_folder_at_the_same_path_is_not_the_shared_one(tmp_path: Path) -> None:
    with probe_in(tmp_path) as probe:
        (tmp_path / "elsewhere").mkdir()
        apart = replace(
            probe, storage=tmp_path / "elsewhere", folder=tmp_path / "elsewhere" / probe.folder.name
        )
        assert examine_storage(apart, "n1").shared is False
        assert list((tmp_path / "elsewhere").iterdir()) == []
        assert examine_storage(replace(probe, secret="another"), "n1").shared is False
        absent = replace(probe, storage=tmp_path / "absent")
        assert examine_storage(absent, "n1").error == "there is no such folder"


def test_a_full_disk_is_told_with_its_reason(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_kb=64) as disk:
        with probe_in(disk.path) as probe:
            disk.fill()
            assert examine_storage(probe, "n1").error == os.strerror(errno.ENOSPC)
            disk.free_space()
        assert list(disk.path.iterdir()) == []


def test_the_driver_cannot_begin_on_a_read_only_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_kb=64) as disk:
        disk.read_only()
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)), probe_in(disk.path):
            pass
        assert list(disk.path.iterdir()) == []


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def test_locks_that_do_not_cross_or_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with probe_in(tmp_path) as probe:
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", lambda descriptor, how: None)  # as with NFS's local_lock
            assert examine_storage(probe, "n1").locks is Locks.DO_NOT_CROSS
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", failing(errno.ENOLCK))
            assert examine_storage(probe, "n2").locks is Locks.UNSUPPORTED


def test_a_storage_without_locks_can_be_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.EOPNOTSUPP))
    with probe_in(tmp_path) as probe:
        found = examine_storage(probe, "n1")
    assert (found.error, found.locks) == ("", Locks.UNSUPPORTED)
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_mounts_the_storage_read_only_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with probe_in(tmp_path) as probe, monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", failing(errno.EROFS))
        found = examine_storage(probe, "n1")
    assert (found.shared, found.error, found.write_ms) == (True, os.strerror(errno.EROFS), None)


def test_renames_and_links_that_fail_are_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with probe_in(tmp_path) as probe:
        monkeypatch.setattr(os, "replace", failing(errno.EACCES))
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
        found = examine_storage(probe, "n1")
    assert (found.renames, found.links, found.locks) == (False, False, Locks.CROSS)


def test_a_storage_that_creates_a_file_twice_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open
    with probe_in(tmp_path) as probe, monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda path, flags, *mode: opened(path, flags & ~os.O_EXCL, *mode))
        first, second = examine_storage(probe, "n1"), examine_storage(probe, "n2")
    assert (first.claims, second.claims) == (False, False)
    assert (first.won, second.won) == (True, True)


def test_content_that_changes_on_the_way_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with probe_in(tmp_path) as probe:
        monkeypatch.setattr(Path, "read_bytes", lambda path: b"something else")
        assert "not what was written" in examine_storage(probe, "n1").error


def test_the_file_system_is_that_of_the_innermost_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    folder = tmp_path / "a folder" / "inside"
    folder.mkdir(parents=True)
    at = str(folder.parent.resolve()).replace(" ", "\\040")
    mounts.write_text(
        f"/dev/sda / ext4 rw 0 0\nbroken\nserver:/x {at} nfs4 rw 0 0\n/dev/sdb {at}-2 xfs rw 0 0\n"
    )
    assert file_system_of(folder, mounts=mounts) == "nfs4"
    assert file_system_of(tmp_path, mounts=mounts) == "ext4"
    assert file_system_of(folder, mounts=tmp_path / "absent") == ""
