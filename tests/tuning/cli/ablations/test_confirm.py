"""`confirm` on the command line; sweeps are scripted, or recorded and never ran."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from recorded import LORA, TRIALS, Told, experiment, write
from typer.testing import Result

from tuning.cli.find_adapter import confirmed_answer
from tuning.ledger.ledger import LEDGER, read_history
from tuning.ledger.outcomes import Outcome

Run = Callable[..., Result]


def test_a_dry_run_shows_the_plan_and_starts_nothing(run: Run, storage: Path) -> None:
    out = run("confirm", "digits", "--trials", "2", "--seeds", "3", "--dry-run").stdout
    assert "digits-confirm: the plan" in out
    assert "trial 0" in out
    assert "trial 4" in out
    assert "seeds 1, 2, 3" in out
    assert "trials  6" in out
    assert "of training in all, one after the other" in out
    assert [path.name for path in storage.iterdir() if path.is_dir()] == ["digits"]


def test_the_best_trials_are_repeated_and_best_says_what_was_found(
    run: Run, storage: Path, scripted: list[str]
) -> None:
    out = run("confirm", "digits", "--trials", "2", "--seeds", "3").stdout
    assert scripted == ["digits-confirm"]
    assert "digits-confirm: the best trials, repeated" in out
    assert "trial 0 (take this one)" in out
    history = read_history(storage / "digits-confirm")
    assert [trial.outcome for trial in history.trials.values()] == [Outcome.COMPLETED] * 6
    assert {trial.params["seed"] for trial in history.trials.values()} == {1, 2, 3}

    run("confirm", "digits", "--trials", "2", "--seeds", "3")
    assert scripted == ["digits-confirm"], "it is finished"
    assert "confirmed  trial 0" in run("best", "digits").stdout
    assert confirmed_answer("digits:0", storage).startswith("trial 0")
    assert confirmed_answer("digits-confirm:0", storage) == ""
    found = json.loads(run("ablation", "digits-confirm", "--format", "json").stdout)
    assert found["confirmed"]["trial"] == 0
    assert "trial 0" in run("ablation", "digits-confirm", "--format", "markdown").stdout


@pytest.mark.slow
def test_one_that_was_interrupted_goes_on_though_the_search_has_grown(
    run: Run, storage: Path, scripted: list[str]
) -> None:
    run("confirm", "digits", "--trials", "2", "--seeds", "2")
    folder = storage / "digits-confirm"
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    (folder / LEDGER).write_bytes(b"".join(lines[:12]))
    better = Told(LORA | {"learning_rate": 0.004, "lora.rank": 16}, (0.3, 0.5, 0.6, 0.7, 0.8, 0.9))
    for path in sorted((storage / "digits").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (storage / "digits").rmdir()
    write(storage / "digits", (*TRIALS, better), of=experiment())
    run("confirm", "digits", "--trials", "2", "--seeds", "2")
    assert scripted == ["digits-confirm", "again digits-confirm"]
    assert len(read_history(folder).trials) == 4


def test_mistakes_are_said_before_anything_trains(run: Run, storage: Path, scripted: list[str]) -> None:
    run("confirm", "digits", "--trials", "2", "--seeds", "2")
    for arguments, said in (
        (("digits", "--seeds", "4"), "digits-confirm has begun with 2 seeds, and --seeds asks for 4"),
        (("digits", "--seeds", "2", "--folds", "2"), "confirm takes seeds or folds, not both"),
        (("digits", "--folds", "2"), "have validation images of their own"),
        (("digits-confirm",), "digits-confirm is a designed experiment, whose runs are repeated already"),
        (("nothing",), "nothing"),
    ):
        assert said in run("confirm", *arguments, "--trials", "2", code=2).stderr
    assert scripted == ["digits-confirm"]


@pytest.mark.slow
def test_a_launch_goes_on_with_what_its_file_asks_for(
    run: Run, storage: Path, scripted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tuning.cli.ablations.run_plan as plans

    monkeypatch.setattr("tuning.cli.run.run_with_progress.run_sweep", plans.run_sweep)
    monkeypatch.setattr("tuning.cli.run.run_with_progress.resume_sweep", plans.resume_sweep)
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\ntask: segmentation\nobjective: {metric: dice}\ntrial: {epochs: 2}\n"
        "space:\n  adapter: {choice: [lora]}\n  lora.rank: {choice: [4, 8]}\n"
        "search: {grid: {}}\nconfirm: {trials: 2, seeds: 2}\n"
    )
    out = run("launch", str(file)).stdout
    assert scripted == ["mine", "mine-confirm"]
    assert "mine-confirm: the best trials, repeated" in out
    assert "the best trials, repeated" in run("resume", "mine").stdout, "it is finished"
    write(storage / "third-confirm", of=experiment("third-confirm"))
    said = run("launch", str(file), "--name", "third", code=2).stderr
    assert "confirm: an experiment third-confirm already exists" in said
    assert "third" not in scripted
