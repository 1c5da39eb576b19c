from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from cluster.connect import connect
from cluster.health import checks
from cluster.health.checks import Wanted, check_cluster
from cluster.health.required_files import Contents, StoreAnswer
from cluster.health.storage import Locks, Probe, probe_in
from cluster.usable_cpus import count_usable_cpus


@pytest.fixture(scope="module")
def _ray_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with connect(None, threads=1, log=tmp_path_factory.mktemp("ray") / "ray.log"):
        yield


@pytest.mark.usefixtures("_ray_here")
def test_one_node_finds_all_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "exposed_token", lambda: tmp_path / "auth_token")
    (tmp_path / "images").mkdir()
    storage = tmp_path / "experiments"
    paths = {"here": str(tmp_path / "images"), "absent": str(tmp_path / "absent")}
    store = partial(StoreAnswer, "the store refuses")
    found = check_cluster(Wanted(storage, paths, cache=tmp_path, store=store, within_s=300.0))
    (node,) = found.nodes
    assert (node.error, node.silent) == ("", {})
    assert node.cpus == count_usable_cpus()
    assert node.seen is not None
    assert node.seen.versions == found.here.versions
    assert node.storage is not None
    assert (node.storage.shared, node.storage.seen, node.storage.won) == (True, True, True)
    assert node.storage.locks is Locks.CROSS
    assert node.unreachable == ()
    assert (
        node.files == found.here_files == {"here": Contents(True, 0), "absent": "No such file or directory"}
    )
    assert node.cache == found.here_cache is not None
    assert node.store == StoreAnswer("the store refuses")
    assert node.clock is not None
    assert node.clock.least_s == pytest.approx(0.0, abs=0.1)  # it is the same clock
    assert node.machine is not None
    assert node.machine.exposed_token is None  # a Ray that starts here has a token in no file
    assert found.here_token == str(tmp_path / "auth_token")
    assert node.gpu_findings is not None
    assert (found.storage_error, found.left) == ("", None)
    assert not storage.exists()


def never() -> None:
    raise AssertionError


@pytest.mark.usefixtures("_ray_here")
def test_calls_that_hang_or_fail_hold_up_no_others() -> None:
    import ray

    waits = ray.remote(num_cpus=0, max_retries=0, resources={"of no node": 1})(never)
    hanging, failing = waits.remote(), waits.remote()
    ray.cancel(failing)
    answers = checks._gather({("n", "answers"): ray.put(5), ("n", "fails"): failing}, 300.0)
    answers |= checks._gather({("n", "answers too"): ray.put(6), ("n", "hangs"): hanging}, 0.1)
    ray.cancel(hanging)
    assert (answers["n", "answers"], answers["n", "answers too"]) == (5, 6)
    assert answers["n", "fails"].reason == "cannot run our checks: TaskCancelledError"
    assert answers["n", "hangs"].reason == "no answer within 0.1 s"


@pytest.mark.usefixtures("_ray_here")
def test_an_interruption_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def interrupted(*_: object) -> None:
        seen.extend(os.listdir(tmp_path))
        raise KeyboardInterrupt

    monkeypatch.setattr(checks, "_gather", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check_cluster(Wanted(tmp_path))
    assert [name[:19] for name in seen] == [".adaptertune-check-"]
    assert list(tmp_path.iterdir()) == []


def test_a_storage_that_hangs_is_told_and_cleaned_up_when_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    @contextmanager
    def late(storage: Path) -> Iterator[Probe]:
        answers.wait()
        with probe_in(storage) as probe:
            yield probe

    monkeypatch.setattr(checks, "probe_in", late)
    with checks._probing(tmp_path, 0.1) as probing:
        assert (probing.probe, probing.error) == (None, "no answer within 0.1 s")
        answers.set()
    assert list(tmp_path.iterdir()) == []


def test_a_storage_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with checks._probing(tmp_path / "file" / "storage", 60.0) as probing:
        assert (probing.probe, probing.error) == (None, "Not a directory")


def test_work_that_takes_too_long_is_given_up_and_an_error_is_raised() -> None:
    never = threading.Event()
    assert checks._within(never.wait, 0.1, "late") == "late"
    assert checks._within(lambda: 1, 60.0, "late") == 1
    with pytest.raises(ZeroDivisionError):
        checks._within(lambda: 1 / 0, 60.0, "late")
    never.set()
