from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from cluster.health.machine import look_at_machine, read_memory
from cluster.usable_cpus import count_usable_cpus

MEMINFO = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    8000 kB\nHugePages_Total: 0\n"


def test_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    machine = look_at_machine()
    assert machine.cpus == count_usable_cpus()
    assert machine.memory is not None
    assert machine.memory_free is not None
    assert 0 < machine.memory_free <= machine.memory
    assert machine.temporary == str(tmp_path)
    assert machine.temporary_error == ""
    assert list(tmp_path.iterdir()) == []


def test_memory_is_that_of_the_machine_or_of_its_container(tmp_path: Path) -> None:
    proc = tmp_path / "meminfo"
    assert read_memory(proc=proc, cgroup=tmp_path) == (None, None)
    proc.write_text(MEMINFO)
    assert read_memory(proc=proc, cgroup=tmp_path) == (16000 * 1024, 8000 * 1024)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1024\n")
    assert read_memory(proc=proc, cgroup=tmp_path) == (16000 * 1024, 8000 * 1024)
    (tmp_path / "memory.max").write_text(f"{4000 * 1024}\n")
    assert read_memory(proc=proc, cgroup=tmp_path) == (4000 * 1024, 3999 * 1024)


def test_a_temporary_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    machine = look_at_machine()
    assert machine.temporary == str(tmp_path / "absent")
    assert "No such file" in machine.temporary_error
    assert machine.temporary_free is None
