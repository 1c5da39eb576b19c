"""A population whose driver is killed without warning gives what it gives uninterrupted, to the bit.

With two workers: the trials of a population are compared in step, so it does not matter who was faster.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from chaos import Place, Process, events

from tests.acceptance.test_chaos import RESUME, SEED, Cut, assert_reports_agree, count
from tests.acceptance.test_chaos_steered import launch
from tuning.ledger.history import TrialHistory
from tuning.ledger.ledger import read_history
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import PausedRecord
from tuning.ledger.requests import PauseRequest, leave_request

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(2400)]
SWEEP = (
    "{random: {}, trials: 6, seed: 4}",
    "{pbt: {interval_epochs: 1, quantile: 0.34, explore: [learning_rate]}}",
)


def line(trials: dict[int, TrialHistory], number: int) -> tuple[object, ...]:
    """A trial without its number: the numbers of those that replace others depend on who starts first."""
    trial = trials[number]
    parent = trial.parent
    from_ = None if parent is None else line(trials, parent.trial)[0]
    reports = tuple((r.epoch, r.objective, tuple(sorted(r.metrics.items()))) for r in trial.reports)
    return str(dict(trial.params)), trial.outcome, reports, str(from_)


def essence(folder: Path) -> list[tuple[object, ...]]:
    trials = read_history(folder).trials
    return sorted((line(trials, number) for number in trials), key=str)


def trained(place: Place, into: Path, *given: str) -> list[dict[str, float]]:
    """The metrics of each report of a run of `train`."""
    place.read("train", *given, "--into", str(into))
    return [json.loads(line)["metrics"] for line in (into / "reports.jsonl").read_text().splitlines()]


def test_a_population_whose_driver_is_killed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    whole, place = (Place(tmp_path / name, cache) for name in ("whole", "killed"))
    for each in (cache, whole.storage, place.storage):
        each.mkdir()
    whole.finish(*launch(whole, *SWEEP))
    happened = events(whole.folder)
    moments = sorted(random.Random(SEED).sample(range(8, 2 * len(happened) // 3), 2))
    command, dead = (*launch(place, *SWEEP), "--set", "resources.concurrent=2"), list[Process]()
    for moment in moments:
        with place.run(*command) as driver:
            driver.wait_for_events(moment)
            dead += driver.kill()
        Cut.of(place.folder, dead)
        command = RESUME
    trials = read_history(place.folder).trials.values()  # the best one is paused, and the others wait for it
    number = max((trial.value or 0.0, trial.number) for trial in trials if not trial.over)[1]
    leave_request(place.folder, PauseRequest(trial=number))
    with place.run(*RESUME) as driver:
        assert driver.process.wait(600) == 130
    assert count(place.folder, PausedRecord) == 1
    place.read("unpause", f"chaos:{number}")
    place.finish(*RESUME)
    for process in dead:
        process.kill()
    assert essence(place.folder) == essence(whole.folder)
    assert_reports_agree(place.folder)
    trials = read_history(place.folder).trials
    replaced = [trial.parent.instead_of for trial in trials.values() if trial.parent is not None]
    assert len(replaced) == len(set(replaced)) >= 4
    assert all(trials[n].outcome is Outcome.PRUNED for n in replaced if n is not None)
    assert sum(trial.outcome is Outcome.COMPLETED for trial in trials.values()) == 6
    last = max(n for n, trial in trials.items() if trial.outcome is Outcome.COMPLETED and trial.parent)
    again = trained(place, tmp_path / "again", "--from", f"chaos:{last}")
    assert again == [report.metrics for report in trials[last].reports]
    # The file says nothing of threads, and torch adds up differently with others.
    (repeated,) = trained(place, tmp_path / "repeated", str(tmp_path / "again" / "experiment.yaml"))
    assert repeated == pytest.approx(again[0], abs=1e-5)
