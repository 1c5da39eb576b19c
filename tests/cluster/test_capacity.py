from __future__ import annotations

import pytest

from cluster.capacity import CAPACITY_FOR_S, Capacity, Node, count_slots, does_not_fit

LAPTOP = Node(cpus=2, gpus=0)
BOX = Node(cpus=16, gpus=1)


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
    assert count_slots(nodes, cpus=cpus, gpus=gpus) == expected


def test_what_does_not_fit_says_what_there_is_and_which_key_to_lower() -> None:
    assert does_not_fit([BOX], cpus=1, gpus=1) is None
    message = does_not_fit([LAPTOP], cpus=4, gpus=1)
    assert message is not None
    for part in ("CPUs: 4", "GPUs: 1", "largest machine has CPUs: 2, GPUs: 0", "resources.cpus"):
        assert part in message


def test_capacity_follows_the_cluster_and_never_falls_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now, nodes = [0.0], [LAPTOP]
    monkeypatch.setattr("cluster.capacity.time.monotonic", lambda: now[0])
    capacity, few = (Capacity(lambda: nodes, 1, 0, most) for most in (None, 3))
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
        Capacity(lambda: nodes, 1, 0, most, changed=lambda *change: said.append(change)) for most in (None, 2)
    )
    for change in (lambda: None, lambda: nodes.append(LAPTOP), lambda: None, nodes.clear):
        change()
        all_told(), few()
        now[0] += CAPACITY_FOR_S
    assert said == [(2, 4), (4, 1), (2, 1)]
