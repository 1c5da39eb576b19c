"""A PostgreSQL for one test: installed if it is missing, on loopback, in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

USER, PASSWORD, DATABASE = "tuner", "a secret", "postgres"
_STARTS_S = 300.0
_PROGRAMS = ("initdb", "postgres", "pg_isready")


@dataclass
class Postgres:
    """A server, which can be stopped and started again; `url` holds no password."""

    folder: Path
    programs: Path
    port: int
    account: Mapping[str, Any]
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """The address for `views.optuna`; `PGPASSWORD` must be set."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{DATABASE}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port),
                    "-c", "listen_addresses=127.0.0.1", "-k", str(self.folder), "-c", "fsync=off",
                ],
                cwd=self.folder, stdout=log, stderr=log, **self.account,
            )  # fmt: skip
        deadline = time.monotonic() + _STARTS_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"postgres does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        asked = [str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked, check=False).returncode == 0

    def stop(self) -> None:
        """Stop the server at once, as if its machine had failed."""
        if self._process is not None:
            self._process.send_signal(3)  # SIGQUIT: without a checkpoint
            self._process.wait()
            self._process = None


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server. Skips the test if PostgreSQL is missing and cannot be installed."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    account: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        owner = _account()
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        account = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    made = subprocess.run(
        [
            str(programs / "initdb"), "-D", str(folder / "data"), "-U", USER, f"--pwfile={secret}",
            "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C",
        ],
        cwd=folder, capture_output=True, text=True, **account,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    server = Postgres(folder, programs, free_port(), account)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    if (found := _installed()) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"capture_output": True, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "update", "-q"], **quiet)
        subprocess.run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "postgresql"], **quiet)
        found = _installed()
    if found is None:
        pytest.skip("there is no PostgreSQL here, and none can be installed (apt-get as root)")
    return found


def _installed() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders += [Path(part) for part in os.environ.get("PATH", "").split(os.pathsep) if part]
    return next((f for f in folders if all((f / name).is_file() for name in _PROGRAMS)), None)


def _account() -> pwd.struct_passwd:
    """The account that it runs as instead of root."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL refuses to run as root, and there is no other account")
