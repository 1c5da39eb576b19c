"""The driver of a sweep, for `launch` and `resume`: it runs study, scheduler and actors to the end."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGINT

from cluster.capacity import Needs
from cluster.connect import Cluster, connect
from trainables.errors import StorageError
from trainables.wording import plural
from tuning.checkpoints.budget import Budget
from tuning.checkpoints.store_folder_claim import claim_store_folder
from tuning.exit_codes import FAILED
from tuning.ledger.history import History
from tuning.ledger.ledger import LEDGER, RAY_LOG
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.records import ClosedRecord
from tuning.ledger.requests import requests_in
from tuning.ledger.storage import shell_name
from tuning.messages import say
from tuning.run.composition import Composition
from tuning.run.control import Control
from tuning.run.early_imports import FOR_FIT, import_in_background, preload_for
from tuning.run.our_errors import as_our_errors
from tuning.run.prepared_data import (
    Prepare,
    absolute_cache,
    prepare_in_background,
    wait_for_data,
)
from tuning.run.ray_tuner import UNLIMITED, build_tuner
from tuning.run.room.wait_for_room import wait_for_room
from tuning.run.room.worker_needs import WorkerNeeds
from tuning.run.saving import save_running
from tuning.run.scoring import Scoring
from tuning.run.sent_code import send_along
from tuning.run.settling import settle
from tuning.run.signals import Signals
from tuning.run.steering.build_inbox import build_inbox
from tuning.run.timing import Timing
from tuning.run.trial_tasks import TrialTasks
from tuning.search.warm_start import record_earlier_trials
from tuning.views.followers import Views
from tuning.views.registry import views_of


@dataclass(frozen=True)
class LaunchResult:
    """The result of a sweep."""

    folder: Path
    outcome: Ending
    history: History
    signal: int | None = None
    """The signal that came while it ran; None after `adaptertune stop` as well."""

    @property
    def preempted(self) -> bool:
        """Whether SIGTERM or SIGHUP ended it: it is meant to continue elsewhere, or later."""
        return self.signal is not None and self.signal != SIGINT

    @property
    def has_value(self) -> bool:
        """Whether a trial has a value."""
        return any(trial.value is not None for trial in self.history.trials.values())

    @property
    def no_results(self) -> bool:
        """Whether it failed, or no trial has a value."""
        return self.outcome is Ending.FAILED or not self.has_value


def drive_sweep(
    of: Composition, signals: Signals, *, prepare: Prepare | None = None, address: str | None = None
) -> LaunchResult:
    """Run a sweep until its end, a signal, or `adaptertune stop`. Raises what `launch_experiment` raises."""
    with (
        as_our_errors(),
        absolute_cache(),
        ExitStack() as viewed,  # the views are the last to go: they see the record closed
    ):
        views: Views | None = None
        try:
            signals.check()
            claim_store_folder(of.experiment, of.recorder.history.header)
            views = viewed.enter_context(_viewed(of))
            signals.check()
            _run(of, prepare, address, signals)
            ending = Ending.FINISHED
        except Halt as halt:
            ending = halt.ending
            if of.recorder.history.closed is None:  # it came before Ray was up
                _close(of.recorder, ending)
            if halt.error is not None:
                raise halt.error from halt
        finally:
            # Nothing is recorded, so there is nothing to show; or the views are another driver's.
            if of.recorder.pending is not None or of.recorder.superseded():
                viewed.pop_all()
                if views is not None:
                    views.abandon()
    history = of.recorder.before if of.recorder.pending else of.recorder.history
    return LaunchResult(of.folder, ending, history, signals.number)


def _viewed(of: Composition) -> Views:
    """Return the views, which follow the record from now on. Raises StorageError if one cannot start."""
    history = of.recorder.history
    views = Views(views_of(of.experiment, of.folder, history.header), history, say=say)
    of.recorder.listen(views.put)
    return views


def _run(of: Composition, prepare: Prepare | None, address: str | None, signals: Signals) -> None:
    """Start Ray, run the sweep and close the record. Raises Halt if a signal or `stop` ends it."""
    prepared: Future[Path] = Future()

    def meanwhile() -> None:  # Ray's start is mostly waiting
        prepare_in_background(prepare, of.experiment.workload, prepared)
        import_in_background(FOR_FIT)

    with connect(
        address,
        threads=of.experiment.resources.threads,
        log=of.folder / RAY_LOG,
        give_up=_give_up,
        preload=preload_for(of),
        meanwhile=meanwhile,
    ) as cluster:
        try:
            signals.check()
            _fit(of, cluster, prepared, signals)
        except BaseException as error:
            _close(of.recorder, error.ending if isinstance(error, Halt) else Ending.FAILED)
            raise
        _close(of.recorder, Ending.FINISHED)


def _close(recorder: Recorder, ending: Ending) -> None:
    """End the trials that still run, and close the record. If the disk is full, both stay as they are.

    A resume that was refused, before anything was recorded, leaves the record as it was; one that was
    interrupted is recorded, unless its data may be at a new place where they were not checked.
    """
    if (begins := recorder.pending) is not None and (ending is Ending.FAILED or begins.moved):
        return
    with suppress(Halt):
        for number in recorder.unfinished():
            recorder.end(number, Outcome.INTERRUPTED)
        recorder.record(ClosedRecord(reason=ending))


def _fit(of: Composition, cluster: Cluster, prepared: Future[Path], signals: Signals) -> None:
    from tuning.run.ray_parts import build_ray_parts
    from tuning.run.reconcile import follow
    from tuning.run.steering.paused_sweep import end_if_trials_are_paused, wait_while_paused
    from tuning.run.stopping.exploits import Exploits
    from tuning.run.stopping.resting import end_resting, resting_of
    from tuning.run.stopping.search_end import SearchEnd
    from tuning.run.stopping.sweep_rule import build_sweep_rule
    from tuning.scheduling.rule import PopulationRule
    from tuning.search.study import Study

    experiment = of.experiment
    # All that may refuse the sweep comes first: until then nothing is recorded of a resume.
    needs = WorkerNeeds(experiment.resources)
    wait_for_room(cluster, needs, signals.check)
    _check_nodes(of, cluster)
    control = Control(
        of.folder,
        halted=signals.noted,
        lost=cluster.lost,
        require_ours=of.recorder.require_ours,
        left=of.left,
    )
    reserved = needs(cluster.nodes()) if cluster.joined else None
    data = wait_for_data(
        prepared, experiment, of.folder, of.recorder, stopped=control.end_asked, needs=reserved
    )
    record_earlier_trials(of.earlier, of.recorder)
    rule = build_sweep_rule(experiment, of.recorder)
    of.recorder.listen(partial(follow, rule=rule))
    settle(of, rule)
    budget = Budget(experiment, of.folder, of.recorder)
    budget.begin()
    resting = resting_of(rule, of.recorder)
    study = Study(
        experiment.space,
        experiment.search,
        name=experiment.name,
        direction=experiment.workload.direction,
        trials=experiment.search.trials,
        goals=of.recorder.goals,
        history=of.recorder.history,
        earlier=of.recorder.history.earlier,
        resting=resting,
        paused=lambda: of.recorder.history.paused,
        end=SearchEnd(experiment, of.recorder),
    )
    if resting is not None and isinstance(rule, PopulationRule):
        resting.first = Exploits(of, rule, study).carry_out
    inbox = build_inbox(of, study)
    inbox.take()
    signals.check()

    def each_round() -> None:
        budget.check()
        inbox.check()

    name, searching = shell_name(of.folder), True
    while searching:
        searcher, scheduler = build_ray_parts(
            of, study, rule, control, data=data, nodes=cluster.nodes, needs=needs, each_round=each_round
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tuner = build_tuner(of, searcher, scheduler, scratch=cluster.scratch)
            try:
                if searcher.begin():
                    tuner.fit()
                inbox.take()
                searching = wait_while_paused(of.recorder, scheduler, name) or study.continues
            except Halt:
                if not cluster.lost() and not of.recorder.superseded():
                    save_running(of)
                if not cluster.owned and not cluster.lost() and scheduler.controller is not None:
                    scheduler.controller._tune_controller.cleanup()
                raise
    end_if_trials_are_paused(of.recorder, name)
    end_resting(rule, of.recorder, study)
    _score(of, data, needs(cluster.nodes()), control)
    budget.finish()
    if late := requests_in(of.folder):
        say(
            f"{plural(len(late), 'request')} came when the search had ended;"
            f" `adaptertune resume {name}` takes {'it' if len(late) == 1 else 'them'} up"
        )


def _give_up() -> None:
    """Exit because the driver hangs in a call to a lost cluster; it can be resumed like a killed driver."""
    say(
        "the Ray cluster no longer answers: its head or this machine's raylet was killed, or the network is"
        " down. Continue the sweep with `adaptertune resume`"
    )
    os._exit(FAILED)


def _check_nodes(of: Composition, cluster: Cluster) -> None:
    """Check the nodes of an existing cluster. Raises StorageError if one of them cannot run trials."""
    if not cluster.joined:
        return
    from cluster.health.nodes import examine_nodes

    errors, notes = examine_nodes(of.folder / LEDGER)
    if errors:
        raise StorageError("\n".join(errors))
    for note in notes:
        say(note)


def _score(of: Composition, prepared: Path, needs: Needs, control: Control) -> None:
    if of.scorer is not None:
        send_along(of.scorer.__module__)
    tasks = TrialTasks(of.experiment, of.folder, prepared, needs, stopped=control.end_asked)
    Scoring(tasks, most=of.experiment.resources.concurrent or UNLIMITED, scorer=of.scorer).run(of.recorder)
    if of.scorer is not None:
        return  # it may score without weights
    if (reason := Timing(tasks).run(of.recorder)) is not None:
        say(f"the latency of the scored trials was not measured: {reason}")
