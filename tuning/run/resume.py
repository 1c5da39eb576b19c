"""Resumes a sweep: after Ctrl-C, after any process died, or to add trials.

Ray restores nothing here. The record is replayed through a new stopping rule and a new study, recorded
decisions are carried out, and unfinished trials continue under their own numbers.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

from trainables.errors import DataError, StorageError
from trainables.wording import plural
from tuning.experiment.moved_data import absent_paths, check_moves, shared_folder
from tuning.experiment.spec import Experiment
from tuning.ledger.environment import describe_environment
from tuning.ledger.header import experiment_of
from tuning.ledger.history import History
from tuning.ledger.ledger import Ledger, read_history, read_records
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.recorder import Listener, Recorder
from tuning.ledger.records import ClosedRecord, ResumedRecord
from tuning.ledger.requests import requests_in
from tuning.ledger.storage import shell_name
from tuning.messages import say
from tuning.run.composition import Composition
from tuning.run.driver import LaunchResult, drive_sweep
from tuning.run.left_behind import LeftBehind
from tuning.run.prepared_data import Prepare, absolute_cache, prepare_now, record_data
from tuning.run.scoring import Scorer, has_scores_to_retry
from tuning.run.signals import halted_by_signals
from tuning.run.stopping.extension import Extension
from tuning.search.warm_start import read_earlier_trials
from tuning.views.followers import bring_up_to_date
from tuning.views.registry import views_of


def resume_experiment(
    folder: Path,
    *,
    trials: int | None = None,
    epochs: int | None = None,
    retry_failed: bool = False,
    take_over: bool = False,
    move_data: Mapping[Any, str | os.PathLike[str]] | None = None,
    address: str | None = None,
    trainable: type[Any] | None = None,
    prepare: Prepare | None = None,
    scorer: Scorer | None = None,
    on_past: Listener | None = None,
    on_event: Listener | None = None,
) -> LaunchResult:
    """Continue an experiment to its end. Arguments that are not listed are those of `launch_experiment`.

    trials: the total number of trials; at least as many as exist.  epochs: the budget of epochs in all, for
    an experiment that has one; at least as many as were run.  retry_failed: failed trials start
    again, from their checkpoints if there are any.  take_over: a driver that runs it stops, and this one goes
    on; otherwise this one is refused.  move_data: where data are now, by the folder or file
    where they were; the same content must be there.  on_past: called with each existing record.

    A finished experiment trains nothing: scores that had failed are computed again; if there are none, its
    views are brought up to date, without Ray.

    Raises LedgerError if another driver runs it, StorageError if `trials`, `epochs` or `retry_failed` leave
    nothing to do or the disk is full, AdaptertuneError if `move_data` names no data, DataError if the data
    are gone or have changed. Until all of this is checked, nothing is recorded.
    """
    folder = folder.absolute()
    with Ledger.open(folder, take_over=take_over) as ledger:
        with _collector_rests():
            past = tuple(read_records(folder))
            history = read_history(folder, past)
            begun = experiment_of(history.header)
            ledger.durable = begun.durable
            moved = check_moves(move_data or {}, begun)
            more = Extension.of(begun, history, trials=trials, epochs=epochs)
            idle = _idle(begun, history, folder, more, retry_failed)
            left = LeftBehind.found_in(folder, history)
            if on_past is not None:
                for each in past:
                    on_past(each)
        record = ResumedRecord(
            trials=trials,
            epochs=epochs,
            moved=moved,
            environment=describe_environment(),
            attempt=ledger.attempt,
        )
        recorder = Recorder(ledger, history, on_event, resumed=record, begun=left.forget)
        if idle is not None:
            if moved:
                _record_move(recorder, folder, prepare)
                say(f"{history.name} is finished; what has moved is now at {', '.join(moved.values())}")
                return LaunchResult(folder, Ending.FINISHED, recorder.history)
            _show_the_rest(begun, history, folder)
            if more.asked or retry_failed:
                raise StorageError(idle)
            say(idle)
            return LaunchResult(folder, Ending.FINISHED, history)
        # Only a driver that died before the first trial has left some of them unread.
        earlier = (
            [] if history.trials else read_earlier_trials(begun, folder.parent, known=len(history.earlier))
        )
        now = experiment_of(recorder.history.header)
        _require_data(now, folder)
        if more.told is not None:
            say(more.told)
        if (named := now.search.optuna) is not None and not named.replayable:
            say(
                f"search.optuna: {named.sampler} is not replayable, so what it proposes from here on is not"
                " what an uninterrupted sweep would have proposed"
            )
        composition = Composition(
            now,
            folder,
            recorder,
            trainable=trainable,
            scorer=scorer,
            past=past,
            retry_failed=retry_failed,
            earlier=tuple(earlier),
            left=left,
        )
        with halted_by_signals() as signals:
            return drive_sweep(composition, signals, prepare=prepare, address=address)


@contextmanager
def _collector_rests() -> Iterator[None]:
    """Pause the garbage collector: scanning the record again and again takes seconds, and it stays anyway."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _idle(
    experiment: Experiment, history: History, folder: Path, more: Extension, retry_failed: bool
) -> str | None:
    """Return why nothing is left to do, or None."""
    failed = sum(trial.outcome is Outcome.FAILED for trial in history.trials.values())
    if not history.finished or requests_in(folder):
        return None
    if more.goes_on or (retry_failed and failed) or has_scores_to_retry(experiment, history):
        return None
    name = shell_name(folder)
    again = ""
    if failed:
        again = (
            f", or `--retry-failed` (retry_failed=True) starts its {plural(failed, 'failed trial')} once more"
        )
    return f"{more.why_finished}; `adaptertune resume {name} {more.way_on}{again}"


def _require_data(experiment: Experiment, folder: Path) -> None:
    """Raise DataError for data that are not where they were, with the way to say where they are."""
    if not (absent := absent_paths(experiment)):
        return
    lines = "".join(f"\n  {key}: nothing is at {path}" for key, path in absent.items())
    old = shared_folder(absent.values())
    raise DataError(
        f"{experiment.name} needs its data where they were:{lines}\n"
        f"If they are elsewhere now: `adaptertune resume {shell_name(folder)} --move-data {quote(old)}=NEW`;"
        " their content is compared with that of the launch"
    )


def _record_move(recorder: Recorder, folder: Path, prepare: Prepare | None) -> None:
    """Check the data of a finished sweep at their new place, and record the place; then complete its views.

    Raises StorageError, after the record, if a view fails.
    """
    now, scoring = experiment_of(recorder.history.header), recorder.before.scoring
    _require_data(now, folder)
    with absolute_cache():
        record_data((prepare or prepare_now)(now.workload), now, folder, recorder)
    if scoring is not None:
        recorder.record(scoring)
    recorder.record(ClosedRecord(reason=Ending.FINISHED))
    _show_the_rest(now, recorder.history, folder)


def _show_the_rest(experiment: Experiment, history: History, folder: Path) -> None:
    """Complete views that were interrupted, failed or deleted. Raises StorageError if one fails again."""
    bring_up_to_date(views_of(experiment, folder, history.header), history)
    say("views are up to date")
