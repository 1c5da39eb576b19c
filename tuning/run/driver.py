"""Drives a sweep that `launch` or `resume` begins: study, scheduler and actors, seen through to the end."""

from __future__ import annotations

import errno
import os
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from cluster.capacity import Capacity, does_not_fit
from cluster.connect import Cluster, connect
from cluster.packages import PACKAGES
from trainables.errors import StorageError
from trainables.run_folder import CONTROL, HALT, HALTED, LAST_STATE
from trainables.specs.job import TrialJob
from tuning.checkpoints.budget import Budget
from tuning.checkpoints.claim import claim
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.ledger import LEDGER, RAY_LOG
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.records import ClosedRecord, Ending, Outcome, Record, StartedRecord, StoppedRecord
from tuning.ledger.storage import checkpoint_root, trial_folder
from tuning.messages import FAILED, say
from tuning.run.prepared_data import Prepare, absolute_cache, in_background, wait_for
from tuning.run.reconcile import CarryOut, Continue, Retry, reconcile, replay
from tuning.run.scoring import Scorer, Scoring
from tuning.run.signals import Signals, halted_by_signals
from tuning.views.followers import Views
from tuning.views.registry import views_of

if TYPE_CHECKING:
    from tuning.run.ray_scheduler import Control, Rule
    from tuning.search.study import Proposal

TRAINABLE = "trainables.workers.ray_trainable:AdapterTrainable"
SAVE_WITHIN_S = 10.0
"""How long trials have to save their state when the sweep is interrupted."""
_UNLIMITED = 100_000


@dataclass(frozen=True)
class LaunchResult:
    """What became of a sweep."""

    folder: Path
    outcome: Ending
    history: History
    preempted: bool = False
    """Whether a SIGTERM ended it: it is meant to go on elsewhere, or later."""

    @property
    def no_results(self) -> bool:
        """Whether it failed, or no trial came to a value."""
        return self.outcome is Ending.FAILED or all(t.value is None for t in self.history.trials.values())


@dataclass(frozen=True)
class Composition:
    """What a driver runs.

    past: the record so far, of an experiment that goes on.  retry_failed: whether its failed trials
    start once more.
    """

    experiment: Experiment
    folder: Path
    sweep: Recorder
    trainable: type[Any] | None = None
    scorer: Scorer | None = None
    past: tuple[Record, ...] = ()
    retry_failed: bool = False


@contextmanager
def _in_plain_words() -> Iterator[None]:
    """A cluster that does not answer, and a full or read-only disk elsewhere, as StorageErrors."""
    try:
        yield
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise StorageError(str(error)) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise StorageError(
                f"cannot write {error.filename or 'temporary files'}: {error.strerror};"
                " make room there, or set TMPDIR to another disk"
            ) from error
        raise


def drive(of: Composition, *, prepare: Prepare | None = None, address: str | None = None) -> LaunchResult:
    """Run it to its end, to a signal or to `stop`. Raises as `launch` does."""
    with _in_plain_words(), absolute_cache(), halted_by_signals() as signals:
        claim(of.experiment, of.sweep.history.header)
        viewed = _viewed(of)
        prepared = in_background(prepare, of.experiment.workload)
        with viewed:
            ending = _run(of, prepared, address, signals)
    return LaunchResult(of.folder, ending, of.sweep.history, preempted=signals.sigterm)


def _viewed(of: Composition) -> Views:
    """The views, which follow the record from here on. Raises StorageError for one that cannot begin."""
    history = of.sweep.history
    views = Views(views_of(of.experiment, of.folder, history.header), history, say=say)
    of.sweep.listen(views.put)
    return views


def _run(of: Composition, prepared: Future[Path], address: str | None, signals: Signals) -> Ending:
    halted: Halt | None = None
    threads = of.experiment.resources.threads
    try:
        with connect(address, threads=threads, log=of.folder / RAY_LOG, give_up=_give_up) as cluster:
            signals.listen()  # Ray has just put its own handler for SIGTERM in place
            try:
                _fit(of, cluster, prepared, signals)
                ending = Ending.FINISHED
            except Halt as halt:
                halted, ending = halt, halt.ending
            except BaseException:
                _close(of.sweep, Ending.FAILED, signals)
                raise
            _close(of.sweep, ending, signals)
    except Halt as halt:  # while Ray came up
        halted, ending = halt, halt.ending
        _close(of.sweep, ending, signals)
    if halted is not None and halted.error is not None:
        raise halted.error
    return ending


