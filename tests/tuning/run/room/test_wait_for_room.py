"""A sweep on an existing cluster waits for a machine with room for a worker; on one machine it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from cluster.capacity import Needs, Node
from trainables.errors import StorageError
from tuning.experiment.sections.resources import ResourceSpec
from tuning.run.room.wait_for_room import POLL_INTERVAL_S, VARIABLE, WITHIN_S, wait_for_room
from tuning.run.room.worker_needs import WorkerNeeds

HEAD, BOX = Node(cpus=4, gpus=0), Node(cpus=16, gpus=1)
ONE_GPU = WorkerNeeds(ResourceSpec.model_validate({"gpus": 1}))


@dataclass
class FakeCluster:
    """A cluster whose machine with a GPU joins at a time, in seconds."""

    joined: bool = True
    joins_at_s: float = 1e9
    now_s: float = 0.0
    asked: list[Needs] = field(default_factory=list)
    withdrawn: int = 0

    def nodes(self) -> list[Node]:
        return [HEAD, BOX] if self.now_s >= self.joins_at_s else [HEAD]

    def pause(self, seconds: float) -> None:
        self.now_s += seconds

    def wait(self, needs: WorkerNeeds = ONE_GPU, check: Any = lambda: None) -> None:
        wait_for_room(self, needs, check, now=lambda: self.now_s, pause=self.pause)  # type: ignore[arg-type]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    fake = FakeCluster()

    @contextmanager
    def demanded(needs: Needs) -> Iterator[None]:
        fake.asked.append(needs)
        try:
            yield
        finally:
            fake.withdrawn += 1

    monkeypatch.setattr("tuning.run.room.wait_for_room.demanded", demanded)
    monkeypatch.delenv(VARIABLE, raising=False)
    return fake


def test_nothing_is_asked_for_where_a_worker_fits(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.joins_at_s = 0.0
    cluster.wait()
    cluster.joins_at_s = 1e9
    cluster.wait(WorkerNeeds(ResourceSpec()))  # auto: it runs on CPUs
    assert (cluster.asked, cluster.now_s, capsys.readouterr().err) == ([], 0.0, "")


def test_it_waits_until_one_joins(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.joins_at_s = 100.0
    cluster.wait()
    assert 100.0 <= cluster.now_s <= 100.0 + POLL_INTERVAL_S
    assert (cluster.asked, cluster.withdrawn) == ([Needs(1, 1)], 1)
    said = capsys.readouterr().err
    assert "a worker needs CPUs: 1, GPUs: 1 on one machine" in said
    assert f"for at most {WITHIN_S:g} s ({VARIABLE})" in said
    assert "a machine has joined" in said


def test_it_gives_up_after_the_time_limit(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "30")
    with pytest.raises(StorageError, match=r"no machine joined within 30 s: a worker needs .* GPUs: 1"):
        cluster.wait()
    assert 30.0 <= cluster.now_s <= 30.0 + POLL_INTERVAL_S
    assert cluster.withdrawn == 1


@pytest.mark.parametrize("limit", ["0", "900"])
def test_on_this_machine_or_without_a_wait_it_is_refused_at_once(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setenv(VARIABLE, limit)
    cluster.joined = limit == "0"
    with pytest.raises(StorageError, match=r"^a worker needs"):
        cluster.wait()
    assert (cluster.asked, cluster.now_s) == ([], 0.0)


def test_the_user_ends_the_wait(cluster: FakeCluster) -> None:
    def ended() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cluster.wait(check=ended)
    assert cluster.withdrawn == 1


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_time_limit_that_is_none_is_named(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(StorageError, match=f"{VARIABLE} must be a number of seconds, 0 or more, got {text}"):
        cluster.wait()
