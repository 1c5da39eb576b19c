"""With `durability: disk` nothing acts, and no file gets its name, before the disk has what was written."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from trainables.errors import StorageError
from trainables.training.checkpoint import write_packed

Calls = list[tuple[str, str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Each `fsync` with the path of its file, and each renaming with the new one, in order."""
    found: Calls = []
    sync, rename = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        sync(descriptor)
        found.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))

    def renamed(source: Any, target: Any) -> None:
        rename(source, target)
        found.append(("rename", str(target)))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    return found


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name_and_its_name_is_before_training_goes_on(
    tmp_path: Path, calls: Calls
) -> None:
    path = tmp_path / "last.ckpt"
    write_packed(b"weights", path)
    assert calls == [("rename", str(path))]
    calls.clear()
    write_packed(b"weights", path, durable=True)
    (first, part), renamed, last = calls
    assert first == "fsync"
    assert Path(part).name.startswith(".last.ckpt.")
    assert renamed == ("rename", str(path))
    assert last == ("fsync", str(tmp_path))


def test_a_disk_that_cannot_take_it_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    write_packed(b"before", path)
    before = path.read_bytes()

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StorageError, match="Input/output error; the previous one is kept"):
        write_packed(b"weights", path, durable=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
