"""A Ray of our own listens on this machine only, with a token that nobody else can read."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.connect import RayStartError, connect
from cluster.local_access import LOOPBACK, own_token, require_loopback


def listening(process: int) -> set[str]:
    """The addresses at which a process and its descendants accept connections."""
    own = psutil.Process(process)
    return {
        found.laddr.ip.removeprefix("::ffff:")
        for each in (own, *own.children(recursive=True))
        for found in each.net_connections(kind="tcp")
        if found.status == psutil.CONN_LISTEN
    }


def test_nobody_else_reaches_it_and_nothing_is_written_into_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setenv("HOME", "/dev/null")  # where nothing can be written
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with connect(None, threads=1, log=tmp_path / "ray.log"):
        assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()
        assert listening(os.getpid()) == {LOOPBACK}
    assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.exhaustive  # it starts Ray four times
def test_what_a_process_does_with_ray_before_and_after_has_its_own_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    own = {"num_cpus": 1, "include_dashboard": False, "log_to_driver": False}
    for number in range(2):
        ray.init(address="local", **own)
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
        ray.shutdown()
        with connect(None, threads=1, log=tmp_path / f"{number}.log"):
            assert ray.get(ray.remote(lambda: 2).remote()) == 2


def test_a_token_is_new_and_long_and_that_of_the_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    seen = []
    for _ in range(2):
        with own_token():
            seen.append(os.environ["RAY_AUTH_TOKEN"])
        assert "RAY_AUTH_TOKEN" not in os.environ
    assert [len(each) for each in seen] == [64, 64]
    assert seen[0] != seen[1]
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/somewhere")
    with own_token():
        assert "RAY_AUTH_TOKEN" not in os.environ


def test_without_a_loopback_the_reason_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_loopback()

    def unreachable(*_: Any, **__: Any) -> Any:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    with (
        pytest.raises(RayStartError, match=r"\(Network is unreachable\).*`ip link set lo up`"),
        connect(None, threads=1, log=tmp_path / "ray.log"),
    ):
        pass
