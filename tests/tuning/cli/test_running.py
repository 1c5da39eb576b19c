"""Commands that run something, and how they end: launch, train, and the files that they take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded import LORA, Told, write
from typer.testing import Result

from tuning.ledger.records import Ending, Outcome

# --- files ------------------------------------------------------------------------------------


def test_validate_schema_and_spaces(run: Callable[..., Result]) -> None:
    assert "sound. segmentation" in run("validate", "quickstart").stdout
    assert json.loads(run("schema").stdout)["properties"]["task"]
    for name in ("quickstart", "coco_folder", "mask_folder"):
        assert name in run("spaces").stdout


def test_a_wrong_file_is_a_message(run: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("name: x\ntask: segmentation\nobjective: {metric: dice}\nspcae: {}\n")
    for command in ("validate", "launch", "train"):
        assert "spcae" in run(command, str(file), code=2).stderr
    for command in ("validate", "launch", "train"):
        run(command, str(tmp_path / "absent.yaml"), code=2)


def test_train_wants_one_configuration(run: Callable[..., Result]) -> None:
    assert "train runs one" in run("train", "quickstart", code=2).stderr
    assert "FILE" in run("train", code=2).stderr
    assert "has no trial 99" in run("train", "--from", "digits:99", code=2).stderr
    assert "say which trial" in run("train", "--from", "digits", code=2).stderr


def test_launch_refuses_a_name_that_is_taken_and_a_wrong_parameter(run: Callable[..., Result]) -> None:
    assert "already exists" in run("launch", "quickstart", "--name", "digits", code=2).stderr
    assert "already exists" in run("launch", "quickstart", "--name", "digits", "--detach", code=2).stderr
    assert "no such parameter" in run("launch", "quickstart", "--then-ablate", "x", code=2).stderr


@pytest.fixture
def training(storage: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small enough for two cores that others use too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(storage / "cache"))
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("training")
def test_train_leaves_weights_reports_and_its_file(run: Callable[..., Result], storage: Path) -> None:
    file = storage / "one.yaml"
    file.write_text(
        "name: one\ntask: segmentation\nobjective: {metric: dice}\n"
        "data: {embedded: {train: 16, validation: 4, test: 1}}\ntrial: {adapter: lora, epochs: 1}\n"
    )
    into = storage / "into"
    out = run("train", str(file), "--into", str(into)).stdout
    assert "epoch 1/1  dice" in out
    assert "done: dice" in out
    kept = {"best.ckpt", "last.ckpt", "experiment.yaml", "reports.jsonl", "environment.json", "splits.json"}
    assert {p.name for p in into.iterdir()} == kept
    environment = json.loads((into / "environment.json").read_text())
    assert {"versions", "python", "devices", "processor"} <= environment.keys()
    (report,) = (into / "reports.jsonl").read_text().splitlines()
    assert json.loads(report)["epoch"] == 1.0
    assert "one configuration" in run("validate", str(into / "experiment.yaml")).stdout
    assert "already holds something" in run("train", str(file), "--into", str(into), code=2).stderr


@pytest.mark.usefixtures("training")
def test_a_dry_run_measures_each_kind_of_adapter(run: Callable[..., Result], storage: Path) -> None:
    small = ("--set", "data.embedded={train: 16, validation: 4, test: 1}", "--set", "trial.batch_size=4")
    space = ("--set", "space={adapter: {choice: [none, lora]}, learning_rate: {float: [1e-3, 1e-2]}}")
    out = run("launch", "quickstart", "--dry-run", "--trials", "4", *small, *space).stdout
    assert "head_only" in out
    assert "trials  4, " in out
    assert "a trial, about" in out
    assert not (storage / "quickstart").exists()


# --- how a launch ends ------------------------------------------------------------------------


def launched(monkeypatch: pytest.MonkeyPatch, folder: Path, outcome: Ending) -> None:
    from tuning.cli.commands import launch as commands_launch
    from tuning.ledger.ledger import read_history
    from tuning.run.launch import LaunchResult

    def fake(*_: Any, **__: Any) -> LaunchResult:
        return LaunchResult(folder, outcome, read_history(folder))

    monkeypatch.setattr(commands_launch, "run", fake)


def test_a_launch_ends_with_table_best_and_picture(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch, storage / "digits", Ending.FINISHED)
    out = run("launch", "quickstart", "--name", "new", "--then-ablate", "freezing").stdout
    assert "by adapter and freezing" in out
    assert "pretrained baseline" in out
    assert "observational" in out
    assert "best configuration: trial 0, dice 0.7500 at epoch 5 of 6" in out
    assert "better than the pretrained baseline: dice 0.0100 before, 0.7500 after" in out
    assert (storage / "digits" / "learning_curves.png").stat().st_size > 10_000


def test_a_launch_with_domains_ends_with_their_table(
    run: Callable[..., Result], shifted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch, shifted, Ending.FINISHED)
    out = run("launch", "quickstart", "--name", "new").stdout
    assert "in domain and shifted" in out
    assert "the same weights on test images: dice 0.7000" in out
    assert "trial 2 could not be scored" in out
    assert f"adaptertune domains {shifted.name}" in out


def test_an_interrupted_launch_says_what_is_kept(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch, storage / "digits", Ending.INTERRUPTED)
    assert "Kept in" in run("launch", "quickstart", "--name", "new", code=130).stderr


def test_a_launch_interrupted_before_its_first_trial_keeps_nothing(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch, write(storage / "none", ()), Ending.INTERRUPTED)
    said = run("launch", "quickstart", "--name", "new", code=130).stderr
    assert "before the first trial; nothing is kept, and the name none is free" in said


def test_a_launch_in_the_background_is_shown_with_commands_that_find_it(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuning.run import detach

    def ready(arguments: list[str], folder: Path) -> detach.Detached:
        return detach.Detached(7, folder / "driver.log", prepared=True)

    def broken(arguments: list[str], folder: Path) -> detach.Detached:
        raise detach.NotStartedError("img_3.png cannot be read", 2)

    monkeypatch.setattr(detach, "detach", ready)
    there = run("launch", "quickstart", "--name", "new", "--detach").stdout
    assert "new runs in the background as process 7" in there
    assert "adaptertune stop new\n" in there
    other = storage / "other"
    there = run("launch", "quickstart", "--name", "new", "--detach", "--storage", str(other)).stdout
    assert f"adaptertune status {other / 'new'} --watch" in there
    monkeypatch.setattr(detach, "detach", broken)
    assert "img_3.png" in run("launch", "quickstart", "--name", "new", "--detach", code=2).stderr


def test_a_launch_without_any_value_fails(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = write(storage / "lost", (Told(LORA, (), Outcome.FAILED, "no such layer"),))
    launched(monkeypatch, lost, Ending.FINISHED)
    result = run("launch", "quickstart", "--name", "new", code=1)
    assert "no trial has a value" in result.stderr
    assert "trial 0 failed: no such layer" in result.stdout
