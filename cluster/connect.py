"""Connects to a Ray cluster for a sweep: one started on this machine, or an existing one by its address."""

from __future__ import annotations

import atexit
import errno
import importlib
import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.auth_token import why_not_sendable
from cluster.capacity import Node, node_of
from cluster.forked.start import fork_server
from cluster.liveness import Watch, listens
from cluster.local_access import NoLoopbackError, listening_here_only, own_token, require_loopback
from cluster.packages import stage_packages
from cluster.preloading import Preload
from cluster.ray_folder import new_ray_folder
from cluster.ray_processes import only_needed_processes, own_signal_handlers
from cluster.refusals import NAMED_ADDRESSES, no_cluster, not_sendable, not_started, refused
from cluster.trial_environment import trials_without_own_environment
from cluster.usable_cpus import count_usable_cpus

ANSWERS_WITHIN_S = 5.0
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What is wrong with this machine's disk, and not with the cluster."""

RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Turns off Ray's own snapshots, loggers and tables: the ledger and our table replace them.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "10",
    # In a job (`ray job submit --working-dir …`) Ray would refuse ours as a conflict with the job's own.
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",
}
NICENESS = "RAY_worker_niceness"
"""Ray gives its workers 15: beside any other program on the machine, a trial would get almost nothing."""
NOTHING = Preload((), 0)


class RayStartError(RuntimeError):
    """Ray did not start on this machine."""


_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}


@dataclass(frozen=True)
class Cluster:
    """The cluster that a sweep runs on."""

    owned: bool
    """Whether this sweep has connected Ray, and must disconnect it."""
    scratch: Path
    """The folder for files of this sweep that nobody needs later; removed at the end."""
    watch: Watch | None = None
    """The watch over a cluster that existed before."""

    @property
    def joined(self) -> bool:
        """Whether the cluster existed before, maybe with other machines."""
        return self.watch is not None

    def lost(self) -> bool:
        """Whether Ray has lost a process that this sweep needs.

        Ray itself would wait forever for our raylet. In an existing cluster, the needed processes are
        its control process and the raylet of this machine; if another node dies, only its
        trials are lost, and Ray reports them.
        """
        if self.watch is not None:
            return self.watch.lost
        if not self.owned:
            return False
        from ray._private.worker import _global_node

        return _global_node is not None and any(
            kind in ("raylet", "gcs_server") for kind, _ in _global_node.dead_processes()
        )

    def nodes(self) -> list[Node]:
        """The machines that are alive now; a cluster may grow while a sweep runs."""
        import ray

        return [node_of(node) for node in ray.nodes() if node["Alive"]]


def worker_environment(threads: int) -> dict[str, str]:
    """The environment variables of every worker."""
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        # Ray Tune sets it in its trials: https://github.com/ray-project/ray/issues/28197
        "PL_DISABLE_FORK": "1",
    }


def _wait_for_ray() -> None:
    """The default `give_up`: wait until Ray ends a process that has lost its cluster."""


