from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster_findings import GPUS, H200, HEALTHY_STORAGE, MACHINE, STORAGE, VERSIONS, cluster_of, healthy_node

from cluster.health.checks import NodeFindings, Wanted, distinctly_named
from cluster.health.clock import ClockOffset
from cluster.health.gpus import GpuFindings
from cluster.health.nodes import Seen
from cluster.health.ports import Port, Unreachable
from cluster.health.problem import Problem, Severity, share, size_text
from cluster.health.report import find_problems
from cluster.health.required_files import Contents, HubModel, StoreAnswer, Weights
from cluster.health.storage import Locks

NODE = healthy_node()
ERROR, WARNING = Severity.ERROR, Severity.WARNING
MIB, GIB = 2**20, 2**30


def only_problem(node: NodeFindings, wanted: Wanted | None = None) -> Problem:
    (problem,) = find_problems(cluster_of(node, healthy_node(2), wanted=wanted))
    assert problem.node == node.node
    return problem


def test_a_healthy_cluster_has_no_problems() -> None:
    assert find_problems(cluster_of(*(healthy_node(number) for number in range(1, 4)))) == []
    alone = replace(NODE, gpus=0.0, gpu_findings=GpuFindings(torch_cuda="13.0"))
    assert find_problems(cluster_of(alone)) == []


def seen(python: str = "3.11.7", **versions: str | None) -> NodeFindings:
    """A node with other versions; None for what it does not have."""
    installed = {name: version for name, version in (VERSIONS | versions).items() if version is not None}
    return replace(NODE, seen=Seen(NODE.node, python, installed))


def gpus(**changes: Any) -> NodeFindings:
    return replace(NODE, gpu_findings=replace(GPUS, **changes))


def machine(**changes: Any) -> NodeFindings:
    return replace(NODE, machine=replace(MACHINE, **changes))


def storage(**changes: Any) -> NodeFindings:
    return replace(NODE, storage=replace(HEALTHY_STORAGE, **changes))


