from __future__ import annotations

import json
from collections.abc import Callable

from recorded import TRIALS
from typer.testing import Result

Run = Callable[..., Result]


GROUPED = "SELECT adapter, count(*) AS n, max(value) AS best FROM trials GROUP BY adapter ORDER BY best DESC"


def test_query_answers_as_a_table(run: Run) -> None:
    out = run("query", "digits", GROUPED).stdout
    assert "serial_lora" in out
    assert "0.75" in out
    assert "3 rows" in out
    assert "lora.rank" in run("query", "digits").stdout  # without a question: the columns


def test_every_trial_of_the_fixture_is_a_row(run: Run) -> None:
    rows = json.loads(run("query", "digits", "SELECT trial FROM trials", "--format", "json").stdout)
    assert len(rows) == len(TRIALS)