@contextmanager
def connect(
    address: str | None,
    *,
    threads: int,
    log: Path,
    give_up: Callable[[], None] = _wait_for_ray,
    preload: Preload = NOTHING,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[Cluster]:
    """Connect Ray, with workers that see our packages and not the user's folder; disconnect at the end.

    address: of an existing cluster; when absent, RAY_ADDRESS, or else a new cluster on this machine.
    log: a file for Ray's messages to the driver, which are not shown on the terminal.
    give_up: ends the process, with a clear message, if it hangs in a call to a lost cluster.
    preload: what workers on this machine import when they start, if Ray is started here.
    meanwhile: begins, in threads, what can be done while Ray starts. Called when ray is imported: before that
    they would only take turns with the import, for which everything else waits.

    On this machine the workers inherit folder and environment from this process, which saves the
    1.2 s that a `runtime_env` costs for each new worker; packages are sent to other machines.
    If this process already uses Ray, that connection is used and not closed.

    Raises ConnectionError if no cluster answers at the address, and for a Ray on this machine RayStartError
    if it does not start, NoShortFolderError if there is no folder for its sockets.
    """
    scratch = Path(tempfile.mkdtemp(prefix="adaptertune-"))
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        with ExitStack() as until_shut_down:
            if here := address in (None, "local") and not _in_use():
                try:
                    require_loopback()
                except NoLoopbackError as error:
                    raise RayStartError(str(error)) from error
                until_shut_down.enter_context(own_token())
                if why := why_not_sendable():
                    raise RayStartError(
                        f"Ray cannot start: {why}, or unset the variable: Ray then gets a new one"
                    )
                # First of all, because its imports take longer than Ray's start.
                started_with = until_shut_down.enter_context(_for_workers(threads, scratch, preload))
            settings = {NICENESS: os.environ.get(NICENESS, "0")} | RAY_SETTINGS
            with _environment(settings):
                import ray  # sets up its loggers, so it must be before they are redirected
            until_shut_down.enter_context(_environment(settings))
            until_shut_down.enter_context(_ray_logs_to(log))
            meanwhile()
            if here:
                yield until_shut_down.enter_context(_started_here(scratch, *started_with))
                return
            owned, watch = not ray.is_initialized(), None
            try:
                if owned:
                    assert address is not None
                    watch = _join(address, threads, scratch, give_up)
                yield Cluster(owned, scratch, watch)
            finally:
                if watch is not None:
                    watch.stop()
                if watch is not None and watch.lost:
                    # A normal shutdown would wait a minute for a cluster that does not answer.
                    atexit.unregister(ray._private.worker.shutdown)
                elif owned:
                    ray.shutdown()  # also when interrupted while connecting
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _in_use() -> bool:
    """Whether this process uses Ray already."""
    ray = sys.modules.get("ray")  # maybe only begun: another thread imports it, too
    initialized = getattr(ray, "is_initialized", None)
    return initialized is not None and initialized()


@contextmanager
def _for_workers(threads: int, scratch: Path, preload: Preload) -> Iterator[tuple[Path, dict[str, str]]]:
    """The folder and the variables with which the processes of Ray start, on this machine."""
    packages = stage_packages(scratch / "packages", link=True)
    environment = worker_environment(threads)
    with fork_server(preload.forked, packages, environment) as found:
        if preload.modules:
            environment |= preload.environment(packages, scratch / "preloaded")
        yield packages, environment | found


@contextmanager
def _started_here(scratch: Path, packages: Path, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """Start Ray on this machine, with the CPUs that this process may use; stop it at the end.

    Ray's own files are removed at the end, unless it did not start or was lost.
    """
    import ray

    place, unused = new_ray_folder()
    if unused is not None:
        logging.getLogger("ray").warning("Ray's files are in %s: %s", place, unused)
    cluster, keep = Cluster(True, scratch), False
    try:
        try:
            with (
                _environment(environment),
                _inside(packages),
                only_needed_processes(),
                own_signal_handlers(),
                listening_here_only() as here_only,
            ):
                ray.init(
                    address="local",
                    include_dashboard=False,
                    num_cpus=count_usable_cpus(),
                    _temp_dir=str(place),
                    **here_only,
                    **_QUIET,
                )
        except Exception as error:
            keep = True
            raise RayStartError(not_started(error, place)) from error
        with trials_without_own_environment():
            yield cluster
    finally:
        if not keep and cluster.lost():
            keep = True
            logging.getLogger("ray").warning("the logs of the lost processes are in %s", place)
        ray.shutdown()  # also when interrupted while starting
        if not keep:
            shutil.rmtree(place, ignore_errors=True)


def _join(address: str, threads: int, scratch: Path, give_up: Callable[[], None]) -> Watch:
    """Connect to a cluster that exists; returns the watch over it."""
    import ray

    _must_answer(address)
    if why := why_not_sendable(address):
        raise ConnectionError(not_sendable(address, why))
    folder = stage_packages(scratch / "packages", link=False)
    runtime = {"working_dir": str(folder), "env_vars": worker_environment(threads)}
    try:
        with own_signal_handlers():
            ray.init(address=address, runtime_env=runtime, **_QUIET)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        raise ConnectionError(refused(address, error)) from error
    needed = _what_it_needs()
    watch = Watch(lambda: listens(needed), give_up)
    watch.begin()
    return watch


def _what_it_needs() -> list[tuple[str, int]]:
    """The addresses of the cluster's control process and of this machine's raylet."""
    import ray

    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    own = (n for n in ray.nodes() if n["NodeID"] == context.get_node_id())
    raylets = [(str(n["NodeManagerAddress"]), int(n["NodeManagerPort"])) for n in own]
    return [(host.strip("[]"), int(port)), *raylets]


def _must_answer(address: str) -> None:
    """Raise at once if nothing listens at the address; Ray itself would try for minutes."""
    if "://" in address:
        raise ConnectionError(
            f"the address of a cluster must be auto or HOST:PORT, got {address}: the driver of a sweep runs"
            " on a node of its cluster; from elsewhere use"
            " `ray job submit -- adaptertune launch … --address auto`"
        )
    host, _, port = address.rpartition(":")
    if address not in NAMED_ADDRESSES and not (host and port.isdecimal()):
        raise ConnectionError(f"the address of a cluster must be auto or HOST:PORT, got {address}")
    if address in NAMED_ADDRESSES:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN_S).close()
    except OSError as error:
        raise ConnectionError(no_cluster(address, error)) from error


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


@contextmanager
def _ray_logs_to(path: Path) -> Iterator[None]:
    logger = logging.getLogger("ray")
    handlers, propagate, level = logger.handlers[:], logger.propagate, logger.level
    file = logging.FileHandler(path, encoding="utf-8", delay=True)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.handlers, logger.propagate = [file], False
    logger.setLevel(logging.WARNING)
    # Ray prints messages about dead nodes to the terminal directly, without its loggers.
    worker: Any = importlib.import_module("ray._private.worker")
    spoken, worker.print_to_stdstream = worker.print_to_stdstream, _logged
    # Ray warns about the missing files of the loggers that are turned off.

    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)
    try:
        yield
    finally:
        worker.print_to_stdstream = spoken
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
        logging.getLogger("ray.tune.analysis").setLevel(logging.NOTSET)
        file.close()


def _logged(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    """The replacement for Ray's `print_to_stdstream`."""
    logging.getLogger("ray").warning("(%s) %s", data.get("pid"), "\n".join(data.get("lines", ())))
