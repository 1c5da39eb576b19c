from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import AuthenticationError, RpcError
from raylets import raylets

from cluster.connect import (
    NICENESS,
    RAY_SETTINGS,
    Cluster,
    RayStartError,
    _ray_logs_to,
    connect,
    worker_environment,
)
from cluster.packages import PACKAGES
from cluster.usable_cpus import count_usable_cpus


@pytest.fixture
def own_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's current folder, with packages that have our names."""
    for package in PACKAGES:
        (tmp_path / "mine" / package).mkdir(parents=True)
        (tmp_path / "mine" / package / "__init__.py").write_text("raise RuntimeError('the wrong one')\n")
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path / "mine"


def _look() -> dict[str, Any]:
    import importlib
    import sys

    found = {p: str(Path(importlib.import_module(p).__file__ or "").resolve()) for p in PACKAGES}
    return {
        "files": found,
        "path": sys.path,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "nice": os.nice(0),
    }


def test_workers_see_our_packages_and_not_those_of_the_users_folder(
    own_packages: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.delenv(NICENESS)  # which tests set
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ours = {**RAY_SETTINGS, **worker_environment(3)}
    before = {key: os.environ.get(key) for key in ours}
    begun: list[bool] = []

    def meanwhile() -> None:
        begun.append(ray.is_initialized())

    with connect(None, threads=3, log=tmp_path / "driver.log", meanwhile=meanwhile) as cluster:
        assert begun == [False]
        assert cluster.owned
        assert sum(n.cpus for n in cluster.nodes()) == count_usable_cpus()
        seen = ray.get(ray.remote(_look).remote())
        scratch = cluster.scratch
    root = Path(__file__).parents[2].resolve()
    assert all(Path(file).is_relative_to(root) for file in seen["files"].values())
    assert str(own_packages) not in seen["path"]
    assert seen["threads"] == "3"
    assert seen["nice"] == os.nice(0)
    assert not ray.is_initialized()
    assert not scratch.exists()
    assert Path.cwd() == own_packages
    assert {key: os.environ.get(key) for key in ours} == before
    out, err = capfd.readouterr()
    assert out + err == ""


def test_a_cluster_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with (
        pytest.raises(ConnectionError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"),
        connect("127.0.0.1:1", threads=1, log=tmp_path / "driver.log"),
    ):
        pass


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379"), "its token may be different"),
        (ConnectionError("Could not find any running Ray instance."), "no Ray cluster answers at auto"),
        (AuthenticationError("no authentication token was found."), "without the cluster's token"),
        (RuntimeError("Version mismatch: Ray 2.59"), "install the cluster's versions"),
        (PermissionError(13, "Permission denied", "/tmp/ray/session_1"), "run as the user who started Ray"),
        (Exception("The current node timed out during startup."), "see Ray's messages in ray.log"),
        (RpcError("Deadline Exceeded"), "see Ray's messages in ray.log"),
    ],
)
def test_why_a_cluster_was_not_joined_is_said_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, expected: str
) -> None:
    def refuse(**options: Any) -> None:
        raise failure

    monkeypatch.setattr("ray.init", refuse)
    with (
        pytest.raises(ConnectionError, match=expected) as caught,
        connect("auto", threads=1, log=tmp_path / "driver.log"),
    ):
        pass
    said = failure.message if isinstance(failure, AuthenticationError) else str(failure)
    assert said.rstrip(".") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_not_the_clusters_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")

    monkeypatch.setattr("ray.init", fail)
    with (
        pytest.raises(OSError, match="No space left") as caught,
        connect("auto", threads=1, log=tmp_path / "driver.log"),
    ):
        pass
    assert not isinstance(caught.value, ConnectionError)


# --- the token --------------------------------------------------------------------------------

JOIN = """
import sys
from pathlib import Path
from cluster.connect import connect
try:
    with connect(sys.argv[1], threads=1, log=Path("ray.log")):
        print("joined")
except ConnectionError as error:
    print(error)
"""


