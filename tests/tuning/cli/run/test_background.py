from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import Result

from tuning.run.background import detach


def test_a_launch_in_the_background_is_shown_with_commands_that_find_it(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ready(arguments: list[str], folder: Path) -> detach.Detached:
        return detach.Detached(7, folder / "driver.log", prepared=True)

    def broken(arguments: list[str], folder: Path) -> detach.Detached:
        raise detach.NotStartedError("img_3.png cannot be read", 2)

    monkeypatch.setattr("tuning.cli.run.background.detach", ready)
    there = run("launch", "quickstart", "--name", "new", "--detach").stdout
    assert "new runs in the background as process 7" in there
    assert "adaptertune stop new\n" in there
    other = storage / "other"
    there = run("launch", "quickstart", "--name", "new", "--detach", "--storage", str(other)).stdout
    assert f"adaptertune status {other / 'new'} --watch" in there
    monkeypatch.setattr("tuning.cli.run.background.detach", broken)
    assert "img_3.png" in run("launch", "quickstart", "--name", "new", "--detach", code=2).stderr


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str], Path]]:
    found: list[tuple[list[str], list[str], Path]] = []

    def supervise(
        start: Sequence[str], again: Sequence[str], folder: Path, *, tell: Callable[[str], None]
    ) -> int:
        found.append((list(start), list(again), folder))
        return 75

    monkeypatch.setattr("tuning.cli.run.background.supervise", supervise)
    return found


OPTIONS = ("--name", "new", "--trials", "3", "--set", "trial.epochs=2", "--then-ablate", "adapter")


def test_the_driver_is_launched_with_all_options_and_resumed_with_those_that_last(
    run: Callable[..., Result],
    storage: Path,
    file: Path,
    supervised: list[tuple[list[str], list[str], Path]],
) -> None:
    run("launch", str(file), "--supervise", *OPTIONS, code=75)
    ((start, again, folder),) = supervised
    lasting = "--then-ablate=adapter"
    assert start == detach.command_line([
        "launch", str(file), lasting, "--set=trial.epochs=2", "--trials=3", "--name=new",
        f"--storage={storage}",
    ])  # fmt: skip
    assert again == detach.command_line(["resume", str(storage / "new"), lasting])
    assert folder == storage / "new"


def test_a_name_that_is_taken_is_never_resumed_in_its_place(
    run: Callable[..., Result],
    storage: Path,
    file: Path,
    supervised: list[tuple[list[str], list[str], Path]],
) -> None:
    assert "already exists" in run("launch", str(file), "--supervise", "--name", "digits", code=2).stderr
    assert not supervised


def test_detached_it_is_the_supervisor_that_goes_to_the_background(
    run: Callable[..., Result],
    storage: Path,
    file: Path,
    supervised: list[tuple[list[str], list[str], Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[list[str]] = []

    def leave(arguments: list[str], folder: Path) -> detach.Detached:
        left.append(arguments)
        return detach.Detached(7, folder / "driver.log", prepared=True)

    monkeypatch.setattr("tuning.cli.run.background.detach", leave)
    run("launch", str(file), "--supervise", "--detach", "--name", "new")
    assert not supervised
    assert left == [["launch", str(file), "--name=new", f"--storage={storage}", "--supervise"]]
