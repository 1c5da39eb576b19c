"""A real sweep with three objectives and a constraint: killed, interrupted and resumed, it is the same sweep.

One worker, so that the order of all events is defined: proposals, decisions, values, front and weights that
are ranked must agree to the bit.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from chaos import NAME, Place, events

from tuning.exit_codes import INTERRUPTED
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.outcomes import Outcome, StoppedBy
from tuning.ledger.records import BuiltRecord, EndedRecord, ResumedRecord

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(2400)]

CHANGES = (
    "objective=[{metric: dice}, {metric: parameters}, {metric: macs}]",
    "constraints={parameters: {at_most: 100000}}",
    "scheduler={dominance: {grace_epochs: 1, reduction_factor: 3}}",
    "trial.epochs=2",
    "search={tpe: {startup_trials: 3}, trials: 8, seed: 4}",
)


WITHIN_S = 1200.0
"""Another machine may be busy."""


def place_in(folder: Path, cache: Path) -> Place:
    folder.mkdir()
    return Place(folder, cache)


def finish(place: Place, *command: str) -> None:
    with place.run(*command) as driver:
        assert driver.finish(WITHIN_S) == 0, driver.said()


def essence(place: Place) -> list[Any]:
    return [
        (
            trial.number,
            dict(trial.params),
            [(r.epoch, r.step, r.objective, r.metrics) for r in trial.reports],
            trial.parameters,
            trial.macs,
            (trial.stopped.by, trial.stopped.epoch) if trial.stopped else None,
            None if trial.ended is None else (trial.outcome, trial.ended.values, trial.ended.broken),
        )
        for trial in read_history(place.folder).trials.values()
    ]


def front(place: Place) -> Any:
    return json.loads(place.read("pareto", NAME, "--format", "json"))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Place]:
    """The uninterrupted sweep, and the one that was killed, interrupted and resumed."""
    base = tmp_path_factory.mktemp("several")
    whole, cut = (place_in(base / name, base / "cache") for name in ("whole", "cut"))
    finish(whole, *whole.launch(*CHANGES))
    happened = len(events(whole.folder))
    with cut.run(*cut.launch(*CHANGES)) as driver:
        driver.wait_for_events(happened // 3, WITHIN_S)
        left = driver.kill()
    for process in left:
        process.kill()
    with cut.run("resume", NAME) as driver:
        driver.wait_for_events(2 * happened // 3, WITHIN_S)
        driver.process.send_signal(signal.SIGINT)
        assert driver.finish(WITHIN_S) == INTERRUPTED, driver.said()
    finish(cut, "resume", NAME)
    return whole, cut


def test_a_sweep_that_was_cut_twice_is_the_uninterrupted_one(places: tuple[Place, Place]) -> None:
    whole, cut = places
    assert sum(isinstance(record, ResumedRecord) for record in read_records(cut.folder)) == 2
    assert essence(cut) == essence(whole)
    assert front(cut) == front(whole)
    assert cut.best() == whole.best()


def test_it_has_all_that_it_is_to_show(places: tuple[Place, Place]) -> None:
    whole, _ = places
    trials = read_history(whole.folder).trials
    assert sorted(trials) == list(range(8))
    ended = [trial.ended for trial in trials.values() if trial.ended is not None]
    assert all({"dice", "parameters", "macs"} == each.values.keys() for each in ended)
    assert {each.broken == ["parameters"] for each in ended} == {True, False}
    assert {trial.stopped.by for trial in trials.values() if trial.stopped} == {StoppedBy.DOMINANCE}
    built = [record for record in read_records(whole.folder) if isinstance(record, BuiltRecord)]
    assert all(record.macs for record in built)
    assert len({record.macs for record in built}) > 1
    shown = front(whole)
    on = {each["trial"] for each in shown["trials"] if each["front"]}
    assert on
    assert not any(trials[number].ended.broken for number in on)  # type: ignore[union-attr]
    assert all(trials[number].outcome is Outcome.COMPLETED for number in on)
    best = json.loads(whole.read("best", NAME, "--format", "json"))
    assert set(best["front"]) == on
    ends = [record for record in read_records(whole.folder) if isinstance(record, EndedRecord)]
    feasible = {e.trial: e.value for e in ends if not e.broken and e.outcome is Outcome.COMPLETED}
    assert best["trials"][0]["trial"] == max(feasible, key=lambda n: (feasible[n], -n))
