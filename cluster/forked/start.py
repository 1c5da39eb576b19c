"""Starts, for a Ray on this machine, the process of which the workers of trials are copies."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.forked.messages import ADDRESS
from cluster.ray_folder import new_ray_folder


def can_fork() -> bool:
    """Whether workers can be copies here. Elsewhere a fork is not safe, or the kernel cannot end copies."""
    return sys.platform == "linux"


@contextmanager
def fork_server(
    modules: Sequence[str], packages: Path, environment: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Start a process that imports `modules`; stop it at the end. Its copies end with their own workers.

    packages: the folder of our packages.  environment: additional variables of the process.
    Yields the variable by which Ray's workers find it; nothing if there are no modules, or it cannot start.
    """
    try:
        started = _started(modules, packages, environment) if modules and can_fork() else None
    except OSError:
        started = None
    if started is None:
        yield {}
        return
    process, address = started
    try:
        yield {ADDRESS: str(address)}
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(address.parent, ignore_errors=True)


def _started(
    modules: Sequence[str], packages: Path, environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], Path]:
    # Only this user can enter the folder: who connects, has code run. Its path is short enough for a socket.
    address = new_ray_folder()[0] / "forks"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(128)
        path = [str(packages), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cluster.forked.server", str(listener.fileno()), *modules],
            cwd=packages,
            env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(listener.fileno(),),
            process_group=0,  # the driver decides what Ctrl-C ends
        )
    return process, address
