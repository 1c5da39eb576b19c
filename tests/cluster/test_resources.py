from __future__ import annotations

import pytest

from cluster.resources import Node, does_not_fit, slots

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
    assert slots(nodes, cpus=cpus, gpus=gpus) == expected


def test_what_does_not_fit_says_what_there_is_and_which_key_to_lower() -> None:
    assert does_not_fit([BOX], cpus=1, gpus=1) is None
    message = does_not_fit([LAPTOP], cpus=4, gpus=1)
    assert message is not None
    for part in ("4 CPUs", "1 GPUs", "largest here has 2 and 0", "resources.cpus"):
        assert part in message
