"""A Ray cluster for the time of a sweep: one started here, or an existing one by its address."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.resources import Node
from cluster.staging import stage

ANSWERS_WITHIN_S = 5.0

RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ray's own snapshots, loggers and tables: the ledger and our table stand in their place.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "10",
}


@dataclass(frozen=True)
class Cluster:
    """What a sweep needs to know of where it runs."""

    owned: bool
    """Whether Ray was brought up for this sweep, and goes down with it."""
    scratch: Path
    """For Ray's own files; removed at the end."""

    def lost(self) -> bool:
        """Whether the Ray brought up for this sweep has lost a process that it cannot do without.

        Ray itself would wait for ever for a raylet that does not come back. Of an existing cluster a
        node's death costs no more than the trials on it, so there it is Ray's to report.
        """
        if not self.owned:
            return False
        from ray._private.worker import _global_node

        return _global_node is not None and any(
            kind in ("raylet", "gcs_server") for kind, _ in _global_node.dead_processes()
        )

    def nodes(self) -> list[Node]:
        """The machines now alive; a cluster may grow while a sweep runs."""
        import ray

        return [
            Node(cpus=n["Resources"].get("CPU", 0.0), gpus=n["Resources"].get("GPU", 0.0))
            for n in ray.nodes()
            if n["Alive"]
        ]


def worker_environment(threads: int) -> dict[str, str]:
    """Environment variables of every worker."""
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
    }


@contextmanager
def connect(address: str | None, *, threads: int, log: Path) -> Iterator[Cluster]:
    """Ray, with workers that see our five packages and not the user's folder; down again at the end.

    address: an existing cluster's; RAY_ADDRESS, or else a cluster of this machine's when absent.
    log: a file for what Ray says to the driver, which stays off the terminal.

    On this machine the workers inherit their folder and environment from ours, which spares the
    1.2 s that a `runtime_env` costs each new worker; to other machines the packages are sent.
    A Ray that this process already uses is used as it is, and stays up.

    Raises ConnectionError where no cluster answers at the address.
    """
    scratch = Path(tempfile.mkdtemp(prefix="adaptertune-"))
    try:
        with _environment(RAY_SETTINGS):
            import ray  # which sets its loggers up, so before they are turned away
        with _environment(RAY_SETTINGS), _ray_logs_to(log):
            owned = not ray.is_initialized()
            try:
                if owned:
                    _bring_up(address or os.environ.get("RAY_ADDRESS"), threads, scratch)
                yield Cluster(owned, scratch)
            finally:
                if owned:
                    ray.shutdown()  # also when interrupted half-way up
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _bring_up(address: str | None, threads: int, scratch: Path) -> None:
    import ray

    common = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address is not None and address != "local":
        _must_answer(address)
        folder = stage(scratch / "packages", link=False)
        runtime = {"working_dir": str(folder), "env_vars": worker_environment(threads)}
        try:
            ray.init(address=address, runtime_env=runtime, **common)
        except (ConnectionError, ValueError) as error:
            raise ConnectionError(_no_cluster(address, error)) from error
        return
    folder = stage(scratch / "packages", link=True)
    with _environment(worker_environment(threads)), _inside(folder):
        ray.init(address="local", include_dashboard=False, **common)


def _must_answer(address: str) -> None:
    """Raises at once where nothing listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN_S).close()
    except OSError as error:
        raise ConnectionError(_no_cluster(address, error)) from error


def _no_cluster(address: str, error: Exception) -> str:
    return (
        f"no Ray cluster answers at {address} ({error}); start one there with `ray start --head`,"
        " or leave --address and RAY_ADDRESS away to run on this machine"
    )


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
    # It misses the files of the loggers that are turned off.
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
        logging.getLogger("ray.tune.analysis").setLevel(logging.NOTSET)
        file.close()
