from __future__ import annotations

from pathlib import Path

import pytest
from recorded import LORA, Told, write

from analysis.frames import QueryError, Sweep
from analysis.query import select
from tuning.ledger import read_history


def found(sweep: Sweep, where: str) -> list[int]:
    return [trial.number for trial in select(sweep.trials, where, sweep.objective)]


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ("adapter = 'lora'", [0, 1, 6]),
        ("lora.rank >= 8", [0, 6]),
        ('"lora.rank" = 4', [1]),
        ("adapter = 'lora' AND lora.rank IN (4, 16)", [1]),
        ("outcome = 'pruned' AND stopped_by = 'asha'", [1, 5]),
        ("dice > 0.7", [0, 4]),
        ("metrics.loss < 0.3", [0, 4]),
        ('"dice/7" > 0.36', [0, 4]),
        ("value IS NULL", [6]),
        ("freezing = 'head_only'", [2]),
        ("parameters.adapter = 0", [2]),
        ("batch_size = 16 AND ran = 6", [0, 2]),
        ("trial BETWEEN 1 AND 2 -- a comment", [1, 2]),
        ("targets = 'query,key,value'", [3, 4, 5]),
    ],
)
def test_an_expression_chooses_trials(sweep: Sweep, where: str, numbers: list[int]) -> None:
    assert found(sweep, where) == numbers


@pytest.mark.parametrize(
    "where", ["no_such > 1", "adapter =", "adapter = lora", "1); DROP TABLE numbered; --", "SELECT"]
)
def test_a_wrong_expression_names_the_columns(sweep: Sweep, where: str) -> None:
    with pytest.raises(QueryError, match=r"lora\.rank"):
        found(sweep, where)


def test_an_expression_cannot_read_files(sweep: Sweep, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with pytest.raises(QueryError):
        found(sweep, f"trial IN (SELECT a FROM read_csv('{secret}'))")


def test_one_setting_may_hold_numbers_and_text(tmp_path: Path) -> None:
    ia3 = {"adapter": "peft", "freezing": "frozen", "peft.method": "IA3"}
    trials = (Told(ia3 | {"peft.arguments.x": 1}, (0.2,)), Told(ia3 | {"peft.arguments.x": "two"}, (0.3,)))
    sweep = Sweep.of(read_history(write(tmp_path / "mixed", trials)))
    assert found(sweep, "\"peft.arguments.x\" = 'two'") == [1]


def test_names_may_differ_in_case_alone(tmp_path: Path) -> None:
    record = write(tmp_path / "cases", (Told(LORA, (0.2,)), Told(LORA, (0.3,))))
    text = (record / "ledger.jsonl").read_text().replace('"dice/7"', '"Dice"')
    (record / "ledger.jsonl").write_text(text)
    assert found(Sweep.of(read_history(record)), "dice > 0.25") == [1]
