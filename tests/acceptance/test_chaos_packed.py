"""A real sweep in a pack with processes killed without warning, then resumed, equals the uninterrupted sweep.

The sweep of `test_chaos`, with three trials at a time in one worker. A single pack defines the order of all
events, so configurations, curves, decisions, weights and the best trial must agree to the bit.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from chaos import (
    NAME,
    Driver,
    Place,
    events,
    freeze_in_mid_epoch,
    saved_steps,
    trials_in_mid_epoch,
    wait_until,
)
from marks import exhaustive

from tests.acceptance.test_chaos import (
    RESUME,
    SEED,
    Cut,
    assert_reports_agree,
    assert_same,
    assert_survives_kills_of_the_driver,
    count,
    count_continued,
    essence,
    in_mid_trial,
)
from trainables.run_folder import CONTROL
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.outcomes import Outcome, StoppedBy
from tuning.ledger.records import EndedRecord, PackingRecord, RemovedRecord, ReportRecord, StartedRecord

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path: Path, cache: Path) -> Place:
    return Place(tmp_path, cache)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    """The place of the uninterrupted sweep."""
    place = Place(tmp_path_factory.mktemp("whole"), cache)
    place.finish(*place.launch_packed())
    return place


def freeze_all(driver: Driver, place: Place) -> None:
    """Freeze the pack while each of its three trials has a checkpoint in mid-epoch."""
    driver.wait_for(lambda: freeze_in_mid_epoch(driver.workers(), place.folder, trials=3))


def most_at_once(folder: Path) -> int:
    now, most = set(), 0
    for record in read_records(folder):
        if isinstance(record, StartedRecord):
            now.add(record.trial)
        if isinstance(record, EndedRecord):
            now.discard(record.trial)
        most = max(most, len(now))
    return most


def test_the_sweep_under_test_has_all_that_may_go_wrong(whole: Place) -> None:
    trials = read_history(whole.folder).trials
    assert sorted(trials) == list(range(12))
    assert {trial.outcome for trial in trials.values()} == {Outcome.COMPLETED, Outcome.PRUNED}
    assert all(t.stopped.by is StoppedBy.ASHA for t in trials.values() if t.stopped)
    assert {t.params["adapter"] for t in trials.values()} >= {"adalora", "lora", "loha"}
    assert {t.params["freezing"] for t in trials.values()} == {"frozen", "unfrozen"}
    assert most_at_once(whole.folder) == 3
    assert [t.joined for t in trials.values()] == sorted(t.joined or 0 for t in trials.values())


@pytest.mark.parametrize("kills", [2, exhaustive(3)])
def test_a_driver_killed_several_times(whole: Place, place: Place, kills: int) -> None:
    moments = sorted(random.Random(SEED).sample(in_mid_trial(whole), kills))
    assert_survives_kills_of_the_driver(place, whole, place.launch_packed(), moments)


@pytest.mark.exhaustive
def test_a_driver_killed_where_the_worker_decides_how_many_trials_it_takes(
    place: Place, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It takes one trial until the first one that can be packed is there."""
    auto = ("resources.packing=auto",)
    other = Place(tmp_path_factory.mktemp("automatic"), cache)
    other.finish(*other.launch_packed(*auto))
    decided = {record.lanes for record in read_records(other.folder) if isinstance(record, PackingRecord)}
    assert decided == {16}
    moments = sorted(random.Random(SEED).sample(in_mid_trial(other), 2))
    assert_survives_kills_of_the_driver(place, other, place.launch_packed(*auto), moments)


def test_a_killed_pack_continues_each_trial_from_its_own_checkpoint(whole: Place, place: Place) -> None:
    """No trial is charged a retry, of which there are none."""
    with place.run(*place.launch_packed()) as driver:
        driver.wait_for_events(random.Random(SEED).choice(in_mid_trial(whole)[:10]))
        freeze_all(driver, place)
        for worker in driver.workers():
            worker.kill()
        cut = Cut.of(place.folder)
        assert driver.finish() == 0, driver.said()
        assert "died; they continue from their checkpoints" in driver.said()
    assert count(place.folder, StartedRecord) == 12 + 3
    assert_same(place, whole)
    assert_reports_agree(place.folder)
    assert count_continued(place.folder, [cut]) == 3


