from __future__ import annotations

import socket
from collections import Counter

import pytest
from ports import free_port

from cluster.health.ports import Port, ports_of, ports_to_try, unreachable


def test_a_closed_port_is_told_with_its_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        opened = Port("a", "raylet", "127.0.0.1", server.getsockname()[1])
        closed = Port("b", "raylet", "127.0.0.1", free_port())
        (found,) = unreachable([opened, closed])
    assert found.port == closed
    assert found.reason == "Connection refused"
    assert unreachable([]) == ()


def test_the_ports_of_a_node() -> None:
    node = {"NodeID": "a", "NodeManagerAddress": "10.0.0.1", "NodeManagerPort": 1, "ObjectManagerPort": 2}
    assert ports_of(node) == (Port("a", "raylet", "10.0.0.1", 1), Port("a", "object manager", "10.0.0.1", 2))
    assert ports_of(node | {"ObjectManagerPort": -1}) == (Port("a", "raylet", "10.0.0.1", 1),)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_each_node_is_tried_by_as_many_others(count: int) -> None:
    nodes = [(Port(str(i), "raylet", "h", i),) for i in range(count)]
    tried = [{port.node for port in ports_to_try(nodes, i, 4)} for i in range(count)]
    for i, own in enumerate(tried):
        assert str(i) in own
        assert len(own) == min(count, 5)
    assert set(Counter(node for own in tried for node in own).values()) == {min(count, 5)}
