from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from recorded import LORA, TRIALS, Told, experiment, write
from ruamel.yaml import YAML
from typer.testing import Result

from trainables.run_folder import LOG
from tuning.ledger.records import Ending, Outcome

Run = Callable[..., Result]
GROUPED = "SELECT adapter, count(*) AS n, max(value) AS best FROM trials GROUP BY adapter ORDER BY best DESC"


def test_query_answers_as_a_table(run: Run) -> None:
    out = run("query", "digits", GROUPED).stdout
    assert "serial_lora" in out
    assert "0.75" in out
    assert "3 rows" in out
    assert "lora.rank" in run("query", "digits").stdout  # without a question: the columns


def test_query_answers_in_each_format(run: Run, tmp_path: Path) -> None:
    expected = [
        {"adapter": "lora", "n": 3, "best": 0.75},
        {"adapter": "serial_lora", "n": 3, "best": 0.74},
        {"adapter": "none", "n": 1, "best": 0.32},
    ]
    assert json.loads(run("query", "digits", GROUPED, "--format", "json").stdout) == expected
    assert YAML(typ="safe").load(run("query", "digits", GROUPED, "--format", "yaml").stdout) == expected
    rows = list(csv.reader(io.StringIO(run("query", "digits", GROUPED, "--format", "csv").stdout)))
    assert rows[:2] == [["adapter", "n", "best"], ["lora", "3", "0.75"]]
    file = tmp_path / "answer.parquet"
    run("query", "digits", GROUPED, "--format", "parquet", "--to", str(file))
    from pyarrow.parquet import read_table

    assert read_table(file).to_pylist() == expected
    piped = run("query", "digits", GROUPED, "--format", "parquet").stdout_bytes
    assert piped == file.read_bytes()


def test_best_in_each_format_tells_best_last_and_budget_apart(run: Run, tmp_path: Path) -> None:
    text = run("best", "digits", "--at", "2", "-k", "2", "--format", "csv").stdout
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["trial"], first["value"], first["at_budget"], first["budget"]) == (
        "4",
        "0.74",
        "0.74",
        "2.0",
    )
    assert (second["trial"], second["at_budget"], second["best"], second["last"]) == (
        "0",
        "0.5",
        "0.75",
        "0.72",
    )
    assert (second["lora.rank"], first["lora.rank"]) == ("8", "")
    file = tmp_path / "best.parquet"
    run("best", "digits", "--format", "parquet", "--to", str(file))
    from pyarrow.parquet import read_table

    assert read_table(file).column("trial").to_pylist() == [0, 4, 2]


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
    assert "no trial has run to its own end (1 pruned, 1 running)" in said
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("query", "digits", "SELECT nope FROM trials"), "Columns of trials are"),
        (("query", "digits", "DROP VIEW trials"), "one SELECT"),
        (("query", "digits", GROUPED, "--to", "x.txt"), "--to goes with --format"),
        (("query", "digits", GROUPED, "--format", "csv", "--to", "no/such/x.csv"), "there is no folder"),
        (("best", "digits", "--format", "csv", "--to", "."), "this is a folder"),
        (("best", "digits", "--where", "trial = 99", "--format", "csv"), "none passes the filter"),
        (("query", "digitz", GROUPED), "available: digits"),
    ],
)
def test_what_cannot_be_answered_is_told(run: Run, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments, code=2)
    assert said in result.stderr
    assert not result.stdout


def test_every_trial_of_the_fixture_is_a_row(run: Run) -> None:
    rows = json.loads(run("query", "digits", "SELECT trial FROM trials", "--format", "json").stdout)
    assert len(rows) == len(TRIALS)
