"""Timing the scored trials after a search, with a timer of the test's own in place of models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ray import cloudpickle
from recorded import DOMAINS, SCORES, TRIALS, experiment, write

from cluster.capacity import Needs
from trainables.specs.job import Latency, TimingJob, TimingResult
from tuning.ledger.ledger import Ledger, read_history
from tuning.ledger.outcomes import Ending
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.records import Record, RemovedRecord, ScoredRecord
from tuning.run.timing import Timer, Timing
from tuning.run.trial_tasks import TrialTasks

pytestmark = pytest.mark.usefixtures("ray_once")


@pytest.fixture(autouse=True)
def _sent_along() -> None:
    import tests.tuning.run.test_timing as this

    cloudpickle.register_pickle_by_value(this)


def by_number(job: TimingJob) -> TimingResult:
    """A latency for each trial that the job names, as large as its number."""
    assert job.weights.keys() == job.folders.keys()
    assert all(path.endswith(f"/{number:04d}/best.ckpt") for number, path in job.weights.items())
    found = {n: Latency(median_ms=n + 1.0, low_ms=n + 0.5, high_ms=n + 1.5) for n in job.weights}
    return TimingResult(latency=found)


def fails(job: TimingJob) -> TimingResult:
    raise ValueError("no memory")


def run(
    folder: Path, timer: Timer, stopped: Callable[[], bool] = lambda: False, also: Record | None = None
) -> tuple[str | None, list[Record]]:
    """What the timing says, and what it records."""
    events: list[Record] = []
    with Ledger.open(folder) as ledger:
        recorder = Recorder(ledger, read_history(folder))
        if also is not None:
            recorder.record(also)
        recorder.listen(events.append)
        asked = experiment(folder.name, data={"embedded": {"domain": "inverted"}, "domains": DOMAINS})
        tasks = TrialTasks(asked, folder, folder / "data", Needs(1.0, 0.0), stopped=stopped)
        return Timing(tasks, timer).run(recorder), events


def scored(tmp_path: Path) -> Path:
    return write(tmp_path / "sweep", TRIALS, scores=SCORES, closed=None)


def test_all_scored_trials_that_have_weights_are_recorded_again_with_their_latency(tmp_path: Path) -> None:
    folder = scored(tmp_path)
    before = read_history(folder).scores
    gone = RemovedRecord(trial=1, files=["best.ckpt"], bytes=1)
    reason, events = run(folder, by_number, also=gone)
    assert reason is None
    # Trial 2 could not be scored, 1 has no weights any more, None is the pretrained baseline.
    assert [event.trial for event in events if isinstance(event, ScoredRecord)] == [0, 4]
    after = read_history(folder).scores
    assert after[4].metrics == before[4].metrics
    assert after[4].domains == before[4].domains
    assert (after[4].latency_low_ms, after[4].latency_ms, after[4].latency_high_ms) == (4.5, 5.0, 5.5)
    assert after[1] == before[1]
    assert run(folder, fails) == (None, [])  # all have been timed together


def test_a_new_score_means_a_new_measurement_of_all(tmp_path: Path) -> None:
    folder = scored(tmp_path)
    run(folder, by_number)
    new = ScoredRecord(trial=5, epoch=1.0, metrics={"dice": 0.1})
    _, events = run(folder, by_number, also=new)
    assert [event.trial for event in events if isinstance(event, ScoredRecord)] == [0, 1, 4, 5]


def test_a_timing_that_fails_is_said_and_changes_nothing(tmp_path: Path) -> None:
    reason, events = run(scored(tmp_path), fails)
    assert reason == "ValueError: no memory"
    assert events == []


def test_an_interrupt_ends_the_timing(tmp_path: Path) -> None:
    with pytest.raises(Halt) as halted:
        run(scored(tmp_path), by_number_later, stopped=lambda: True)
    assert halted.value.ending is Ending.INTERRUPTED


def by_number_later(job: TimingJob) -> TimingResult:
    import time

    time.sleep(60)
    return by_number(job)