@pytest.mark.exhaustive
def test_trials_whose_pack_dies_twice_run_alone_and_lose_nothing(place: Place) -> None:
    cuts: list[Cut] = []
    before: dict[int, int] = {}

    def have_gone_on() -> bool:  # a worker that dies while it starts is replaced without a word
        now = saved_steps(place.folder)
        return len(now) == 3 and all(step > before.get(number, 0) for number, step in now.items())

    with place.run(*place.launch_packed("search.trials=5", "scheduler=none")) as driver:
        driver.wait_for_events(1)
        for _ in range(2):
            driver.wait_for(have_gone_on)
            freeze_all(driver, place)
            before = saved_steps(place.folder)
            for worker in driver.workers():
                worker.kill()
            cuts.append(Cut.of(place.folder))
        assert driver.finish() == 0, driver.said()
    records = [r for r in read_records(place.folder) if isinstance(r, StartedRecord | EndedRecord)]
    assert Counter(r.trial for r in records if isinstance(r, StartedRecord)) == {0: 3, 1: 3, 2: 3, 3: 1, 4: 1}
    alone = [(type(r), r.trial) for r in records[6:12]]
    assert alone == [(kind, number) for number in range(3) for kind in (StartedRecord, EndedRecord)]
    trials = read_history(place.folder).trials
    assert {trial.outcome for trial in trials.values()} == {Outcome.COMPLETED}
    for trial in trials.values():
        assert [r.epoch for r in trial.reports] == [1.0, 2.0, 3.0, 4.0]
    assert_reports_agree(place.folder)
    assert count_continued(place.folder, cuts) > 0


@pytest.mark.exhaustive
def test_ctrl_c_saves_each_trial_of_the_pack(whole: Place, place: Place) -> None:
    with place.run(*place.launch_packed("checkpoints.every_s=60")) as driver:
        driver.wait_for_events(random.Random(SEED).choice(in_mid_trial(whole)[:10]))
        driver.process.send_signal(signal.SIGINT)
        driver.finish()
    trials = read_history(place.folder).trials
    left = {n for n, trial in trials.items() if trial.outcome is Outcome.INTERRUPTED}
    saved = saved_steps(place.folder)
    assert len(left) == 3
    assert left <= saved.keys()
    assert all(saved[n] >= max((r.step for r in trials[n].reports), default=1) for n in left)
    place.finish(*RESUME)
    assert_same(place, whole)


@pytest.mark.exhaustive
def test_a_trial_that_the_user_stops_saves_nothing_more_and_the_others_go_on(place: Place) -> None:
    with place.run(*place.launch_packed("search.trials=6", "scheduler=none", "trial.epochs=12")) as driver:
        driver.wait_for_events(3)
        driver.wait_for(lambda: trials_in_mid_epoch(place.folder) >= {0, 1, 2})
        place.read("stop", f"{NAME}:1")
        driver.wait_for(lambda: read_history(place.folder).trials[1].stopped is not None)
        wait_until(lambda: 3 in read_history(place.folder).trials)  # its lane is taken
        driver.wait_for(lambda: any(r.trial == 3 for r in reports(place.folder)))
        folder = place.folder / "trials" / "0001"
        before = {path.name: path.read_bytes() for path in folder.glob("*.ckpt")}
        assert driver.finish() == 0, driver.said()
    trials = read_history(place.folder).trials
    assert {path.name: path.read_bytes() for path in folder.glob("*.ckpt")} == before
    assert Counter(t.outcome for t in trials.values()) == {Outcome.COMPLETED: 5, Outcome.STOPPED: 1}
    stopped = trials[1].stopped
    assert stopped is not None
    assert (stopped.by, stopped.epoch) == (StoppedBy.USER, trials[1].epoch)
    assert list((place.folder / CONTROL).iterdir()) == [place.folder / CONTROL / "stopped.1"]


def reports(folder: Path) -> list[ReportRecord]:
    return [record for record in read_records(folder) if isinstance(record, ReportRecord)]


@pytest.mark.exhaustive
def test_a_budget_is_kept_with_several_trials_that_save_at_once(whole: Place, place: Place) -> None:
    sizes = [path.stat().st_size for path in whole.folder.glob("trials/*/*.ckpt")]
    budget = sum(sizes) // 2
    place.finish(*place.launch_packed(f"checkpoints.budget_gb={budget / 1e9:.9f}", "checkpoints.keep_best=1"))
    assert sum(path.stat().st_size for path in place.folder.glob("trials/*/*.ckpt")) <= budget
    assert count(place.folder, RemovedRecord) > 0
    assert essence(place.folder) == essence(whole.folder)
    assert len(events(place.folder)) > 0
