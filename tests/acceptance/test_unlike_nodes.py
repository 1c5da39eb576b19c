"""Clusters of unlike nodes: less memory, or a GPU that joins late. Both are numbers that Ray is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chaos import Place
from marks import exhaustive
from raylets import Raylets, raylets

from tests.acceptance.test_many_nodes import WITHIN_S, assert_complete, sweep, wait
from tuning.exit_codes import USER_ERROR
from tuning.ledger.ledger import read_history

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture
def cluster() -> Iterator[Raylets]:
    """A head with one CPU."""
    with raylets() as started:
        started.add()
        yield started


def worker_pids(place: Place) -> list[int]:
    """The process that each trial ran in, by its number."""
    trials = read_history(place.folder).trials
    return [int(str(trials[number].worker).rpartition(":")[2]) for number in sorted(trials)]


@pytest.mark.parametrize("packing", ["2", exhaustive("off")])
def test_trials_of_gpus_auto_take_it_from_then_on(cluster: Raylets, place: Place, packing: str) -> None:
    with sweep(place, cluster, packing=packing, **{"trials:_12": "trials: 8"}) as driver:
        driver.wait_for_events(3, WITHIN_S)
        (head,) = cluster.nodes
        working = head.workers()
        for process in working:  # so that trials are left when the node is up
            process.freeze()
        with_gpu = cluster.add(gpus=1)
        wait(driver, lambda: "a node with a GPU has joined" in driver.said())
        for process in working:
            process.thaw()
        seen: set[int] = set()

        def look() -> bool:
            seen.update(process.pid for process in with_gpu.workers())
            return bool(seen) and driver.process.poll() is None

        wait(driver, look)
        assert driver.finish(WITHIN_S) == 0, driver.said()
    assert "a node with a GPU has joined: trials that start from now on take a GPU each" in driver.said()
    assert_complete(place.folder, 8)
    pids = worker_pids(place)
    assert pids[0] not in seen
    assert pids[-1] in seen


@pytest.mark.exhaustive
def test_gpus_1_waits_for_the_node_and_says_so(cluster: Raylets, place: Place) -> None:
    """With another limit it gives up in plain words first, and its name is free again."""
    asked = {"cpus:_1": "cpus: 1, gpus: 1", "trials:_12": "trials: 3"}
    hasty = Place(place.storage, place.cache, place.name, {"ADAPTERTUNE_NODES_WITHIN_S": "0"})
    with sweep(hasty, cluster, **asked) as driver:
        assert driver.finish(WITHIN_S) == USER_ERROR, driver.said()
    assert "a worker needs CPUs: 1, GPUs: 1 on one machine" in driver.said()
    with sweep(place, cluster, **asked) as driver:
        wait(driver, lambda: "Waiting for a machine to join" in driver.said())
        with_gpu = cluster.add(gpus=1)
        wait(driver, lambda: bool(with_gpu.workers()))
        assert driver.finish(WITHIN_S) == 0, driver.said()
    assert "a machine has joined: the sweep begins" in driver.said()
    assert_complete(place.folder, 3)


@pytest.mark.exhaustive
def test_a_node_with_too_little_memory_gets_no_trial(cluster: Raylets, place: Place) -> None:
    small = cluster.add(options=("--memory", str(10**9)))
    (head, _), pids = cluster.nodes, set[int]()
    with sweep(place, cluster, **{"cpus:_1": "cpus: 1, memory_gb: 2", "trials:_12": "trials: 3"}) as driver:

        def look() -> bool:
            assert not small.workers()
            pids.update(process.pid for process in head.workers())
            return read_history(place.folder).closed is not None

        driver.wait_for_events(1, WITHIN_S)
        wait(driver, look)
        assert driver.finish(WITHIN_S) == 0, driver.said()
    assert_complete(place.folder, 3)
    assert set(worker_pids(place)) <= pids
