"""A real sweep with processes killed without warning, then resumed, equals the uninterrupted sweep.

Twelve trials with ASHA and TPE on embedded data. With one worker the order of all events is defined,
so configurations, curves, decisions, weights and the best trial must agree to the bit. With two it is
not, so no trial may be lost or duplicated, and no step that is in a checkpoint is trained again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from chaos import BATCH, NAME, Place, Process, events, freeze_in_mid_epoch, lines, saved_steps, wait_until

from trainables.training.checkpoint import read_weights
from tuning.exit_codes import FAILED
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.outcomes import Outcome, StoppedBy
from tuning.ledger.records import EndedRecord, ReportRecord, ResumedRecord, StartedRecord

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
RESUME = ("resume", NAME)
SEED = 4


@dataclass(frozen=True)
class Cut:
    """The state when a process was killed: lines of the record, and each trial's checkpointed step."""

    at: int
    """Lines immediately after the kill; trials may start again while checkpoints are read."""
    lines: int
    saved: dict[int, int]

    @classmethod
    def of(cls, folder: Path, dead: Sequence[Process] = ()) -> Cut:
        """Read the state. dead: descendants of a killed driver; its workers may save until they end."""
        wait_until(lambda: not any(p.holds_an_actor and p.alive for p in dead))
        at = lines(folder)
        saved = saved_steps(folder)  # before the lines: another worker may continue meanwhile
        return cls(at, lines(folder), saved)


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
    place.finish(*place.launch())
    return place


def essence(folder: Path) -> list[Any]:
    """Configurations, curves, decisions and ends of all trials, without times."""
    return [
        (
            trial.number,
            dict(trial.params),
            [(r.epoch, r.step, r.objective, r.metrics, r.outcome) for r in trial.reports],
            (trial.stopped.by, trial.stopped.epoch) if trial.stopped else None,
            trial.outcome,
            trial.value,
            trial.epoch,
        )
        for trial in read_history(folder).trials.values()
    ]


def assert_same(place: Place, whole: Place) -> None:
    """Assert that all results of the sweeps agree to the bit."""
    assert essence(place.folder) == essence(whole.folder)
    assert place.best() == whole.best()
    for number in read_history(whole.folder).trials:
        kept, expected = (
            read_weights(p.folder / "trials" / f"{number:04d}" / "best.ckpt").tensors for p in (place, whole)
        )
        assert kept.keys() == expected.keys()
        assert all(torch.equal(kept[name], expected[name]) for name in expected)


def count_continued(folder: Path, cuts: Sequence[Cut]) -> int:
    """Count the trials that continued from a checkpoint; fail if one trained steps again that it held.

    The report that was saved in the checkpoint may be made again. Trials on other workers continued
    without their checkpoints.
    """
    records = list(read_records(folder))
    made: dict[tuple[int, int], ReportRecord] = {}
    count = 0
    for cut, end in zip(cuts, [*(c.lines for c in cuts[1:]), len(records)], strict=True):
        made |= {(r.trial, r.step): r for r in records[: cut.lines] if isinstance(r, ReportRecord)}
        before_it = {r.trial for r in records[: cut.at] if isinstance(r, StartedRecord)}
        again = {r.trial for r in records[cut.at : end] if isinstance(r, StartedRecord)} & before_it
        new = [r for r in records[cut.lines : end] if isinstance(r, ReportRecord)]
        for number in again & cut.saved.keys():
            saved = cut.saved[number]
            later = [r for r in new if r.trial == number]
            twice = [r for r in later if r.step <= saved]
            assert [r.step for r in twice] in ([], [saved])
            for report in twice:
                before = made.get((number, saved), report)
                assert report.model_dump(exclude={"time"}) == before.model_dump(exclude={"time"})
            if first := next((r for r in later if r.step > saved), None):
                assert first.samples <= (first.step - saved) * BATCH
                count += 1
    return count


def assert_reports_agree(folder: Path) -> None:
    """Assert that reports made twice, because no checkpoint held them, agree."""
    made: dict[tuple[int, float], ReportRecord] = {}
    for record in read_records(folder):
        if isinstance(record, ReportRecord):
            first = made.setdefault((record.trial, record.epoch), record)
            assert (record.objective, record.metrics) == (first.objective, first.metrics)


def starts(whole: Place) -> list[int]:
    """Numbers of events after which a worker has just started a trial after another one."""
    return [i + 1 for i, (kind, trial, _) in enumerate(events(whole.folder)) if kind == "started" and trial]


def in_mid_trial(whole: Place) -> list[int]:
    """Numbers of events after which a trial has just reported, and continues."""
    happened = events(whole.folder)
    return [i + 1 for i, pair in enumerate(pairwise(happened)) if {kind for kind, *_ in pair} == {"report"}]


def count(folder: Path, kind: type) -> int:
    return sum(isinstance(record, kind) for record in read_records(folder))


