"""Sweeps that users steer, with the driver killed without warning, equal those whose driver never died.

Each sweep comes to its end, gets trials of the user (from the start, with the weights of another trial, and
one that continues a trial), and comes to its end again. With one worker the order of all events is defined,
so all results must agree to the bit. Paused trials are tried with a search that learns nothing, so that
results do not depend on when a trial ran.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from chaos import FILE, IMAGES, NAME, Place, Process, events

from tests.acceptance.test_chaos import (
    RESUME,
    SEED,
    Cut,
    assert_reports_agree,
    assert_same,
    count,
    in_mid_trial,
)
from tuning.ledger.ledger import read_history
from tuning.ledger.records import Outcome, PausedRecord, UnpausedRecord
from tuning.ledger.requests import PauseRequest, UnpauseRequest, leave_request

pytestmark = [pytest.mark.timeout(2400)]
TPE = "{tpe: {startup_trials: 5}, trials: 12, seed: 4}"
ASHA = "{asha: {grace_epochs: 1, reduction_factor: 2}}"
SWEEPS = [
    pytest.param(
        "{nsga2: {population: 4}, trials: 6, seed: 4}",
        "{hyperband: {grace_epochs: 1, reduction_factor: 2}}",
        1,
        id="nsga2, hyperband",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "{nsga2: {population: 4}, trials: 6, seed: 4}",
        "{hyperband: {grace_epochs: 1, reduction_factor: 2}}",
        2,
        id="nsga2, hyperband, more kills",
        marks=pytest.mark.exhaustive,
    ),
    pytest.param(
        "{gp: {startup_trials: 3}, trials: 6, seed: 4}",
        "{asha: {grace_epochs: 1, reduction_factor: 2, rule: rank, rest: true, within: [freezing]}}",
        2,
        id="gp, rank that rests",
        marks=pytest.mark.exhaustive,
    ),
    pytest.param(
        "{qmc: {}, trials: 6, seed: 4}",
        "{pasha: {grace_epochs: 1, reduction_factor: 2}}",
        2,
        id="qmc, pasha",
        marks=pytest.mark.exhaustive,
    ),
]


def launch(place: Place, search: str, scheduler: str) -> tuple[str, ...]:
    """Write the file of a sweep; return the command that launches it."""
    command = place.launch()
    assert TPE in FILE
    assert ASHA in FILE
    file = place.storage / f"{NAME}.yaml"
    text = file.read_text().replace(TPE, search).replace(ASHA, scheduler)
    file.write_text(text.replace("adalora, ", "").replace(f"train: {IMAGES}", f"train: {IMAGES // 4}"))
    return command


def ask(place: Place) -> None:
    """Ask for three more trials; which ones depends on the record alone."""
    trials = read_history(place.folder).trials.values()
    ended = [trial for trial in trials if trial.over and trial.value is not None]
    pruned = next((trial for trial in ended if trial.outcome is Outcome.PRUNED), ended[0])
    place.read("clone", f"{NAME}:{ended[0].number}", "--warm", "--set", "learning_rate=1e-3")
    place.read("extend", f"{NAME}:{pruned.number}", "--epochs", "6")
    own = ("--set", "adapter=lora", "--set", "freezing=frozen", "--set", "learning_rate=5e-3")
    place.read("add", NAME, *own)


def run_with_kills(place: Place, command: tuple[str, ...], moments: list[int], dead: list[Process]) -> None:
    """Run to the end, with the driver killed at each of `moments` (numbers of events) and resumed."""
    for moment in moments:
        with place.run(*command) as driver:
            driver.wait_for_events(moment)
            dead += driver.kill()
        Cut.of(place.folder, dead)  # when its workers have ended
        command = RESUME
    place.finish(*command)


@pytest.mark.parametrize(("search", "scheduler", "kills"), SWEEPS)
def test_a_steered_sweep_whose_driver_is_killed(
    tmp_path: Path, search: str, scheduler: str, kills: int
) -> None:
    """With so many kills before the trials of the user, and after them."""
    cache = tmp_path / "cache"
    whole, place = (Place(tmp_path / name, cache) for name in ("whole", "killed"))
    for each in (cache, whole.storage, place.storage):
        each.mkdir()
    whole.finish(*launch(whole, search, scheduler))
    first = len(events(whole.folder))
    ask(whole)
    whole.finish(*RESUME)
    moments = in_mid_trial(whole)
    random.Random(SEED).shuffle(moments)
    dead: list[Process] = []
    early = sorted(m for m in moments if m < first)
    run_with_kills(place, launch(place, search, scheduler), early[:kills], dead)
    ask(place)
    late = sorted(m for m in in_mid_trial(whole) if m > first)
    run_with_kills(place, RESUME, late[1::4][:kills], dead)
    for process in dead:
        process.kill()
    history = read_history(place.folder)
    children = [trial for trial in history.trials.values() if trial.parent is not None]
    assert [trial.parent.state for trial in children if trial.parent] == [False, True]
    assert children[1].epoch == 6.0
    assert_same(place, whole)
    assert_reports_agree(place.folder)


@pytest.mark.exhaustive
def test_a_paused_trial_and_a_paused_sweep_whose_drivers_are_killed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    whole, place = (Place(tmp_path / name, cache) for name in ("whole", "killed"))
    for each in (cache, whole.storage, place.storage):
        each.mkdir()
    sweep, longer = ("{random: {}, trials: 3, seed: 4}", "none"), ("--set", "trial.epochs=20")
    whole.finish(*launch(whole, *sweep), *longer)
    dead: list[Process] = []
    with place.run(*launch(place, *sweep), *longer) as driver:
        driver.wait_for_events(3)
        leave_request(place.folder, PauseRequest(trial=0))
        driver.wait_for(lambda: read_history(place.folder).trials[0].outcome is Outcome.PAUSED)
        leave_request(place.folder, PauseRequest())
        driver.wait_for(lambda: count(place.folder, PausedRecord) == 2)
        dead += driver.kill()
    Cut.of(place.folder, dead)
    with place.run(*RESUME) as driver:
        driver.wait_for(lambda: "paused: no trial runs" in driver.said())
        leave_request(place.folder, UnpauseRequest())
        driver.wait_for(lambda: count(place.folder, UnpausedRecord) == 1)
        dead += driver.kill()
    Cut.of(place.folder, dead)
    place.read("unpause", f"{NAME}:0")
    place.finish(*RESUME)
    for process in dead:
        process.kill()
    assert_same(place, whole)
    assert_reports_agree(place.folder)