def _close(sweep: Recorder, ending: Ending, signals: Signals) -> None:
    """Ends what still runs, and the record. A disk that takes no more leaves both as they are.

    From here on there is nothing left to interrupt: Ray goes down, whatever signal comes.
    """
    signals.only_note()
    with suppress(Halt):
        for number in sweep.unfinished():
            sweep.end(number, Outcome.INTERRUPTED)
        sweep.record(ClosedRecord(reason=ending))


def _fit(of: Composition, cluster: Cluster, prepared: Future[Path], signals: Signals) -> None:
    from ray import tune
    from ray.tune import CheckpointConfig, FailureConfig, RunConfig

    from tuning.run.ray_scheduler import Control, RecordingScheduler, build_rule
    from tuning.run.ray_searcher import OptunaSearcher
    from tuning.search.study import Study

    experiment, resources = of.experiment, of.experiment.resources
    rule = build_rule(experiment.scheduler, experiment.workload.direction, max_epochs=experiment.max_epochs)
    _settle(of, rule)
    budget = Budget(experiment, of.folder, of.sweep)
    budget.begin()
    gpus = _gpus(resources.gpus, cluster)
    _look_at_nodes(of, cluster)
    if (fault := does_not_fit(cluster.nodes(), cpus=resources.cpus, gpus=gpus)) is not None:
        raise StorageError(fault)
    study = Study(
        experiment.space,
        experiment.search,
        name=experiment.name,
        direction=experiment.workload.direction,
        trials=experiment.search.trials,
        history=of.sweep.history,
        earlier=of.sweep.history.earlier,
    )
    control = Control(of.folder, halted=signals.noted, lost=cluster.lost)
    scheduler = RecordingScheduler(
        rule, of.sweep, study, control, retries=experiment.retries, each_round=budget.look
    )
    searcher = OptunaSearcher(
        study,
        of.sweep,
        configure=_Configure(of, _ready(prepared, of, control)),
        capacity=Capacity(cluster.nodes, resources.cpus, gpus, resources.concurrent, changed=_say_how_many),
        retries=experiment.retries,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner = tune.Tuner(
            tune.with_resources(_trainable(of.trainable), {"CPU": resources.cpus, "GPU": gpus}),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=_UNLIMITED,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=RunConfig(
                name=experiment.name,
                storage_path=str(cluster.scratch),
                # Checkpoints are the trainable's own; Ray would fetch one at each trial's end.
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                failure_config=FailureConfig(max_failures=0),  # trials are tried again by the study
                verbose=0,
            ),
        )
        try:
            with signals.only_noted():
                if searcher.begin():
                    tuner.fit()
        except Halt:
            if not cluster.lost():
                _save_running(of)
            if not cluster.owned and not cluster.lost() and scheduler.controller is not None:
                scheduler.controller._tune_controller.cleanup()
            raise
    with signals.only_noted():
        _score(of, prepared.result(), gpus, control)
        budget.finish()


def _give_up() -> None:
    """The driver hangs in a call to a cluster that is lost. Its record goes on as that of a killed one."""
    say(
        "the Ray cluster no longer answers: its head or this machine's raylet was killed, or the network is"
        " gone. The sweep goes on with `adaptertune resume`"
    )
    os._exit(FAILED)


def _say_how_many(before: int, now: int) -> None:
    say(f"nodes have {'joined' if now > before else 'left'}: {now} trials at once, {before} before")


def _look_at_nodes(of: Composition, cluster: Cluster) -> None:
    """Of a cluster that was there before. Raises StorageError where one of its nodes cannot run trials."""
    if not cluster.joined:
        return
    from cluster.health.nodes import examine

    faults, notes = examine(of.folder / LEDGER)
    if faults:
        raise StorageError("\n".join(faults))
    for note in notes:
        say(note)


def _settle(of: Composition, rule: Rule | None) -> None:
    """Bring `rule` to where the last driver left it, and carry out what was decided by then."""
    if not of.past:
        return
    history, sweep = of.sweep.history, of.sweep
    checkpoints = checkpoint_root(of.experiment, of.folder)
    kept = {
        number
        for number, trial in history.trials.items()
        if not trial.over and (trial_folder(checkpoints, number) / LAST_STATE).exists()
    }
    for action in reconcile(history, replay(of.past, rule), kept, retry_failed=of.retry_failed):
        trial = sweep.trial(action.trial)
        match action:
            case CarryOut():
                if action.asked and rule is not None:
                    sweep.record(StoppedRecord(trial=trial.number, by=rule.by, epoch=trial.epoch))
                sweep.end(trial.number, action.outcome, reuses=action.of)
            case Retry():
                sweep.record(StartedRecord(trial=trial.number, params=dict(trial.params), hash=trial.hash))
            case Continue():  # the study proposes it again, under its number
                pass
            case _:
                assert_never(action)


def _save_running(of: Composition) -> None:
    """Let trials that run save their state before they are ended; a silent one is not waited for."""
    if of.trainable is not None:
        return
    waiting = {trial_folder(of.folder, number) for number in of.sweep.unfinished()}
    (of.folder / CONTROL / HALT).parent.mkdir(exist_ok=True)
    (of.folder / CONTROL / HALT).touch()
    deadline = time.monotonic() + SAVE_WITHIN_S
    while waiting and time.monotonic() < deadline:
        time.sleep(0.1)
        waiting = {folder for folder in waiting if folder.is_dir() and not (folder / HALTED).exists()}
    for number in of.sweep.unfinished():
        (trial_folder(of.folder, number) / HALTED).unlink(missing_ok=True)
    (of.folder / CONTROL / HALT).unlink(missing_ok=True)


def _score(of: Composition, prepared: Path, gpus: float, control: Control) -> None:
    if of.scorer is not None:
        _send_along(of.scorer.__module__)
    resources = of.experiment.resources
    Scoring(
        of.experiment,
        of.folder,
        prepared,
        cpus=resources.cpus,
        gpus=gpus,
        most=resources.concurrent or _UNLIMITED,
        stopped=control.end_asked,
        scorer=of.scorer,
    ).run(of.sweep)


def _ready(prepared: Future[Path], of: Composition, control: Control) -> Path:
    return wait_for(prepared, of.experiment, of.folder, of.sweep, stopped=control.end_asked)


def _name(trial: Any) -> str:
    return f"{trial.config['trial']:04d}"


def _trainable(given: type[Any] | None) -> type[Any]:
    if given is None:
        from cluster.ray_worker import Worker

        return Worker
    for base in given.__mro__:
        _send_along(base.__module__)
    return given


def _send_along(module: str) -> None:
    """Workers see the five packages and what is installed; what other modules define travels whole."""
    from ray import cloudpickle

    if module.split(".")[0] not in (*PACKAGES, "ray", "builtins"):
        cloudpickle.register_pickle_by_value(sys.modules[module])


def _gpus(asked: float | str, cluster: Cluster) -> float:
    if asked == "auto":
        return 1.0 if any(node.gpus for node in cluster.nodes()) else 0.0
    return float(asked)


@dataclass(frozen=True)
class _Configure:
    """A proposal as the configuration of Ray's trial."""

    of: Composition
    prepared: Path

    def __call__(self, proposal: Proposal) -> dict[str, Any]:
        experiment, folder, number = self.of.experiment, self.of.folder, proposal.number
        return TrialJob(
            trial=number,
            config=experiment.trial_config(proposal.params),
            experiment=folder,
            folder=trial_folder(folder, number),
            checkpoints=str(trial_folder(checkpoint_root(experiment, folder), number)),
            workload=experiment.workload,
            prepared=self.prepared,
            threads=experiment.resources.threads,
            save_every_s=experiment.checkpoints.every_s,
            save_every_epochs=experiment.checkpoints.every_epochs,
            trainable=TRAINABLE,
        ).for_ray()