def assert_survives_kills_of_the_driver(
    place: Place, whole: Place, launch: Sequence[str], moments: Sequence[int]
) -> None:
    """The result of `whole`, with the driver killed at each of `moments` (numbers of events) and resumed."""
    dead: list[Process] = []
    cuts: list[Cut] = []
    command = launch
    for moment in moments:
        with place.run(*command) as driver:
            if cuts:
                driver.wait_for(lambda: count(place.folder, ResumedRecord) == len(cuts))
            driver.wait_for_events(moment)
            dead += driver.kill()
        cuts.append(Cut.of(place.folder, dead))
        command = RESUME
    place.finish(*RESUME)
    for process in dead:
        process.kill()
    assert count(place.folder, ResumedRecord) == len(moments)
    assert_same(place, whole)
    assert_reports_agree(place.folder)
    assert count_continued(place.folder, cuts) > 0


def test_the_sweep_under_test_has_all_that_may_go_wrong(whole: Place) -> None:
    trials = read_history(whole.folder).trials
    assert sorted(trials) == list(range(12))
    outcomes = Counter(trial.outcome for trial in trials.values())
    assert set(outcomes) == {Outcome.COMPLETED, Outcome.PRUNED}
    assert {t.stopped.epoch for t in trials.values() if t.stopped} >= {1.0, 2.0}
    assert all(t.stopped.by is StoppedBy.ASHA for t in trials.values() if t.stopped)
    assert {t.params["adapter"] for t in trials.values()} >= {"adalora", "loha"}
    assert {t.params["freezing"] for t in trials.values()} == {"frozen", "unfrozen"}


def test_a_driver_killed_five_times(whole: Place, place: Place) -> None:
    """Each kill is at a number of events, and the sweep is resumed when the driver's workers have ended."""
    draw = random.Random(SEED)
    moments = sorted(draw.sample(in_mid_trial(whole), 3) + draw.sample(starts(whole), 2))
    assert_survives_kills_of_the_driver(place, whole, place.launch(), moments)


def test_a_worker_killed_twice(whole: Place, place: Place) -> None:
    """In mid-trial, and while one is swapped in; the same driver retries them, from their checkpoints."""
    draw = random.Random(SEED)
    moments = sorted([draw.choice(in_mid_trial(whole)), draw.choice(starts(whole))])
    cuts = []
    with place.run(*place.launch(retries=2)) as driver:
        for moment in moments:
            driver.wait_for_events(moment)
            driver.wait_for(lambda: bool(driver.workers()))
            for worker in driver.workers():
                worker.kill()
            cuts.append(Cut.of(place.folder))
        assert driver.finish() == 0, driver.said()
    assert count(place.folder, StartedRecord) == 12 + 2
    assert_same(place, whole)
    assert_reports_agree(place.folder)
    assert count_continued(place.folder, cuts) > 0


def test_a_killed_raylet(whole: Place, place: Place) -> None:
    """Ray would wait for ever for a raylet that does not return; the driver exits and says how to resume."""
    moment = random.Random(SEED).choice(in_mid_trial(whole))
    with place.run(*place.launch()) as driver:
        driver.wait_for_events(moment)
        driver.wait_for(lambda: freeze_in_mid_epoch(driver.workers(), place.folder))
        workers = driver.workers()
        try:
            driver.raylet().kill()
            assert driver.finish(60.0) == FAILED, driver.said()
        finally:  # if not frozen, they would train and report for epochs until the driver notices
            for worker in workers:
                worker.kill()
        assert "Ray died" in driver.said()
    cut = Cut.of(place.folder, workers)
    place.finish(*RESUME)
    assert_same(place, whole)
    assert_reports_agree(place.folder)
    assert count_continued(place.folder, [cut]) > 0


def test_two_workers_lose_nothing_and_double_nothing(whole: Place, place: Place) -> None:
    """The driver dies, is resumed, and then one of its workers dies."""
    moment = random.Random(SEED).randrange(8, len(events(whole.folder)) // 2)
    with place.run(*place.launch(concurrent=2, retries=1)) as driver:
        driver.wait_for_events(moment)
        driver.wait_for(lambda: freeze_in_mid_epoch(driver.workers(), place.folder))
        dead = driver.kill()
        for process in dead:
            if process.holds_an_actor:  # if not frozen, it would train to the epoch's end
                process.kill()
    cuts = [Cut.of(place.folder, dead)]
    with place.run(*RESUME) as driver:
        driver.wait_for_events(len(events(place.folder)) + 8)
        driver.wait_for(lambda: bool(driver.workers()))
        driver.workers()[0].kill()
        cuts.append(Cut.of(place.folder))
        assert driver.finish() == 0, driver.said()
    for process in dead:
        process.kill()
    trials = read_history(place.folder).trials
    assert sorted(trials) == list(range(12))
    assert {trial.outcome for trial in trials.values()} <= {Outcome.COMPLETED, Outcome.PRUNED}
    assert count(place.folder, EndedRecord) == 12
    for trial in trials.values():
        assert [r.epoch for r in trial.reports] == [float(e + 1) for e in range(len(trial.reports))]
        assert (trial.outcome is Outcome.COMPLETED) == (len(trial.reports) == 4)
    assert_reports_agree(place.folder)
    assert count_continued(place.folder, cuts) > 0
