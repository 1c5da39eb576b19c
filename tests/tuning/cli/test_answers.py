from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import Result

Run = Callable[..., Result]


GROUPED = "SELECT adapter, count(*) AS n, max(value) AS best FROM trials GROUP BY adapter ORDER BY best DESC"


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("query", "digits", "SELECT nope FROM trials"), "the columns of trials are"),
        (("query", "digits", "DROP VIEW trials"), "one SELECT"),
        (("query", "digits", GROUPED, "--to", "x.txt"), "--to needs --format"),
        (("query", "digits", GROUPED, "--format", "csv", "--to", "no/such/x.csv"), "there is no folder"),
        (("best", "digits", "--format", "csv", "--to", "."), "this is a folder"),
        (("best", "digits", "--where", "trial = 99", "--format", "csv"), "none passes the filter"),
        (("query", "digitz", GROUPED), "available: digits"),
    ],
)
def test_what_cannot_be_answered_is_an_error(run: Run, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments, code=2)
    assert said in result.stderr
    assert not result.stdout