def join(address: str, folder: Path, **variables: str) -> str:
    """What a process prints that joins a cluster; Ray reads token and mode once for each process."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", JOIN, address],
        cwd=folder, env=own | {"PYTHONPATH": root, "HOME": str(folder)} | variables,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_a_token_where_one_is_asked_for_the_remedy_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        said = join(address, tmp_path, RAY_AUTH_MODE="token")
    assert said.startswith(f"cannot connect to {address} without the cluster's token")
    assert "copy its ~/.ray/auth_token here, or set RAY_AUTH_TOKEN" in said
    assert "unset RAY_AUTH_MODE" in said


@pytest.mark.exhaustive
def test_a_cluster_with_another_token_refuses_the_driver(tmp_path: Path) -> None:
    with raylets() as cluster:
        cluster.add()
        wrong = join(cluster.address, tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="f" * 64)
        not_sent = join(cluster.address, tmp_path, RAY_AUTH_TOKEN=cluster.token)
        (tmp_path / "token").write_text(f"{cluster.token}\n")
        given = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
        right = join(cluster.address, tmp_path, **given)
    for said in (wrong, not_sent):
        assert said.startswith(f"{cluster.address} does not answer like a Ray cluster")
        assert "its token may be different: copy its ~/.ray/auth_token here, or set RAY_AUTH_TOKEN" in said
    assert "RAY_AUTH_MODE" not in wrong
    assert not_sent.endswith("and set RAY_AUTH_MODE=token, without which Ray sends none")
    assert right == "joined"


def test_a_token_that_cannot_be_sent_is_refused_before_ray_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**options: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ab\x01cd")
    refused = "the token in RAY_AUTH_TOKEN has characters"
    with (
        pytest.raises(ConnectionError, match=refused),
        connect("auto", threads=1, log=tmp_path / "driver.log"),
    ):
        pass
    with pytest.raises(RayStartError, match=refused), connect(None, threads=1, log=tmp_path / "driver.log"):
        pass


def test_every_numeric_library_gets_the_same_number_of_threads() -> None:
    values = worker_environment(2)
    assert {values[k] for k in values if k.endswith("_NUM_THREADS")} == {"2"}


@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", "10.0.0.1", ":6379", "head:port"])
def test_an_address_that_no_driver_can_join_is_refused_with_the_way_out(tmp_path: Path, address: str) -> None:
    with (
        pytest.raises(ConnectionError, match=r"of a cluster must be auto or HOST:PORT, got") as caught,
        connect(address, threads=1, log=tmp_path / "driver.log"),
    ):
        pass
    assert ("ray job submit" in str(caught.value)) == address.startswith("ray://")


def test_what_ray_says_of_nodes_goes_to_its_log_and_not_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from ray._private import worker

    spoken, log = worker.print_to_stdstream, tmp_path / "ray.log"
    with _ray_logs_to(log):
        worker.print_to_stdstream({"lines": ["node 3 died"], "pid": "raylet", "is_err": False}, False)
    assert worker.print_to_stdstream is spoken
    assert "WARNING ray: (raylet) node 3 died" in log.read_text()
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (Exception("The current node timed out during startup. This could happen"), "usually too busy"),
        (RuntimeError("Failed to start the\ncontrol process."), "Ray did not start on this machine"),
        (ValueError(), "ValueError"),
    ],
)
def test_why_ray_did_not_start_is_said_and_its_logs_are_kept(
    failure: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    def fail(**_: Any) -> None:
        raise failure

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(RayStartError, match=said) as caught, connect(None, threads=1, log=tmp_path / "r.log"):
        pass
    message = str(caught.value)
    assert " ".join(str(failure).split()).rstrip(".") in message
    logs = Path(message.rpartition("Its logs are in ")[2])
    assert logs.is_dir()
    logs.rmdir()


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_ray_starts_although_the_temporary_folder_is_too_long_for_sockets(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    place = tmp_path / ("a" * 60) / ("b" * 60)
    place.mkdir(parents=True)
    monkeypatch.setenv(name, str(place))
    with connect(None, threads=1, log=tmp_path / "ray.log"):
        session = Path(ray._private.worker._global_node.get_session_dir_path())
        assert session.is_dir()
    assert not session.parent.exists()
    assert f"{name}={place} is too long" in (tmp_path / "ray.log").read_text()


@pytest.mark.parametrize(("asked", "set_"), [(None, "0"), ("15", "15")])
def test_workers_have_the_niceness_that_the_user_asks_for(
    asked: str | None, set_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    monkeypatch.setattr("ray.init", lambda **_: seen.append(os.environ.get(NICENESS)))
    if asked is None:
        monkeypatch.delenv(NICENESS, raising=False)  # which tests set
    else:
        monkeypatch.setenv(NICENESS, asked)
    with connect(None, threads=1, log=tmp_path / "ray.log"):
        pass
    assert seen == [set_]
    assert os.environ.get(NICENESS) == asked


@pytest.mark.parametrize("lost", [True, False])
def test_rays_own_logs_are_kept_only_if_one_of_its_processes_was_lost(
    lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    given: dict[str, Any] = {}
    monkeypatch.setattr(ray, "init", lambda **options: given.update(options))
    monkeypatch.setattr(Cluster, "lost", lambda _: lost)
    error = ValueError("the sweep ended")

    def use() -> None:
        with connect(None, threads=1, log=tmp_path / "ray.log"):
            raise error

    with pytest.raises(ValueError, match="the sweep ended"):
        use()
    place = Path(given["_temp_dir"])
    assert place.exists() == lost
    assert given["num_cpus"] == count_usable_cpus()
    if lost:
        assert str(place) in (tmp_path / "ray.log").read_text()
        place.rmdir()
