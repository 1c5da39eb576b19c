from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from recorded import LORA, Told, experiment, write
from typer.testing import Result

from trainables.run_folder import LOG
from tuning.ledger.outcomes import Ending, Outcome


def test_best_reports_by_which_rule_and_how_far_each_trial_came(run: Callable[..., Result]) -> None:
    out = run("best", "digits", "-k", "2").stdout
    assert "best 2 of 3 trials" in out
    assert "0.7500" in out
    assert "6 of 6" in out
    assert "0.4000" not in out
    assert "on validation images, highest first, each trial's best report" in out


def test_best_filters_and_takes_a_path(run: Callable[..., Result], storage: Path) -> None:
    out = run(
        "best", str(storage / "digits"), "--where", "adapter = 'serial_lora'", "--format", "json"
    ).stdout
    assert [trial["trial"] for trial in json.loads(out)["trials"]] == [4]
    assert "A condition is SQL" in run("best", "digits", "--where", "nonsense =", code=2).stderr


def test_best_by_another_metric_and_budget(run: Callable[..., Result]) -> None:
    said = json.loads(run("best", "digits", "--metric", "loss", "--at", "1", "--format", "json").stdout)
    assert (said["metric"], said["mode"], said["at_epoch"]) == ("loss", "min", 1.0)
    assert said["trials"][0]["trial"] == 4
    assert "recorded are dice" in run("best", "digits", "--metric", "map", code=2).stderr


def test_best_as_yaml_is_a_file_for_train(run: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(run("best", "digits", "--format", "yaml").stdout)
    assert "trial 0: dice 0.7500" in file.read_text()
    assert "one configuration" in run("validate", str(file)).stdout
    from tuning.cli.run.train import sole_config
    from tuning.experiment.load import load_experiment

    config = sole_config(load_experiment(str(file)))
    assert config.section.rank == 8
    assert config.learning_rate == 0.005
    assert config.epochs == 6


def test_the_message_for_an_unknown_name_lists_the_known_ones(run: Callable[..., Result]) -> None:
    assert "available: digits" in run("best", "digitz", code=2).stderr


Run = Callable[..., Result]


def test_best_of_several_experiments(run: Run, storage: Path) -> None:
    write(storage / "digits-2", (Told(LORA, (0.8,)),))
    out = run("best", "digits*", "-k", "1").stdout
    assert "digits, digits-2: best 1 of 4 trials" in out
    assert "0.8000" in out
    assert "# digits-2, trial 0" in run("best", "digits*", "--format", "yaml").stdout
    write(storage / "digits-3", of=experiment("digits-3", rule="last"))
    assert "cannot be ranked together" in run("best", "digits*", code=2).stderr
    assert "available: digits, digits-2, digits-3" in run("best", "cells*", code=2).stderr


def test_trials_that_were_stopped_compete_only_where_asked(run: Run, storage: Path) -> None:
    write(storage / "young", (Told(LORA, (0.4,), Outcome.PRUNED), Told(LORA, (0.5,), None)), closed=None)
    said = run("best", "young", code=2).stderr
    assert "no trial has run to its own end (1 pruned, 1 unfinished)" in said
    assert "--early-stopped" in said
    out = run("best", "young", "--early-stopped").stdout
    assert "trials that were stopped early compete" in out
    assert "0.5000" in out


def test_the_best_by_name_is_of_those_that_were_stopped_only_where_none_finished(
    run: Run, storage: Path
) -> None:
    stopped = (Told(LORA, (0.4,), Outcome.PRUNED), Told(LORA, (0.9,), Outcome.PRUNED))
    write(storage / "stopped", stopped, closed=Ending.INTERRUPTED)
    for name, number in (("stopped", 1), ("digits", 0)):
        place = storage / name / "trials" / f"{number:04d}"
        place.mkdir(parents=True)
        (place / LOG).write_text(f"{name} {number}\n")
        assert run("logs", f"{name}:best").stdout == f"{name} {number}\n"


def test_best_of_a_scored_sweep_shows_test_metrics(run: Callable[..., Result], shifted: Path) -> None:
    assert "test dice" in run("best", "shifted").stdout


def test_an_epoch_that_no_trial_has_reached_is_said_with_the_furthest(run: Callable[..., Result]) -> None:
    said = run("best", "digits", "--at", "9", code=2).stderr
    assert "no trial has reached epoch 9" in said
    assert "the furthest has run 6 epochs: rank them at epoch 6 or an earlier one" in said


def test_trials_of_a_dead_driver_do_not_run(run: Callable[..., Result], storage: Path) -> None:
    write(storage / "dead", (Told(LORA, (0.2, 0.3), None), Told(LORA, (0.1,), None)), closed=None)
    said = run("best", "dead", code=2).stderr
    assert "(2 unfinished)" in said
    assert "continue with `adaptertune resume`" in said
    out = run("best", "dead", "--early-stopped").stdout
    assert "unfinished" in out
    assert "running" not in out
    rows = json.loads(run("best", "dead", "--early-stopped", "--format", "json").stdout)
    assert {row["outcome"] for row in rows["trials"]} == {"unfinished"}
