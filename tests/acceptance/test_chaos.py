"""A real sweep with processes killed without warning, then resumed, equals the uninterrupted sweep.

Twelve trials with ASHA and TPE on embedded data. With one worker the order of all events is defined,
so configurations, curves, decisions, weights and the best trial must agree to the bit. With two it is
not, so no trial may be lost or duplicated, and no step that is in a checkpoint is trained again.
"""

from __future__ import annotations

import ctypes
import os
import random
import re
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from chaos import (
    BATCH,
    NAME,
    Driver,
    Place,
    Process,
    descendants,
    events,
    freeze,
    freeze_in_mid_epoch,
    lines,
    saved_steps,
    thaw,
    wait_until,
)
from marks import exhaustive

from trainables.training.checkpoint import read_weights
from tuning.exit_codes import FAILED, PREEMPTED, USER_ERROR
from tuning.ledger.ledger import DRIVER_LOG, read_history, read_records
from tuning.ledger.outcomes import Ending, Outcome, StoppedBy
from tuning.ledger.records import EndedRecord, ReportRecord, ResumedRecord, StartedRecord

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
RESUME = ("resume", NAME)
SEED = 4
PR_SET_CHILD_SUBREAPER = 36
"""Of prctl(2): the process becomes the parent of its descendants whose parents have ended."""


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
                unlike = {"time", "saved"}  # a checkpoint that was written again holds its new start's number
                assert report.model_dump(exclude=unlike) == before.model_dump(exclude=unlike)
                assert before.saved.keys() <= report.saved.keys()
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


@pytest.mark.parametrize(("in_trials", "at_starts"), [(1, 1), exhaustive(3, 2)])
def test_a_driver_killed_several_times(whole: Place, place: Place, in_trials: int, at_starts: int) -> None:
    """Each kill is at a number of events, and the sweep is resumed when the driver's workers have ended."""
    draw = random.Random(SEED)
    moments = sorted(draw.sample(in_mid_trial(whole), in_trials) + draw.sample(starts(whole), at_starts))
    assert_survives_kills_of_the_driver(place, whole, place.launch(), moments)


@pytest.mark.exhaustive
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


@pytest.mark.exhaustive
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


@pytest.mark.parametrize(
    ("option", "number"),
    [
        pytest.param((), signal.SIGTERM, id="sigterm"),
        exhaustive(("--supervise",), signal.SIGHUP, id="supervised, sighup"),
        exhaustive((), signal.SIGHUP, id="sighup"),
        exhaustive(("--supervise",), signal.SIGTERM, id="supervised, sigterm"),
        exhaustive(("--detach",), signal.SIGTERM, id="detached, sigterm"),
        exhaustive(("--detach", "--supervise"), signal.SIGTERM, id="detached and supervised, sigterm"),
    ],
)
def test_a_sweep_preempted_while_it_trains(
    whole: Place, place: Place, option: tuple[str, ...], number: signal.Signals
) -> None:
    """Ray's own handlers are in place by then."""
    place = replace(place, inside=("env", "--default-signal=HUP"))  # these tests may run under `nohup`
    with place.run(*place.launch(), *option) as driver:
        if "--detach" in option:
            code = preempted_in_background(driver, number)
        else:
            driver.wait_for_events(3)
            driver.process.send_signal(number)
            code = driver.finish()
    assert code == PREEMPTED, driver.said()
    history = read_history(place.folder)
    assert history.closed is not None, driver.said()
    assert history.closed.reason is Ending.INTERRUPTED
    assert len(history.trials) < 12
    written = place.folder / DRIVER_LOG if "--detach" in option else driver.output
    assert "Traceback" not in written.read_text()
    assert "`adaptertune resume" in written.read_text()
    place.finish(*RESUME)
    assert_same(place, whole)
    assert_reports_agree(place.folder)


def preempted_in_background(driver: Driver, number: signal.Signals) -> int:
    """Send the signal to the process that a launch with `--detach` has left; returns its exit code."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0  # it becomes a child of this process
    try:
        assert driver.finish() == 0, driver.said()
        found = re.search(r"as process (\d+)", driver.said())
        assert found is not None, driver.said()
        process = int(found[1])
        try:
            wait_until(lambda: len(events(driver.folder)) >= 3)
            os.kill(process, number)
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        except BaseException:
            for each in (*descendants(process), Process.read(process)):
                if each is not None:
                    each.kill()
            raise
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.exhaustive
def test_a_frozen_driver_is_taken_over_and_stops_when_it_thaws(whole: Place, place: Place) -> None:
    """It holds its lock all the time. The one that took over is healthy, and is taken over in its turn."""
    draw, take_over = random.Random(SEED), (*RESUME, "--take-over")
    early, late = sorted(draw.sample(in_mid_trial(whole)[:-4], 2))
    with place.run(*place.launch()) as first:
        first.wait_for_events(early)
        frozen = freeze(first.process.pid)
        try:
            with place.run(*RESUME) as refused:
                assert refused.finish() == USER_ERROR
            with place.run(*take_over) as second:
                second.wait_for(lambda: count(place.folder, ResumedRecord) == 1)
                second.wait_for_events(late)
                thaw(frozen)
                assert first.finish() == USER_ERROR, first.said()
                with place.run(*take_over) as third:
                    assert second.finish() == USER_ERROR, second.said()
                    assert third.finish() == 0, third.said()
        finally:
            thaw(frozen)
    said = first.said()  # of all four
    assert "another driver is running chaos" in said
    assert [f"attempt {number}, may write no more" in said for number in (1, 2, 3)] == [True, True, False]
    attempts = [r.attempt for r in read_records(place.folder) if isinstance(r, ResumedRecord)]
    assert attempts == [2, 3]
    assert_same(place, whole)
    assert_reports_agree(place.folder)


@pytest.mark.exhaustive
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
