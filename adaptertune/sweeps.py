"""Sweeps from Python: launch one, resume one, or read an experiment file without running it.

A sweep runs in this process, and the call returns when it ends. Errors are `AdaptertuneError`s, never an
exit of the process. Ctrl-C, and a notebook's button to interrupt, close the record and raise
KeyboardInterrupt: the sweep can be resumed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from adaptertune.errors import NoResultsError
from adaptertune.experiment_input import Given, Overrides, read_experiment
from analysis.api import Results
from trainables.errors import AdaptertuneError, ClusterError, StorageError
from trainables.wording import plural
from tuning.experiment.spec import Experiment
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import LEDGER, read_header
from tuning.ledger.outcomes import Ending
from tuning.ledger.storage import parse_reference, python_name, storage_folder
from tuning.messages import say

if TYPE_CHECKING:
    from tuning.run.driver import LaunchResult

Listener = Callable[[Any], None]
MOST_REASONS = 3
"""The most failed trials that an error lists with their reasons."""


def load(
    experiment: Given, *, set: Mapping[str, Any] | None = None, **overrides: Unpack[Overrides]
) -> Experiment:
    """An experiment, checked and with its overrides, as `launch` would run it. Nothing runs.

    Arguments and errors are those of `launch`.
    """
    return read_experiment(experiment, overrides, set, others=("set",))


def launch(
    experiment: Given,
    *,
    set: Mapping[str, Any] | None = None,
    storage: str | Path | None = None,
    address: str | None = None,
    progress: bool = True,
    **overrides: Unpack[Overrides],
) -> Results:
    """Run a new sweep to its end and return its results, as `open` gives them.

    experiment: a YAML file, the name of a shipped one, a dict with the content of a file (relative paths
    are relative to the current folder), or an `Experiment`.
    overrides: keys of the file, as `name="pets-2"`, `retries=1`, `trial={"epochs": 5}`; a mapping changes
    the keys in it and leaves the others, any other value replaces. `trials=20` is `search={"trials": 20}`.
    set: values by dotted key, as `{"scheduler": {"median": {}}}`; each replaces all that is there, like
    `--set` of the command. If a key is changed in both ways, `set` wins.
    storage: the folder of all experiments; by default `ADAPTERTUNE_STORAGE`, else `./experiments`.
    address: an existing Ray cluster, `auto` or `HOST:PORT`. A Ray that this process uses already is used as
    it is and stays up; else one is started and shut down.
    progress: a live table, in a notebook and on a terminal, else lines; False for lines everywhere.

    Raises ExperimentFileError with every error of the experiment before anything runs; StorageError if the
    name is taken or the disk is full; DataError, ModelError and ClusterError as they occur; NoResultsError if
    the sweep ran and no trial has a value; and KeyboardInterrupt after Ctrl-C, once the record is closed.
    After SIGTERM or SIGHUP the record is closed likewise, and the signal is raised again. In a thread that is
    not the main one Python delivers no signal; `adaptertune stop NAME` ends the sweep there. A sweep that
    `adaptertune stop` has ended is returned with the results so far.
    """
    others = ("set", "storage", "address", "progress")
    asked = read_experiment(experiment, overrides, set, others=others)
    asked.require_space()
    place = storage_folder(storage).absolute()
    folder = place / asked.name
    if (folder / LEDGER).exists():
        known = python_name(folder)
        raise StorageError(
            f"an experiment '{asked.name}' already exists in {place}: read it with adaptertune.open({known}),"
            f" continue it with adaptertune.resume({known}), or launch under another name with"
            f" name='{asked.name}-2'"
        )

    def run(on_event: Listener, _: Listener) -> LaunchResult:
        from tuning.run.launch import launch_experiment as begin

        return begin(asked, place, address=address, on_event=on_event)

    return _run_to_its_end(asked, run, progress)


def resume(
    name: str | Path,
    *,
    trials: int | None = None,
    epochs: int | None = None,
    retry_failed: bool = False,
    take_over: bool = False,
    move_data: Mapping[Any, str | os.PathLike[str]] | None = None,
    storage: str | Path | None = None,
    address: str | None = None,
    progress: bool = True,
) -> Results:
    """Continue a sweep after an interruption or a crash, as if nothing had happened.

    name: an experiment's name, or its folder.  trials: trials in all from now on, also of a finished
    sweep.  epochs: the budget of epochs in all from now on, of a sweep with `search.epochs`.
    retry_failed: start failed trials again.  take_over: if another process runs the sweep, it stops, and this
    one goes on.  move_data: where data are now, by the folder or file where they were, as
    `{"/scratch/1": "/scratch/2"}`; their content must be the same, and later calls and commands read them
    there.  The other arguments are those of `launch`.

    If the sweep is finished and neither `trials` nor `epochs` is given, scores that had failed are computed
    again, or views are brought up to date. Raises what `launch` raises, except errors of a file; LedgerError
    if another process runs the sweep, unless `take_over` is set; StorageError if there is no such experiment,
    or nothing to do of what is asked; DataError if the data are gone or have another content. What is refused
    leaves the experiment as it was.
    """
    for key, number in (("trials", trials), ("epochs", epochs)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise AdaptertuneError(f"{key} must be a whole number from 1 on, got {number!r}")
    if move_data is not None and not isinstance(move_data, Mapping):
        raise AdaptertuneError(
            f"move_data must be a mapping such as {{'/old': '/new'}}, got {type(move_data).__name__}"
        )
    reference = parse_reference(str(name), storage_folder(storage))
    if reference.trial is not None:
        raise StorageError(f"resume takes an experiment, not one of its trials, got {name}")
    folder = reference.folder

    def run(on_event: Listener, on_past: Listener) -> LaunchResult:
        from tuning.run.resume import resume_experiment as proceed

        return proceed(
            folder,
            trials=trials,
            epochs=epochs,
            retry_failed=retry_failed,
            take_over=take_over,
            move_data=move_data,
            address=address,
            on_past=on_past,
            on_event=on_event,
        )

    return _run_to_its_end(experiment_of(read_header(folder)), run, progress)


def _run_to_its_end(
    experiment: Experiment, run: Callable[[Listener, Listener], LaunchResult], progress: bool
) -> Results:
    """Run the sweep with its table; return its results, or raise if it ended in another way."""
    from adaptertune.live_table import table_of
    from tuning.cli.board import Board

    _require_own_packages_on_workers()
    board = Board(experiment)
    with table_of(board, live=progress) as table:
        result = run(table, board.observe)
    if result.signal is not None:
        _pass_on_signal(result.signal, result)
    if not (result.folder / LEDGER).exists():
        raise NoResultsError(f"{experiment.name} was stopped before its first trial; {_kept(result)}")
    results = Results((result.folder,))
    if result.outcome is Ending.INTERRUPTED:
        say(f"{experiment.name} was stopped; {_kept(result)}")
    elif result.no_results:
        raise NoResultsError(_why(result), results)
    return results


def _pass_on_signal(number: int, result: LaunchResult) -> None:
    """Raise the signal that ended the sweep again, now that the record is closed."""
    if result.preempted:
        say(f"{signal.Signals(number).name}: {result.folder.name} is interrupted; {_kept(result)}")
        signal.raise_signal(number)
        return
    ended = "finished" if result.outcome is Ending.FINISHED else "interrupted"
    raise KeyboardInterrupt(f"{result.folder.name} is {ended}; {_kept(result)}")


def _kept(result: LaunchResult) -> str:
    """What is recorded of a sweep that a signal or `stop` ended, and which calls use it."""
    if not (result.folder / LEDGER).exists():
        return "nothing is kept, and its name is free"
    known, tried = python_name(result.folder), result.history.trials.values()
    kept = f"{_recorded(len(tried))} in {result.folder}, {sum(t.over for t in tried)} of them ended"
    if result.outcome is Ending.FINISHED:
        return f"{kept}; adaptertune.open({known}) reads them"
    return f"{kept}; adaptertune.resume({known}) continues, adaptertune.open({known}) reads them"


def _recorded(trials: int) -> str:
    return f"{plural(trials, 'trial')} {'is' if trials == 1 else 'are'} recorded"


def _why(result: LaunchResult) -> str:
    """The message that no trial has a value, with the reasons of the first failed trials."""
    name, known = result.folder.name, python_name(result.folder)
    lost = [
        trial for trial in result.history.trials.values() if trial.ended is not None and trial.ended.reason
    ]
    reasons = [
        f"  trial {trial.number} {trial.outcome}: {trial.ended.reason}"
        for trial in lost[:MOST_REASONS]
        if trial.ended is not None
    ]
    if len(lost) > MOST_REASONS:
        reasons.append(f"  … and {len(lost) - MOST_REASONS} more")
    head = f"{name}: no trial has a value" if not result.has_value else f"{name}: the run failed"
    way = f"adaptertune.open({known}) reads it, adaptertune.resume({known}, retry_failed=True) tries again"
    return "\n".join([f"{head}; {way}", *reasons])


def _require_own_packages_on_workers() -> None:
    """Raise ClusterError if a Ray that this process already uses would import other packages as ours."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return
    from cluster.packages import foreign_on_workers

    foreign = foreign_on_workers()
    if foreign:
        found = ", ".join(f"'{name}' from {place}" for name, place in foreign.items())
        raise ClusterError(
            f"workers of the Ray that this process uses would import {found}, which is not adaptertune's:"
            " they see the folder that Ray was started in. Call ray.shutdown(), so that launch starts its own"
            " Ray, or start Ray from another folder"
        )
