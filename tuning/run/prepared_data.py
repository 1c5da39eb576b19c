"""The data of a sweep: prepared while Ray starts, recorded, and compared with the record on resume."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path

from trainables.errors import DataError
from trainables.run_folder import SPLITS
from trainables.specs.workload import Workload
from tuning.experiment.checks.objective import class_error
from tuning.experiment.spec import Experiment
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.records import Ending, PreparedRecord

POLL_INTERVAL_S = 0.5

Prepare = Callable[[Workload], Path]


def _prepare(workload: Workload) -> Path:
    from trainables.preparation import prepare_workload

    return prepare_workload(workload, progress=True)


def prepare_in_background(prepare: Prepare | None, workload: Workload) -> Future[Path]:
    """Prepare the data in a thread while Ray starts. prepare: None for the default preparation."""
    future: Future[Path] = Future()

    def work() -> None:
        try:
            future.set_result((prepare or _prepare)(workload))
        except BaseException as error:
            future.set_exception(error)

    # A daemon, unlike an executor's thread, does not hold up an interrupted process.
    threading.Thread(target=work, name="prepare", daemon=True).start()
    return future


def wait_for_data(
    prepared: Future[Path],
    experiment: Experiment,
    folder: Path,
    recorder: Recorder,
    *,
    stopped: Callable[[], bool],
) -> Path:
    """Wait for the prepared data, record them, and store their splits in the experiment's `folder`.

    Raises Halt when `stopped()` is true, and DataError for an unknown class or if the data have changed.
    """
    while not wait([prepared], timeout=POLL_INTERVAL_S).done:
        if stopped():
            raise Halt(Ending.INTERRUPTED)
    data = prepared.result()
    meta_file = data / "meta.json"
    meta = json.loads(meta_file.read_text()) if meta_file.is_file() else {}
    metric = experiment.workload.objective.metric
    if (error := class_error(metric, meta.get("classes", ()))) is not None:
        raise DataError(f"objective.metric {metric}: {error}")
    if (data / SPLITS).is_file():
        _store_splits(data, experiment.workload, folder)
    before, now = recorder.history.prepared, meta.get("fingerprint", data.name)
    if before is not None and before.fingerprint != now:
        raise DataError(
            f"{experiment.name} was launched with other data (fingerprint {before.fingerprint}, now {now}):"
            " files, their sizes or their modification times have changed, or this version of adaptertune"
            " prepares them differently; restore the files, or launch a new experiment"
        )
    recorder.record(
        PreparedRecord(
            fingerprint=now,
            counts=meta.get("counts", {}),
            classes=meta.get("classes", []),
            boxes=meta.get("boxes", {}),
            crowds=meta.get("crowds", {}),
            faults=meta.get("faults", []),
            warnings=meta.get("warnings", []),
        )
    )
    return data


def _store_splits(prepared: Path, workload: Workload, folder: Path) -> None:
    """Store the images of each split next to the record, because the cache may be deleted."""
    from trainables.data.domains import split_names
    from trainables.data.prepared import open_prepared

    names = split_names(open_prepared(prepared), workload)
    (folder / SPLITS).write_text(json.dumps(names, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


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