FAULTS = {
    "no answer": (
        replace(NODE, error="no answer within 60 s"), ERROR, "answer", "gives no answer within 60 s",
        "firewall"),
    "no torch": (
        seen(torch=None),
        ERROR, "versions", "has no torch", "pip install"),
    "older torch": (
        seen(torch="2.9.0"),
        WARNING, "versions", "torch 2.9.0 instead of 2.13.0", "pip install"),
    "other python": (
        seen("3.12.1"), ERROR, "versions", "Python 3.12.1", "same"),
    "fewer gpus than offered": (
        replace(NODE, gpus=4.0), ERROR, "gpus", "offers 4 GPUs to Ray, and has 2", "--num-gpus 2"),
    "more gpus than offered": (
        replace(NODE, gpus=1.0), WARNING, "gpus", "offers 1 of its 2 GPUs", "--num-gpus 2"),
    "gpus offered, none to be seen": (
        replace(NODE, gpu_findings=GpuFindings(torch_cuda="13.0")), ERROR, "gpus", "no nvidia-smi",
        "--gpus all"),
    "gpus without their tool": (
        replace(NODE, gpu_findings=GpuFindings(device_files=2, torch_other=True)),
        WARNING, "gpus", "2 by its device files", "install the driver"),
    "gpu in use": (
        gpus(gpus=(H200, replace(H200, used_mib=81920, processes=(7,)))),
        WARNING, "gpus", "80 GiB of 140 GiB of GPU 1 (NVIDIA H200)", "CUDA_VISIBLE_DEVICES"),
    "fabric manager": (
        gpus(error="CUDA: cuInit fails with 802: system not yet initialized"),
        ERROR, "gpus", "system not yet initialized", "nvidia-fabricmanager"),
    "old driver": (
        gpus(driver="570.86.10"), ERROR, "cuda", "570.86.10", "580.65"),
    "torch without cuda": (
        gpus(torch_cuda=None), ERROR, "cuda", "without CUDA", "pytorch.org"),
    "clock ahead": (
        replace(NODE, clock=ClockOffset(12.34, 0.01)), WARNING, "clock", "12.3 s ahead of the driver's",
        "chrony"),
    "clock behind": (
        replace(NODE, clock=ClockOffset(-3600.0, 0.01)), WARNING, "clock", "3,600.0 s behind", "chrony"),
    "no clock": (replace(NODE, clock=None), WARNING, "clock", "did not say", "overloaded"),
    "too many cpus": (
        machine(cpus=2), WARNING, "cpus", "8 CPUs to Ray", "--num-cpus 2"),
    "little memory": (
        machine(memory_free=GIB // 2), WARNING, "memory", "512 MiB", "concurrent"),
    "docker's shared memory": (
        machine(shared_memory=64 * MIB, shared_memory_free=64 * MIB),
        WARNING, "shared_memory", "64 MiB in /dev/shm", "--shm-size"),
    "full shared memory": (
        machine(shared_memory_free=MIB), WARNING, "shared_memory", "1.0 MiB", "ls"),
    "few open files": (
        machine(open_files=(1024, 4096)),
        WARNING, "open_files", "1,024 files; the hard limit of 4,096", "ulimit -n 65536"),
    "temporary folder read-only": (
        machine(temporary_error="Read-only file system"),
        ERROR, "temporary", "in /tmp: Read-only", "TMPDIR"),
    "temporary folder full": (
        machine(temporary_free=3 * MIB), WARNING, "temporary", "3.0 MiB", "free some"),
    "temporary folder too long": (
        machine(temporary="/scratch/" + "x" * 90),
        WARNING, "temporary", "99 bytes", "/tmp"),
    "a token that others can read": (
        machine(exposed_token="/home/a b/.ray/auth_token"),
        WARNING, "token", "in /home/a b/.ray/auth_token, which other users",
        "chmod 600 '/home/a b/.ray/auth_token'"),
    "no storage": (
        storage(error="there is no such folder"),
        ERROR, "storage", "no such folder", "mounts at the same path"),
    "other storage": (
        storage(shared=False),
        ERROR, "storage", "another folder at /shared/experiments", "mounts at the same path"),
    "read-only storage": (
        storage(error="Read-only file system"),
        ERROR, "storage", "Read-only", "mount it for writing"),
    "storage shown to the node alone": (
        storage(seen=False), ERROR, "storage", "driver does not see", "mount"),
    "claims twice": (
        storage(claims=False), ERROR, "storage", "created before", "NFS"),
    "renames fail": (
        storage(renames=False), ERROR, "storage", "renaming", "another file"),
    "locks do not cross": (
        storage(locks=Locks.DO_NOT_CROSS),
        WARNING, "locks", "does not see locks", "nolock"),
    "no locks": (
        storage(locks=Locks.UNSUPPORTED),
        WARNING, "locks", "cannot lock", "attempt number"),
    "slow storage": (
        storage(write_ms=1234.5), WARNING, "storage", "1,234 ms", "faster"),
    "little space": (
        storage(free_bytes=100 * MIB),
        WARNING, "storage", "100 MiB", "budget_gb"),
    "full storage": (
        storage(free_bytes=0), ERROR, "storage", "0 bytes", "budget_gb"),
    "no inodes": (
        storage(free_files=12), WARNING, "storage", "12 more files", "remove"),
    "object store": (
        replace(NODE, store=StoreAnswer("s3://b: the store refuses")), ERROR, "store", "s3://b",
        "credentials"),
    "storage hangs": (
        replace(NODE, storage=None, silent={"storage": "no answer within 60 s"}),
        ERROR, "storage", "gives no answer within 60 s about the storage", "file server"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_problem_with_its_remedy(fault: str) -> None:
    node, severity, check, text, remedy = FAULTS[fault]
    problem = only_problem(node)
    assert (problem.severity, problem.check) == (severity, check)
    assert text in problem.text
    assert remedy in problem.remedy


def test_a_clock_is_judged_by_what_the_round_trip_leaves_certain() -> None:
    assert find_problems(cluster_of(replace(NODE, clock=ClockOffset(9.0, 6.0)))) == []
    assert only_problem(replace(NODE, clock=ClockOffset(9.0, 1.0))).check == "clock"


def test_two_nodes_that_both_create_one_file_are_an_error_of_both() -> None:
    won = replace(HEALTHY_STORAGE, won=True)
    nodes = [replace(healthy_node(n), storage=won if n < 3 else HEALTHY_STORAGE) for n in range(1, 4)]
    assert [p.node for p in find_problems(cluster_of(*nodes))] == [nodes[0].node, nodes[1].node]
    nodes[1] = replace(nodes[1], storage=HEALTHY_STORAGE)
    assert find_problems(cluster_of(*nodes)) == []


def test_a_closed_port_is_a_problem_of_the_node_that_has_it() -> None:
    closed = Unreachable(Port("0001", "raylet", "10.0.0.1", 41234), "Connection refused")
    others = [replace(healthy_node(n), unreachable=(closed,)) for n in range(2, 8)]
    (problem,) = find_problems(cluster_of(NODE, *others))
    assert problem.node == NODE.node
    assert "raylet (10.0.0.1:41234)" in problem.text
    assert "n2 (10.0.0.2), n3 (10.0.0.3), n4 (10.0.0.4) and 3 more: Connection refused" in problem.text
    assert "--node-manager-port" in problem.remedy


# --- data and weights -------------------------------------------------------------------------

IMAGES, MODEL = "data.coco.train.images", "model.name"
WANTED = Wanted(STORAGE, {IMAGES: "/data/train", MODEL: "/models/vit"}, model=HubModel("google/vit", "main"))
FILES = {IMAGES: Contents(True, 120), MODEL: Contents(True, 4)}


def with_files(node: NodeFindings, **changes: object) -> Iterator[Problem]:
    found = replace(
        cluster_of(replace(node, files=FILES | changes), wanted=WANTED), here_files=FILES, here_cache=(5, 6)
    )
    yield from find_problems(found)


def test_data_and_model_that_are_there_are_no_problem() -> None:
    assert list(with_files(NODE)) == []


@pytest.mark.parametrize(("key", "remedy"), [(IMAGES, "ADAPTERTUNE_CACHE"), (MODEL, "copy it")])
def test_what_a_node_does_not_have_is_named_by_its_key_and_path(key: str, remedy: str) -> None:
    (problem,) = with_files(NODE, **{key: "No such file or directory"})
    assert (problem.severity, problem.check) == (ERROR, "data")
    assert f"{key}: {WANTED.paths[key]}: No such file" in problem.text
    assert remedy in problem.remedy


def test_a_node_that_shares_the_drivers_cache_needs_the_model_and_not_the_data() -> None:
    shares = replace(NODE, cache=(5, 6))
    assert list(with_files(shares, **{IMAGES: "No such file or directory"})) == []
    assert len(list(with_files(shares, **{MODEL: "No such file or directory"}))) == 1
    assert len(list(with_files(replace(NODE, cache=(5, 7)), **{IMAGES: "No such file or directory"}))) == 1


def test_other_contents_than_the_drivers_are_a_warning() -> None:
    (problem,) = with_files(NODE, **{IMAGES: Contents(True, 20)})
    assert problem.severity is WARNING
    assert "has 20 entries at /data/train, and the driver 120 entries" in problem.text


def test_data_that_the_driver_does_not_have_are_its_problem_alone() -> None:
    found = cluster_of(replace(NODE, files=dict.fromkeys(FILES, "No such file")), wanted=WANTED)
    problems = find_problems(replace(found, here_files=dict.fromkeys(FILES, "No such file")))
    assert [problem.node for problem in problems] == ["the driver", "the driver"]


def test_weights_must_be_there_or_come_from_the_hub() -> None:
    for fine in (Weights(True), Weights(False, reachable=True)):
        assert find_problems(cluster_of(replace(NODE, weights=fine), wanted=WANTED)) == []
    offline = replace(NODE, weights=Weights(False, error="HF_HUB_OFFLINE is set"))
    (problem,) = find_problems(cluster_of(offline, wanted=WANTED))
    assert "google/vit" in problem.text
    assert "hf download google/vit" in problem.remedy


# --- the driver, and how problems are put together --------------------------------------------


def test_a_storage_that_the_driver_cannot_write_is_its_problem() -> None:
    found = replace(cluster_of(replace(NODE, storage=None)), storage_error="No space left on device")
    (problem,) = find_problems(found)
    assert (problem.severity, problem.node) == (ERROR, "the driver")
    assert str(STORAGE) in problem.text
    assert "free some space" in problem.remedy


def test_a_token_of_the_driver_that_others_can_read_is_told_once() -> None:
    path = "/home/ann/.ray/auth_token"
    (problem,) = find_problems(replace(cluster_of(NODE), here_token=path))
    assert (problem.severity, problem.check, problem.node) == (WARNING, "token", "the driver")
    on_node = replace(NODE, machine=replace(MACHINE, exposed_token=path))
    (problem,) = find_problems(replace(cluster_of(on_node), here_token=path))
    assert problem.node == NODE.node


def test_files_that_could_not_be_removed_are_named() -> None:
    (problem,) = find_problems(
        replace(cluster_of(NODE), left=Path("/shared/experiments/.adaptertune-check-1"))
    )
    assert ".adaptertune-check-1" in problem.text


def test_the_same_problem_of_many_nodes_is_told_once_and_errors_first() -> None:
    warnings = [Problem(WARNING, "clock", f"n{i}", f"is {i} s ahead", "chrony") for i in range(200)]
    errors = [Problem(ERROR, "versions", f"n{i}", "has no torch", "install") for i in range(2)]
    first, second = share([*warnings, *errors])
    assert (first.severity, first.nodes, first.texts) == (ERROR, ("n0", "n1"), ("has no torch",))
    assert (len(second.nodes), len(second.texts)) == (200, 200)


def test_nodes_on_one_machine_are_told_apart() -> None:
    same = [replace(NODE, id="aaaa00001"), replace(NODE, id="bbbb00001"), healthy_node(2)]
    names = [node.node for node in distinctly_named(same)]
    assert names == ["n1 (10.0.0.1) aaaa00", "n1 (10.0.0.1) bbbb00", "n2 (10.0.0.2)"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1536, "1.5 KiB"), (64 * MIB, "64 MiB"), (5 * 2**40, "5.0 TiB"),
     (5000 * 2**40, "5,000 TiB")],
)  # fmt: skip
def test_sizes_have_a_binary_unit(size: int, text: str) -> None:
    assert size_text(size) == text
