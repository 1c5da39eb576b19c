"""A sweep from an experiment: composes study, scheduler and actors, and sees them through."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.connect import Cluster, connect
from cluster.resources import Capacity, does_not_fit
from cluster.staging import PACKAGES
from trainables.errors import AdaptertuneError, DataError, StorageError
from trainables.workload import Workload
from tuning.checks import class_fault
from tuning.environment import describe
from tuning.experiment import Experiment
from tuning.ledger import (
    DRIVER_LOG,
    LEDGER,
    RAY_LOG,
    ClosedRecord,
    Ending,
    ExperimentRecord,
    History,
    Ledger,
    Outcome,
    PreparedRecord,
)
from tuning.scoring import Scorer, Scoring
from tuning.signals import Signals, halted_by_signals
from tuning.state import Halt, Listener, Sweep
from tuning.storage import named

if TYPE_CHECKING:
    from tuning.schedulers import Control

TRAINABLE = "trainables.actor:AdapterTrainable"
SPLITS = "splits.json"
"""Names of the images of each part, in the experiment's folder."""
LOOK_EVERY_S = 0.5
_UNLIMITED = 100_000

Prepare = Callable[[Workload], Path]


@dataclass(frozen=True)
class LaunchResult:
    """What became of a sweep."""

    folder: Path
    outcome: Ending
    history: History


def launch(
    experiment: Experiment,
    storage: Path,
    *,
    trials: int | None = None,
    address: str | None = None,
    trainable: type[Any] | None = None,
    prepare: Prepare | None = None,
    scorer: Scorer | None = None,
    on_event: Listener | None = None,
) -> LaunchResult:
    """Runs a new experiment to its end, to Ctrl-C or to `stop`; the last two end it as `interrupted`.

    trials: in place of the experiment's own number.  address: an existing Ray cluster's.
    trainable: a Ray trainable in place of the adapters' own.  prepare: gives the folder of prepared
    data that trainables get.  scorer: in place of ours, once the search is over.  on_event: is told
    every record as soon as it is written.

    Raises StorageError where the name is taken or the disk takes no more, and what preparation raises.
    """
    experiment.require_space()
    folder = (storage / experiment.name).absolute()
    refuse_existing(folder, experiment.name)
    header = ExperimentRecord(
        name=experiment.name,
        file=experiment.source_text,
        experiment=experiment.model_dump(mode="json", exclude={"source_text"}),
        environment=describe(),
    )
    with Ledger.create(folder, header) as ledger:
        sweep = Sweep(ledger, History(header), on_event)
        composition = _Composition(experiment, folder, sweep, trials, trainable, scorer)
        with _absolute_cache(), halted_by_signals() as signals, _name_left_free(folder, sweep):
            prepared = _in_background(prepare or _prepare, experiment.workload)
            ending = _run(composition, prepared, address, signals)
    return LaunchResult(folder, ending, sweep.history)


def refuse_existing(folder: Path, name: str) -> None:
    """Raises StorageError where the folder holds an experiment."""
    if (folder / LEDGER).exists():
        known = named(folder)
        raise StorageError(
            f"an experiment '{name}' already exists in {folder.parent}; see it with"
            f" `adaptertune status {known}` or `adaptertune best {known}`, launch under another name with"
            f" `--name {name}-2`, or remove {folder}"
        )


@contextmanager
def _name_left_free(folder: Path, sweep: Sweep) -> Iterator[None]:
    """After an error or interrupt before the first trial the same name may be launched again.

    Of a launch in the background its log stays. A cluster that does not answer, and a full or
    read-only disk elsewhere, are said in plain words.
    """
    try:
        yield
        if not sweep.history.trials:  # interrupted
            _clear(folder)
    except (AdaptertuneError, OSError) as error:
        if not sweep.history.trials:
            _clear(folder)
        if isinstance(error, ConnectionError):
            raise StorageError(str(error)) from error
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise StorageError(
                f"cannot write {error.filename or 'temporary files'}: {error.strerror};"
                " make room there, or set TMPDIR to another disk"
            ) from error
        raise


def _clear(folder: Path) -> None:
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != DRIVER_LOG:
                path.unlink()
        folder.rmdir()  # if there is no log


@dataclass(frozen=True)
class _Composition:
    experiment: Experiment
    folder: Path
    sweep: Sweep
    trials: int | None
    trainable: type[Any] | None
    scorer: Scorer | None


def _run(of: _Composition, prepared: Future[Path], address: str | None, signals: Signals) -> Ending:
    halted: Halt | None = None
    threads = of.experiment.resources.threads
    try:
        with connect(address, threads=threads, log=of.folder / RAY_LOG) as cluster:
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


def _close(sweep: Sweep, ending: Ending, signals: Signals) -> None:
    """Ends what still runs, and the record. A disk that takes no more leaves both as they are.

    From here on there is nothing left to interrupt: Ray goes down, whatever signal comes.
    """
    signals.only_note()
    with suppress(Halt):
        for number in sweep.unfinished():
            sweep.end(number, Outcome.INTERRUPTED)
        sweep.record(ClosedRecord(reason=ending))


