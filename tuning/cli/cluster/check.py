"""What `cluster check` does: reads what to check, runs the checks, and prints what they found."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cluster.connect import Cluster, connect
from cluster.health.checks import Wanted, check_cluster
from cluster.health.problem import DRIVER, Problem, Severity
from cluster.health.report import find_problems
from cluster.health.required_files import HubModel
from cluster.health.storage import remove_probes_of_this_process
from trainables.data.content.cache_folder import cache_root
from trainables.errors import AdaptertuneError, StorageError
from tuning.checkpoints.store_check import check_store
from tuning.cli.cluster.check_answer import answer_json, print_report
from tuning.exit_codes import FAILED
from tuning.experiment.load import load_experiment
from tuning.experiment.moved_data import data_paths
from tuning.formatting import json_text
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import LEDGER, read_history
from tuning.ledger.storage import storage_folder
from tuning.messages import print_answer, say, tell
from tuning.run.our_errors import as_our_errors

if TYPE_CHECKING:
    from tuning.experiment.spec import Experiment


def check(
    what: str | None,
    overrides: Sequence[str],
    *,
    address: str | None,
    storage: Path | None,
    within_s: float,
    as_json: bool,
) -> None:
    """Check the cluster for an experiment, a file or a name, or as far as it goes without one.

    Raises typer.Exit with `FAILED` if there is an error, AdaptertuneError for what the user gave.
    """
    folder, experiment = _asked(what, overrides, storage)
    require_usable_path(folder)
    wanted = _wanted(folder, experiment, within_s)
    with tempfile.TemporaryDirectory(prefix="adaptertune-check-") as scratch:
        log = Path(scratch) / "ray.log"
        with as_our_errors(), connect(address, threads=1, log=log, give_up=_give_up) as cluster:
            nodes = len(cluster.nodes())
            place = "the cluster" if cluster.joined else "a Ray started on this machine, as `launch` would"
            tell(f"checking {place}: {nodes} node{'s' * (nodes != 1)}")
            found = check_cluster(wanted)
            problems = find_problems(found) + _fit(cluster, experiment)
    name = None if experiment is None else experiment.name
    if as_json:
        print_answer(json_text(answer_json(found, problems, name, joined=cluster.joined)))
    else:
        print_report(found, problems, joined=cluster.joined)
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise typer.Exit(FAILED)


def _asked(
    what: str | None, overrides: Sequence[str], storage: Path | None
) -> tuple[Path, Experiment | None]:
    """The absolute storage folder, and the experiment of a file or of a record."""
    folder = storage_folder(storage)
    if what is None:
        if overrides:
            raise AdaptertuneError("--set changes an experiment file; give FILE, too")
        return folder.absolute(), None
    for recorded in (folder / what, Path(what)):
        if (recorded / LEDGER).is_file():
            if overrides:
                raise AdaptertuneError(
                    f"--set changes an experiment file, and {what} is a recorded experiment"
                )
            return recorded.absolute().parent, experiment_of(read_history(recorded).header)
    return folder.absolute(), load_experiment(what, overrides)


def require_usable_path(folder: Path) -> None:
    """Raise StorageError if the storage folder cannot be one: a file, or the address of an object store."""
    if ":/" in str(folder):
        raise StorageError(
            "--storage takes a folder that every node mounts, not an address; an object store can hold"
            " the checkpoints, with checkpoints.to in the experiment file"
        )
    for each in (folder, *folder.parents):
        if each.exists() and not each.is_dir():
            raise StorageError(
                f"--storage takes a folder, and {each} is a file; choose another with --storage DIR"
            )


def _wanted(folder: Path, experiment: Experiment | None, within_s: float) -> Wanted:
    if experiment is None:
        return Wanted(folder, within_s=within_s)
    name, to = experiment.model.name, experiment.checkpoints.to
    on_hub = name != "embedded" and not os.path.isabs(name)
    return Wanted(
        folder,
        data_paths(experiment),
        cache_root().absolute(),
        HubModel(name, experiment.model.revision) if on_hub else None,
        None if to is None else partial(check_store, to),
        within_s,
    )


def _fit(cluster: Cluster, experiment: Experiment | None) -> list[Problem]:
    """Whether a worker of the experiment fits on a node."""
    if experiment is None:
        return []
    from cluster.capacity import does_not_fit
    from tuning.run.room.worker_needs import WorkerNeeds

    nodes = cluster.nodes()
    error = does_not_fit(nodes, WorkerNeeds(experiment.resources)(nodes))
    if error is None:
        return []
    text, _, remedy = error.partition("; ")
    return [Problem(Severity.ERROR, "resources", DRIVER, text, f"{remedy}, or add a larger machine")]


def _give_up() -> None:
    """Exit because the cluster is lost; nobody else removes the files of the check."""
    remove_probes_of_this_process()
    say(
        "the Ray cluster no longer answers: its head or this machine's raylet was killed, or the network"
        " is down"
    )
    os._exit(FAILED)
