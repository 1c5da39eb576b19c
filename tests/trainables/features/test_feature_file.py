"""A file of features gives the states that were written, or none: after crashes, torn writes, full disks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from small_disk import small_disk

from trainables.data.prepared import Array
from trainables.features.feature_file import HEADER, MARK, FeatureFile, FileShape

ROWS, BYTES = 40, 3000
SHAPE = FileShape({"images": "a", "block": 2}, ROWS, BYTES)
KILLED_AFTER = 25


def states(rows: list[int]) -> Array:
    return np.stack([np.random.default_rng(row).integers(0, 256, BYTES, np.uint8) for row in rows])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    FeatureFile.create(tmp_path / "one.features", SHAPE)
    return tmp_path / "one.features"


def test_rows_come_back_in_the_order_asked_for(path: Path) -> None:
    file = FeatureFile(path, SHAPE)
    assert file.read([3]) is None
    file.write([3, 17, 0], states([3, 17, 0]))
    for one in (file, FeatureFile(path, SHAPE)):
        found = one.read([17, 3, 17])
        assert found is not None
        assert (found == states([17, 3, 17])).all()
        assert one.read([3, 4]) is None, "all or nothing"
        assert one.filled() == 3


def test_what_was_read_is_a_copy(path: Path) -> None:
    file = FeatureFile(path, SHAPE)
    file.write([1], states([1]))
    found = file.read([1])
    assert found is not None
    found[:] = 0
    again = file.read([1])
    assert again is not None
    assert (again == states([1])).all()


def test_an_empty_file_takes_no_space_for_its_rows(path: Path) -> None:
    assert path.stat().st_size == SHAPE.size
    wide = FileShape({}, 1000, 10**6)
    FeatureFile.create(path.with_name("wide"), wide)
    assert path.with_name("wide").stat().st_blocks * 512 < 10**6
    assert wide.needed(3) == wide.data_at + 3 * 10**6


@pytest.mark.parametrize("at", [0, BYTES - 1])
def test_a_damaged_row_is_absent_and_written_again(path: Path, at: int) -> None:
    FeatureFile(path, SHAPE).write([5, 6], states([5, 6]))
    _flip(path, SHAPE.data_at + 5 * BYTES + at)
    file = FeatureFile(path, SHAPE)
    assert file.read([6]) is not None
    assert file.read([5]) is None
    assert file.read([6, 5]) is None
    file.write([5, 6], states([5, 6]))
    found = FeatureFile(path, SHAPE).read([5, 6])
    assert found is not None
    assert (found == states([5, 6])).all()


def test_a_damaged_mark_is_an_absent_row(path: Path) -> None:
    FeatureFile(path, SHAPE).write([5], states([5]))
    _flip(path, HEADER + 5 * MARK)
    assert FeatureFile(path, SHAPE).read([5]) is None


def test_a_row_without_its_mark_is_absent(path: Path) -> None:
    """A process that dies between a row and its mark."""
    FeatureFile(path, SHAPE).write([5], states([5]))
    with path.open("r+b") as file:
        file.seek(HEADER + 5 * MARK)
        file.write(bytes(MARK))
    assert FeatureFile(path, SHAPE).read([5]) is None


def test_other_features_and_other_files_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="holds other features"):
        FeatureFile(path, FileShape({"images": "b", "block": 2}, ROWS, BYTES))
    os.truncate(path, SHAPE.size - 1)
    with pytest.raises(ValueError, match="not a complete file"):
        FeatureFile(path, SHAPE)
    path.write_bytes(bytes(SHAPE.size))
    with pytest.raises(ValueError, match="not a complete file"):
        FeatureFile(path, SHAPE)
    with pytest.raises(FileNotFoundError):
        FeatureFile(path.with_name("none"), SHAPE)
    with pytest.raises(ValueError, match="too long"):
        FeatureFile.create(path, FileShape({"long": "x" * HEADER}, 1, 1))
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name], "nothing is left behind"


def test_a_reservation_only_grows(path: Path) -> None:
    file = FeatureFile(path, SHAPE)
    assert file.reserved == 0
    file.reserve(500)
    file.reserve(200)
    assert FeatureFile(path, SHAPE).reserved == 500


def test_a_killed_writer_leaves_only_whole_rows(path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write_slowly, args=(path,))
    process.start()
    file, deadline = FeatureFile(path, SHAPE), time.monotonic() + 60
    while file.filled() < KILLED_AFTER and time.monotonic() < deadline:
        time.sleep(0.001)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    filled = FeatureFile(path, SHAPE).filled()
    assert KILLED_AFTER <= filled < ROWS
    for row in range(ROWS):
        found = FeatureFile(path, SHAPE).read([row])
        assert found is None if row >= filled else (found is not None and (found == states([row])).all())


def test_two_processes_fill_one_file(path: Path) -> None:
    processes = [
        multiprocessing.get_context("spawn").Process(target=_write_all, args=(path, step)) for step in (1, -1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    found = FeatureFile(path, SHAPE).read(list(range(ROWS)))
    assert found is not None
    assert (found == states(list(range(ROWS)))).all()


def test_a_full_disk_keeps_what_fits_and_no_half_row(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_kb=400) as disk:
        shape = FileShape({"disk": "small"}, 20, 50_000)
        FeatureFile.create(disk.path / "f", shape)
        file = FeatureFile(disk.path / "f", shape)
        rows = [np.random.default_rng(row).integers(0, 256, 50_000, np.uint8) for row in range(20)]
        for row, state in enumerate(rows):
            file.write([row], state[None])
        assert file.full is not None
        assert file.full.strerror == "No space left on device"
        disk_again = FeatureFile(disk.path / "f", shape)
        held = [row for row in range(20) if disk_again.read([row]) is not None]
        assert held == list(range(file.filled()))
        assert 3 <= len(held) < 20
        for row in held:
            found = disk_again.read([row])
            assert found is not None
            assert (found[0] == rows[row]).all()


def _write_slowly(path: Path) -> None:
    file = FeatureFile(path, SHAPE)
    for row in range(ROWS):
        file.write([row], states([row]))
        time.sleep(0.02)


def _write_all(path: Path, step: int) -> None:
    file = FeatureFile(path, SHAPE)
    for row in list(range(ROWS))[::step]:
        file.write([row], states([row]))
        found = file.read([row])
        assert found is not None
        assert (found == states([row])).all()


def _flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        value = file.read(1)[0]
        file.seek(at)
        file.write(bytes([value ^ 1]))