def _fit(of: _Composition, cluster: Cluster, prepared: Future[Path], signals: Signals) -> None:
    from ray import tune
    from ray.tune import CheckpointConfig, FailureConfig, RunConfig

    from tuning.schedulers import Control, RecordingScheduler, build_rule
    from tuning.searcher import OptunaSearcher
    from tuning.study import Study

    experiment, resources = of.experiment, of.experiment.resources
    gpus = _gpus(resources.gpus, cluster)
    if (fault := does_not_fit(cluster.nodes(), cpus=resources.cpus, gpus=gpus)) is not None:
        raise StorageError(fault)
    study = Study(
        experiment.space,
        experiment.search,
        name=experiment.name,
        direction=experiment.workload.direction,
        trials=of.trials if of.trials is not None else experiment.search.trials,
        history=of.sweep.history,
    )
    rule = build_rule(experiment.scheduler, experiment.workload.direction, max_epochs=experiment.max_epochs)
    control = Control(of.folder, halted=signals.noted)
    scheduler = RecordingScheduler(rule, of.sweep, study, control)
    searcher = OptunaSearcher(
        study,
        of.sweep,
        configure=_Configure(of, _wait_for(prepared, of, control)),
        capacity=Capacity(cluster.nodes, resources.cpus, gpus, resources.concurrent),
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
                failure_config=FailureConfig(max_failures=experiment.retries),
                verbose=0,
            ),
        )
        try:
            with signals.only_noted():
                tuner.fit()
        except Halt:
            if not cluster.owned and scheduler.controller is not None:
                scheduler.controller._tune_controller.cleanup()
            raise
    with signals.only_noted():
        _score(of, prepared.result(), gpus, control)


def _score(of: _Composition, prepared: Path, gpus: float, control: Control) -> None:
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
        stopped=lambda: None in control.requests(),
        scorer=of.scorer,
    ).run(of.sweep)


def _name(trial: Any) -> str:
    return f"{trial.config['trial']:04d}"


def _trainable(given: type[Any] | None) -> type[Any]:
    if given is None:
        from cluster.worker import Worker

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
    """A proposal as the actor gets it."""

    of: _Composition
    prepared: Path

    def __call__(self, proposal: Any) -> dict[str, Any]:
        experiment = self.of.experiment
        return {
            "trial": proposal.number,
            "params": dict(proposal.params),
            "config": experiment.trial_config(proposal.params).model_dump_json(),
            "experiment": str(self.of.folder),
            "workload": experiment.workload.model_dump_json(),
            "prepared": str(self.prepared),
            "threads": experiment.resources.threads,
            "trainable": TRAINABLE,
        }


# --- data, while Ray comes up -----------------------------------------------------------------


def _prepare(workload: Workload) -> Path:
    from trainables.preparation import prepare_workload

    return prepare_workload(workload, progress=True)


def _in_background(prepare: Prepare, workload: Workload) -> Future[Path]:
    future: Future[Path] = Future()

    def work() -> None:
        try:
            future.set_result(prepare(workload))
        except BaseException as error:
            future.set_exception(error)

    # A daemon, unlike an executor's thread, does not hold up an interrupted process.
    threading.Thread(target=work, name="prepare", daemon=True).start()
    return future


def _wait_for(prepared: Future[Path], of: _Composition, control: Control) -> Path:
    """The prepared data, recorded. Raises Halt where `stop` asks for it, DataError for an absent class."""
    while not wait([prepared], timeout=LOOK_EVERY_S).done:
        if None in control.requests():
            raise Halt(Ending.INTERRUPTED)
    folder = prepared.result()
    meta_file = folder / "meta.json"
    meta = json.loads(meta_file.read_text()) if meta_file.is_file() else {}
    metric = of.experiment.workload.objective.metric
    if (fault := class_fault(metric, meta.get("classes", ()))) is not None:
        raise DataError(f"objective.metric {metric}: {fault}")
    if (folder / SPLITS).is_file():
        _store_splits(folder, of)
    of.sweep.record(
        PreparedRecord(
            fingerprint=meta.get("fingerprint", folder.name),
            counts=meta.get("counts", {}),
            classes=meta.get("classes", []),
            faults=meta.get("faults", []),
        )
    )
    return folder


def _store_splits(prepared: Path, of: _Composition) -> None:
    """Keeps beside the record which images are trained, validated and tested on: the cache may go."""
    from trainables.data.domains import split_names
    from trainables.data.prepared import open_prepared

    names = split_names(open_prepared(prepared), of.experiment.workload)
    (of.folder / SPLITS).write_text(json.dumps(names, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _absolute_cache() -> Iterator[None]:
    """Ray changes the current folder while it comes up, and workers have another one."""
    before = os.environ.get("ADAPTERTUNE_CACHE")
    if before:
        os.environ["ADAPTERTUNE_CACHE"] = str(Path(before).absolute())
    try:
        yield
    finally:
        if before:
            os.environ["ADAPTERTUNE_CACHE"] = before
