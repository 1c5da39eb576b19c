from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from recorded import LORA, Told, write

from analysis.live.follower import Follower
from trainables.errors import LedgerError
from tuning.ledger.ledger import LEDGER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "digits", (Told(LORA, (0.4, 0.5)),))


def grown(folder: Path) -> list[bytes]:
    """Take the record away, and return its lines."""
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    (folder / LEDGER).write_bytes(b"")
    return lines


def append(folder: Path, data: bytes) -> None:
    with (folder / LEDGER).open("ab") as file:
        file.write(data)


def test_each_whole_line_comes_once_and_a_torn_one_when_it_is_whole(folder: Path) -> None:
    lines = grown(folder)
    follower, kinds = Follower(folder), []
    assert not follower.take().anew  # no line is whole yet
    for number, line in enumerate(lines):
        append(folder, line[:7])
        assert follower.take().records == ()
        append(folder, line[7:])
        new = follower.take()
        assert new.anew is (number == 0)
        kinds += [record.kind for record in new.records]
    assert kinds[:2] == ["experiment", "prepared"]
    assert len(kinds) == len(lines)


def test_a_record_that_was_replaced_is_read_from_its_start(folder: Path) -> None:
    follower = Follower(folder)
    whole = follower.take().records
    other = write(folder.with_name("other"), (Told(LORA, (0.4, 0.5, 0.6)),))
    os.replace(other / LEDGER, folder / LEDGER)
    new = follower.take()
    assert new.anew
    assert len(new.records) == len(whole) + 1


def test_a_folder_that_vanishes_is_an_error_until_it_is_back(folder: Path) -> None:
    follower = Follower(folder)
    follower.take()
    away = folder.rename(folder.with_name("away"))
    with pytest.raises(
        LedgerError, match="is gone: its folder was removed, renamed, or is no longer mounted"
    ):
        follower.take()
    shutil.move(away, folder)
    assert follower.take().records == ()


def test_a_damaged_line_is_named_and_those_before_it_count(folder: Path) -> None:
    lines = grown(folder)
    follower = Follower(folder)
    append(folder, lines[0] + b'{"kind": "nonsense"}\n' + lines[1])
    assert len(follower.take().records) == 1
    for _ in range(2):
        with pytest.raises(LedgerError, match="line 2"):
            follower.take()
