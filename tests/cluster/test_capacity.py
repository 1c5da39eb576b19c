from __future__ import annotations

from collections.abc import Sequence

import pytest

from cluster.capacity import CAPACITY_FOR_S, Capacity, Needs, Node, count_slots, does_not_fit, node_of

LAPTOP = Node(cpus=2, gpus=0)
BOX = Node(cpus=16, gpus=1)
SMALL, LARGE = Node(8, 0, 16e9), Node(8, 0, 64e9)


def on_cpu(nodes: Sequence[Node]) -> Needs:
    return Needs(1, 0)


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "expected"),
    [
        ([LAPTOP], 1, 0, 2),
        ([LAPTOP], 2, 0, 1),
        ([LAPTOP], 3, 0, 0),
        ([LAPTOP, LAPTOP], 3, 0, 0),  # a trial does not span machines
        ([LAPTOP], 0.1, 0, 20),
        ([BOX], 1, 1, 1),
        ([BOX], 1, 0.1, 10),
        ([BOX, LAPTOP], 1, 0.25, 4),
        ([BOX, LAPTOP], 2, 0, 9),
        ([], 1, 0, 0),
    ],
)
def test_slots(nodes: list[Node], cpus: float, gpus: float, expected: int) -> None:
    assert count_slots(nodes, Needs(cpus, gpus)) == expected


def test_what_does_not_fit_says_what_there_is_and_which_key_to_lower() -> None:
    assert does_not_fit([BOX], Needs(1, 1)) is None
    message = does_not_fit([LAPTOP], Needs(4, 1))
    assert message is not None
    for part in ("CPUs: 4", "GPUs: 1", "any machine has is CPUs: 2, GPUs: 0", "resources.cpus"):
        assert part in message


def test_capacity_follows_the_cluster_and_never_falls_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now, nodes = [0.0], [LAPTOP]
    monkeypatch.setattr("cluster.capacity.time.monotonic", lambda: now[0])
    capacity, few = (Capacity(lambda: nodes, on_cpu, most) for most in (None, 3))
    assert (capacity(), few()) == (2, 2)
    nodes.append(BOX)
    assert capacity() == 2  # cached for a while
    now[0] += CAPACITY_FOR_S
    assert (capacity(), few()) == (18, 3)
    nodes.clear()
    now[0] += CAPACITY_FOR_S
    assert capacity() == 1


def test_it_is_said_when_nodes_have_joined_or_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now, nodes, said = [0.0], [LAPTOP], []
    monkeypatch.setattr("cluster.capacity.time.monotonic", lambda: now[0])
    all_told, few = (
        Capacity(lambda: nodes, on_cpu, most, changed=lambda *change: said.append(change))
        for most in (None, 2)
    )
    for change in (lambda: None, lambda: nodes.append(LAPTOP), lambda: None, nodes.clear):
        change()
        all_told(), few()
        now[0] += CAPACITY_FOR_S
    assert said == [(2, 4), (4, 1), (2, 1)]


@pytest.mark.parametrize(
    ("memory", "expected"), [(0, 16), (2e9, 16), (10e9, 7), (20e9, 3), (60e9, 1), (70e9, 0)]
)
def test_memory_decides_where_a_worker_fits(memory: float, expected: int) -> None:
    assert count_slots([SMALL, LARGE], Needs(1, 0, memory)) == expected


def test_too_little_memory_is_named_with_its_key() -> None:
    message = does_not_fit([SMALL, LARGE], Needs(1, 0, 70e9))
    assert message is not None
    assert "memory: 70 GB" in message
    assert "any machine has is CPUs: 8, GPUs: 0, memory: 64 GB" in message
    assert message.endswith("lower resources.cpus or resources.memory_gb")


def test_a_node_of_ray() -> None:
    assert node_of({"Resources": {"CPU": 4.0, "GPU": 2.0, "memory": 8e9, "node:10.0.0.1": 1.0}}) == Node(
        4, 2, 8e9
    )
    assert node_of({"Resources": {}}) == Node(0, 0, 0)


def test_workers_that_have_no_gpu_leave_room_for_those_that_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """They count for the most that the user allows, and no more for what fits."""
    now, nodes = [0.0], [LAPTOP]
    monkeypatch.setattr("cluster.capacity.time.monotonic", lambda: now[0])
    old, new = Needs(1, 0), Needs(1, 1)
    all_told, few = (
        Capacity(lambda: nodes, lambda there: new if BOX in there else old, most) for most in (None, 2)
    )
    assert all_told.needs == old
    assert not all_told.full([old])
    assert all_told.full([old, old])
    nodes.append(BOX)
    now[0] += CAPACITY_FOR_S
    assert (all_told.needs, few.needs) == (new, new)
    assert not all_told.full([old, old])
    assert all_told.full([old, old, new])
    assert few.full([old, old])
    assert not few.full([old])
