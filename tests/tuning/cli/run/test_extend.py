from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from recorded import LORA, Told, write
from typer.testing import Result

from trainables.run_folder import BEST_WEIGHTS, LAST_STATE
from tuning.ledger.driver_state import LOCK
from tuning.ledger.outcomes import Outcome
from tuning.ledger.requests import AddRequest, ExtendRequest, read_request, requests_in
from tuning.ledger.storage import trial_folder

BASE = LORA | {"learning_rate": 2e-3, "lora.rank": 8}
Run = Callable[..., Result]


@pytest.fixture
def folder(storage: Path) -> Path:
    running = Told(BASE | {"lora.rank": 4}, (0.3,), Outcome.INTERRUPTED)
    folder = write(storage / "live", (Told(BASE, (0.4, 0.5)), running), closed=None)
    trial_folder(folder, 0).mkdir(parents=True, exist_ok=True)
    for name in (LAST_STATE, BEST_WEIGHTS):
        (trial_folder(folder, 0) / name).write_bytes(b"x")
    return folder


def test_a_trial_of_a_sweep_that_runs_and_of_one_at_rest(run: Run, folder: Path) -> None:
    with FileLock(folder / LOCK):
        assert (
            "asked live to continue trial 0 to epoch 20" in run("extend", "live:0", "--epochs", "20").stdout
        )
    said = run("extend", "live:best", "--epochs", "30").stdout
    assert "live is at rest: `adaptertune resume live` continues trial 0 to epoch 30" in said
    requests = [read_request(path) for path in requests_in(folder)]
    assert all(isinstance(request, ExtendRequest) for request in requests)
    assert [(request.trial, request.epochs) for request in requests] == [(0, 20), (0, 30)]  # type: ignore[attr-defined]


def test_a_warm_copy(run: Run, folder: Path) -> None:
    run("clone", "live:0", "--warm", "--set", "learning_rate=1e-3")
    (path,) = requests_in(folder)
    request = read_request(path)
    assert isinstance(request, AddRequest)
    assert (request.params, request.of, request.warm) == (BASE | {"learning_rate": 1e-3}, 0, True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            ["extend", "live:0", "--epochs", "2"],
            "has run 2 epochs; --epochs is their new total and must be more",
        ),
        (["extend", "live:0"], "Missing option '--epochs'"),
        (["extend", "live:0", "--epochs", "0"], "--epochs"),
        (["extend", "live:1", "--epochs", "9"], "trial 1 of live has not ended yet"),
        (["extend", "live", "--epochs", "9"], "extend takes a trial: live:7, or live:best"),
        (["extend", "live:9", "--epochs", "9"], "live has no trial 9"),
        (["clone", "live:0", "--warm", "--set", "lora.rank=4"], "lora differs, so the weights are others"),
        (["clone", "live:1", "--warm", "--set", "lora.rank=8"], "trial 1 of live has not ended yet"),
    ],
)
def test_mistakes_leave_no_request(run: Run, folder: Path, asked: list[str], said: str) -> None:
    assert said in run(*asked, code=2).stderr
    assert requests_in(folder) == []
