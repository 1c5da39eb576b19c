from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from recorded import LORA, Told, write
from typer.testing import Result

from tuning.ledger.driver_state import LOCK
from tuning.ledger.outcomes import Outcome
from tuning.ledger.requests import PauseRequest, UnpauseRequest, read_request, requests_in

Run = Callable[..., Result]


@pytest.fixture
def folder(storage: Path) -> Path:
    running = Told(LORA | {"lora.rank": 4}, (0.6,), Outcome.INTERRUPTED)
    return write(storage / "live", (Told(LORA, (0.4,)), running), closed=None)


def test_a_trial_of_a_sweep_that_runs_and_the_sweep(run: Run, folder: Path) -> None:
    with FileLock(folder / LOCK):
        said = run("pause", "live:1").stdout
        assert said.startswith("asked trial 1 of live to pause")
        assert "until `adaptertune unpause live:1`" in said
        assert run("pause", "live").stdout.startswith("asked live to pause")
        assert "asked trial 1 of live to continue" in run("unpause", "live:1").stdout
    requests = [read_request(path) for path in requests_in(folder)]
    assert [(type(request), request.trial) for request in requests] == [  # type: ignore[attr-defined]
        (PauseRequest, 1), (PauseRequest, None), (UnpauseRequest, 1),
    ]  # fmt: skip


def test_a_sweep_at_rest_is_told_what_a_resume_does(run: Run, folder: Path) -> None:
    assert "live is at rest; when it is resumed, live waits until" in run("pause", "live").stdout
    assert "live is at rest: `adaptertune resume live` continues it" in run("unpause", "live").stdout


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["pause", "live:0"], "trial 0 of live has ended already (completed)"),
        (["pause", "live:9"], "live has no trial 9"),
        (["pause", "live:best"], "pause takes the number of a trial, not best"),
        (["unpause", "live:1"], "trial 1 of live is not paused"),
        (["unpause", "live"], "live is not paused"),
        (["unpause", "nothing"], "nothing"),
    ],
)
def test_what_cannot_be_asked_is_said_and_leaves_nothing(
    run: Run, folder: Path, asked: list[str], said: str
) -> None:
    failed = run(*asked, code=2)
    assert said in failed.stderr
    assert requests_in(folder) == []
