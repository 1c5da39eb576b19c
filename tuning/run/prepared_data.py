"""The data of a sweep: prepared while Ray starts, recorded, and compared with the record on resume."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from cluster.capacity import Needs
from trainables.errors import ClusterError, DataError, ModelError
from trainables.run_folder import SPLITS
from trainables.specs.job import Job
from trainables.specs.metric_class import class_error, weight_error
from trainables.specs.workload import Workload
from tuning.experiment.checks.local_checkpoint import weights_refused
from tuning.experiment.spec import Experiment
from tuning.ledger.header import experiment_of
from tuning.ledger.outcomes import Ending
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.records import PreparedRecord
from tuning.messages import say
from tuning.run.moved_notes import moved_notes
from tuning.run.same_data import domain_fingerprints, fingerprint_of, read_meta, require_same_data

POLL_INTERVAL_S = 0.5

Prepare = Callable[[Workload], Path]


def prepare_now(workload: Workload) -> Path:
    """The default preparation."""
    from trainables.preparation import prepare_workload

    return prepare_workload(workload, progress=True)


def prepare_in_background(prepare: Prepare | None, workload: Workload, future: Future[Path]) -> None:
    """Prepare the data in a thread, as the result of `future`. prepare: None for the default preparation."""

    def work() -> None:
        try:
            future.set_result((prepare or prepare_now)(workload))
        except BaseException as error:
            future.set_exception(error)

    # A daemon, unlike an executor's thread, does not hold up an interrupted process.
    threading.Thread(target=work, name="prepare", daemon=True).start()


def wait_for_data(
    prepared: Future[Path],
    experiment: Experiment,
    folder: Path,
    recorder: Recorder,
    *,
    stopped: Callable[[], bool],
    needs: Needs | None = None,
) -> Path:
    """Wait for the prepared data, record them, and store their splits in the experiment's `folder`.

    needs: what a worker reserves, on a cluster that others started; its nodes are asked for the data before
    a resume is recorded.
    Raises Halt when `stopped()` is true, and DataError for an objective without a value, or if the data
    have changed.
    """
    while not wait([prepared], timeout=POLL_INTERVAL_S).done:
        if stopped():
            raise Halt(Ending.INTERRUPTED)
    data, accept = prepared.result(), None
    if recorder.pending is not None and needs is not None:
        accept = partial(require_on_nodes, experiment=experiment, folder=folder, needs=needs, stopped=stopped)
    return record_data(data, experiment, folder, recorder, accept=accept)


def require_on_nodes(
    data: Path, experiment: Experiment, folder: Path, needs: Needs, stopped: Callable[[], bool]
) -> None:
    """Raise ClusterError if a node of the joined cluster cannot use the data; Halt when `stopped()`."""
    from cluster.health.node_data import data_errors

    def look() -> None:
        if stopped():
            raise Halt(Ending.INTERRUPTED)

    threads = experiment.resources.threads
    job = Job(experiment=folder, workload=experiment.workload, prepared=data, threads=threads)
    if errors := data_errors(job, needs=needs, look=look):
        raise ClusterError("\n".join(errors))


def record_data(
    data: Path,
    experiment: Experiment,
    folder: Path,
    recorder: Recorder,
    *,
    accept: Callable[[Path], None] | None = None,
) -> Path:
    """Check and record prepared data, as `wait_for_data` does. accept: may refuse them by an error."""
    meta, workload = read_meta(data), experiment.workload
    for metric in workload.metrics:
        if (error := class_error(metric, meta.get("classes", ()))) is not None:
            raise DataError(f"{workload.named(metric)}: {error}")
    if (error := weight_error(experiment.weighted_classes, meta.get("classes", ()))) is not None:
        raise DataError(f"loss_weights: {error}")
    if experiment.weighted_classes and (
        error := weights_refused(experiment.model, experiment.task, cached=True)
    ):
        raise ModelError(f"loss_weights: {error}")
    if (before := recorder.history.prepared) is not None:
        moved = recorder.pending.moved if recorder.pending is not None else {}
        if (note := require_same_data(before, data, experiment, folder, moved=bool(moved))) is not None:
            say(note)
        if moved:
            was = experiment_of(recorder.before.header)
            for note in moved_notes(before, data, meta, folder, was, moved):
                say(note)
    if accept is not None:
        accept(data)
    floors: dict[str, dict[str, float]] = {}
    splits: Path | None = None
    if (data / SPLITS).is_file():
        floors = _checked_floors(data, workload)
        splits = _written_splits(data, workload, folder)
    recorder.record(
        PreparedRecord(
            fingerprint=fingerprint_of(data, meta),
            counts=meta.get("counts", {}),
            classes=meta.get("classes", []),
            boxes=meta.get("boxes", {}),
            crowds=meta.get("crowds", {}),
            faults=meta.get("faults", []),
            warnings=meta.get("warnings", []),
            found=found_in_folder(workload),
            floors=floors,
            domains=domain_fingerprints(meta),
        )
    )
    if splits is not None:
        # The names of the launch stay until the record of other names is written: a resume compares them.
        os.replace(splits, folder / SPLITS)
    return data


def found_in_folder(workload: Workload) -> str:
    """What lies in a folder of data that is given alone, in words; '' for declared data."""
    if workload.data.folder is None:
        return ""
    from trainables.data.formats.folder import given_data

    return given_data(workload).said


def _checked_floors(prepared: Path, workload: Workload) -> dict[str, dict[str, float]]:
    """The floors. Raises DataError if the objective can have no value on the validation images."""
    from trainables.data.prepared import open_prepared
    from trainables.metrics.objective_value import check_objective
    from trainables.metrics.prepared_floors import prepared_floors

    opened = open_prepared(prepared)
    check_objective(opened, workload)
    return prepared_floors(opened, workload)


def _written_splits(prepared: Path, workload: Workload, folder: Path) -> Path:
    """Write the images of each split, which the cache may lose, to a file that is not in its place yet."""
    from trainables.data.domains import split_names
    from trainables.data.prepared import open_prepared

    names = split_names(open_prepared(prepared), workload)
    file = folder / f".{SPLITS}.new"
    file.write_text(json.dumps(names, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


@contextmanager
def absolute_cache() -> Iterator[None]:
    """Make the cache's path absolute: Ray changes the current folder as it starts, and so do workers."""
    before = os.environ.get("ADAPTERTUNE_CACHE")
    if before:
        os.environ["ADAPTERTUNE_CACHE"] = str(Path(before).absolute())
    try:
        yield
    finally:
        if before:
            os.environ["ADAPTERTUNE_CACHE"] = before
