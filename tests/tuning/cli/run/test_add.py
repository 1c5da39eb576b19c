from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from recorded import Told, write
from typer.testing import Result

from tuning.ledger.driver_state import LOCK
from tuning.ledger.requests import read_request, requests_in

BASE = {"adapter": "lora", "freezing": "frozen", "learning_rate": 2e-3, "lora.rank": 8}
Run = Callable[..., Result]
WHOLE = [
    *("--set", "adapter=lora", "--set", "freezing=unfrozen"),
    *("--set", "learning_rate=2e-3", "--set", "lora.rank=16"),
]


@pytest.fixture
def folder(storage: Path) -> Path:
    return write(storage / "live", (Told(BASE, (0.4,)), Told(BASE | {"lora.rank": 4}, (0.6,))), closed=None)


def test_a_configuration_for_a_sweep_that_runs(run: Run, folder: Path) -> None:
    with FileLock(folder / LOCK):
        assert "asked live to try it next" in run("add", "live", *WHOLE).stdout
    (path,) = requests_in(folder)
    request = read_request(path)
    assert request.params == {
        "adapter": "lora", "freezing": "unfrozen", "learning_rate": 2e-3, "lora.rank": 16,
    }  # fmt: skip
    assert request.of is None


def test_a_sweep_at_rest_is_told_how_it_goes_on(run: Run, folder: Path) -> None:
    assert "live is at rest: `adaptertune resume live` tries it next" in run("add", "live", *WHOLE).stdout


def test_a_copy_of_a_trial_and_of_the_best(run: Run, folder: Path) -> None:
    run("clone", "live:0", "--set", "lora.rank=16")
    run("clone", "live:best", "--set", "adapter=none", "--set", "freezing=full")
    first, second = (read_request(path) for path in requests_in(folder))
    assert (first.params, first.of) == (BASE | {"lora.rank": 16}, 0)
    assert second.params == {"adapter": "none", "freezing": "full", "learning_rate": BASE["learning_rate"]}
    assert second.of == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["add", "live", "--set", "adapter=lora"], "freezing: is missing"),
        (["add", "live", *WHOLE, "--set", "lora.rnk=3"], "did you mean 'lora.rank'?"),
        (["clone", "live:0", "--set", "lora.rank=4"], "trial 1 of live has this configuration already"),
        (["clone", "live:9", "--set", "lora.rank=4"], "live has no trial 9"),
        (["clone", "live", "--set", "lora.rank=4"], "clone takes a trial: live:7, or live:best"),
        (["add", "nothing", *WHOLE], "nothing"),
    ],
)
def test_mistakes_leave_no_request(run: Run, folder: Path, asked: list[str], said: str) -> None:
    assert said in run(*asked, code=2).stderr
    assert requests_in(folder) == []


@pytest.mark.parametrize("command", [["add", "live"], ["clone", "live:0"]])
def test_without_values_there_is_nothing_to_add(run: Run, folder: Path, command: list[str]) -> None:
    assert "Missing option '--set'" in run(*command, code=2).stderr
