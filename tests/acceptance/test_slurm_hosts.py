"""Sweeps that `adaptertune submit` gives to a real Slurm with two hosts.

Each has its own network address, processes and folder for Ray, in namespaces; they share the storage.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import Place, Process, wait_until
from marks import exhaustive
from network_hosts import network
from private_slurm import Slurm, private_slurm, require_slurm
from scripted import essence

from tests.acceptance.test_slurm import Cluster
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.outcomes import Ending

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
NODES = ("n1", "n2")


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    require_slurm()
    with network() as net, private_slurm(NODES, cpus=2, node_timeout_s=300, network=net) as started:
        yield started


@pytest.fixture
def cluster(slurm: Slurm, tmp_path: Path) -> Cluster:
    return Cluster(slurm, tmp_path)


def drivers(slurm: Slurm, node: str) -> list[int]:
    """The processes of `adaptertune` on a node."""
    found = ((pid, Process.read(pid)) for pid in slurm.job_processes(node))
    return [pid for pid, process in found if process is not None and "/adaptertune " in process.name]


def train(slurm: Slurm, node: str) -> bool:
    """Whether a worker on the node holds an actor."""
    found = map(Process.read, slurm.job_processes(node))
    return any(process is not None and process.holds_an_actor for process in found)


def assert_as_undisturbed(cluster: Cluster, name: str) -> None:
    """Assert that the sweep has the result of one that runs here, without Slurm."""
    place = Place(cluster.folder / "alone", cluster.folder / "cache", name)
    place.storage.mkdir()
    place.finish("launch", str(cluster.folder / f"{name}.yaml"))
    assert essence(cluster.record(name)) == essence(place.folder)


def test_a_sweep_over_two_hosts_is_preempted_and_ends_as_if_left_alone(cluster: Cluster) -> None:
    """On one of the hosts it shares the node with another sweep, which is left alone."""
    job, alone = cluster.submit("preempted", nodes=2), cluster.submit("alone", nodes=1)
    assert cluster.slurm.wait_for(alone, "RUNNING")["NodeList"] in NODES
    assert cluster.slurm.job(job)["NodeList"] == "n[1-2]"
    cluster.wait_for_report("preempted", job)
    wait_until(lambda: all(train(cluster.slurm, node) for node in NODES), 300.0, 0.1)
    cluster.slurm.command("scontrol", "requeue", str(job))
    done = cluster.finish("preempted", job)
    assert (done["ExitCode"], done["Restarts"]) == ("0:0", "1")
    assert cluster.finish("alone", alone)["ExitCode"] == "0:0"
    endings = [r.reason for r in read_records(cluster.record("preempted")) if r.kind == "closed"]
    assert endings == [Ending.INTERRUPTED, Ending.FINISHED]
    said = cluster.output("preempted")
    assert said.count("2 of 2 nodes are there") == 2
    assert "adaptertune resume preempted --take-over on 2 node(s)" in said
    assert essence(cluster.record("preempted")) == essence(cluster.record("alone"))


@pytest.mark.parametrize("trials", [exhaustive(12)])
def test_a_driver_that_is_alive_on_a_host_out_of_reach_is_taken_over(cluster: Cluster, trials: int) -> None:
    slurm = cluster.slurm
    job = cluster.submit("cut-off", nodes=1, trials=trials)
    cluster.wait_for_report("cut-off", job)
    node = slurm.job(job)["BatchHost"]
    slurm.hosts[node].unplug()
    try:
        slurm.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=unreachable")
        assert drivers(slurm, node)
        done = cluster.finish("cut-off", job)
        assert (done["ExitCode"], done["Restarts"]) == ("0:0", "1")
        assert done["BatchHost"] != node
        wait_until(lambda: not drivers(slurm, node), 300.0, 0.1)
        said = cluster.output("cut-off")
        assert "taking over from process" in said
        assert "attempt 1, may write no more" in said
        assert read_history(cluster.record("cut-off")).closed is not None
        assert_as_undisturbed(cluster, "cut-off")
    finally:
        slurm.hosts[node].plug()
        slurm.command("scontrol", "update", f"NodeName={node}", "State=RESUME")
        slurm.wait_until_up([node])
