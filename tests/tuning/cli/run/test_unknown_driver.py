"""What `status`, `list` and `stop` say to somebody who can only read an experiment's folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from elsewhere import newest_beat, on_another_machine, read_only, silence
from recorded import LORA, Told, write
from typer.testing import Result

from tuning.exit_codes import USER_ERROR
from tuning.ledger.ledger import Ledger


@pytest.fixture
def beating(storage: Path) -> Path:
    """A sweep whose driver runs on another machine."""
    folder = write(storage / "far", (Told(LORA, (0.4,), None),), closed=None)
    with on_another_machine():
        ledger = Ledger.open(folder)
    beat = newest_beat(folder).read_text()
    ledger.close()
    newest_beat(folder).write_text(beat)
    return folder


@pytest.fixture
def silent(beating: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its heartbeat has not changed for long."""
    monkeypatch.setattr("tuning.ledger.driver_state.LOOK_S", 0.0)
    silence(beating)
    return beating


def line(out: str, name: str) -> str:
    return next(line for line in out.splitlines() if line.startswith(name))


def test_a_driver_that_beats_is_running_for_everybody(run: Callable[..., Result], beating: Path) -> None:
    with read_only():
        assert "running" in line(run("list").stdout, "far")
        assert "running" in run("status", "far").stdout
        assert "died" not in run("status", "far").stdout
    assert "asked far to stop" in run("stop", "far").stdout
    assert (beating / "control" / "stop").exists()


def test_a_silent_driver_is_unknown_to_who_can_only_read_and_died_for_who_can_write(
    run: Callable[..., Result], silent: Path
) -> None:
    with read_only():
        assert "unknown" in line(run("list").stdout, "far")
        said = run("status", "far").stdout
        assert "cannot be seen from here" in said
        assert "died" not in said
    assert "died" in line(run("list").stdout, "far")
    assert "the driver died" in run("status", "far").stdout
    assert "is not running" in run("stop", "far", code=USER_ERROR).stderr


@pytest.mark.parametrize("quiet", [False, True])
def test_who_cannot_write_cannot_stop_and_is_told_what_is_known(
    run: Callable[..., Result], beating: Path, monkeypatch: pytest.MonkeyPatch, *, quiet: bool
) -> None:
    monkeypatch.setattr("tuning.ledger.driver_state.LOOK_S", 0.0)
    if quiet:
        silence(beating)
    (beating / "control").write_text("no folder can be made here")
    with read_only():
        said = run("stop", "far", code=USER_ERROR).stderr
    assert "the request cannot be written" in said
    assert ("may be running" in said) is quiet
    assert "died" not in said


def test_a_record_of_before_is_unknown_to_who_can_only_read(run: Callable[..., Result], silent: Path) -> None:
    shutil.rmtree(silent / "attempts")
    with read_only():
        assert "unknown" in line(run("list").stdout, "far")
    assert "died" in line(run("list").stdout, "far")
