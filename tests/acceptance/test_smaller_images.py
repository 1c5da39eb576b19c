"""A real sweep with smaller images at low rungs: killed and resumed, and one trial trained again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chaos import NAME, Place

from tuning.ledger.ledger import read_history
from tuning.ledger.outcomes import Outcome

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(900)]
CHANGES = (
    "scheduler.asha={grace_epochs: 1, reduction_factor: 2, fidelity: resolution}",
    "search.trials=4",
    "data.embedded.train=32",
    "data.embedded.validation=8",
)


def essence(folder: Path) -> list[Any]:
    """Everything but times."""
    return [
        (
            dict(trial.params),
            [(r.epoch, r.step, r.objective, r.metrics, r.image_size) for r in trial.reports],
            trial.outcome,
            trial.value,
        )
        for trial in read_history(folder).trials.values()
    ]


def test_a_killed_sweep_equals_the_whole_one_and_a_trial_is_repeated_to_the_bit(tmp_path: Path) -> None:
    places = [Place(tmp_path / name, tmp_path / "cache") for name in ("whole", "killed")]
    for place in places:
        place.storage.mkdir()
    whole, killed = places
    whole.finish(*whole.launch(*CHANGES))
    with killed.run(*killed.launch(*CHANGES)) as driver:
        driver.wait_for_events(5)
        dead = driver.kill()
    killed.finish("resume", NAME)
    for process in dead:
        process.kill()
    assert essence(killed.folder) == essence(whole.folder)
    trials = read_history(whole.folder).trials
    assert {trial.outcome for trial in trials.values()} == {Outcome.COMPLETED, Outcome.PRUNED}
    seen = {(r.epoch, r.image_size) for trial in trials.values() for r in trial.reports}
    assert seen == {(1.0, (16, 16)), (2.0, (24, 24)), (3.0, None), (4.0, None)}
    assert all((t.value is None) == (t.epoch <= 2) for t in trials.values())
    best = whole.best()["trial"]
    into = tmp_path / "again"
    whole.finish("train", "--from", f"{NAME}:{best}", "--into", str(into))
    again = [json.loads(line) for line in (into / "reports.jsonl").read_text().splitlines()]
    assert [(r["epoch"], r["objective"], r["metrics"], r["image_size"]) for r in again] == [
        (r.epoch, r.objective, r.metrics, None if r.image_size is None else list(r.image_size))
        for r in trials[best].reports
    ]
    assert "rank correlation" in whole.read("fidelity", NAME)
