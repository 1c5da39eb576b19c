from __future__ import annotations

import time
from pathlib import Path

from cluster.capacity import Needs
from cluster.connect import connect
from cluster.demand import demanded


def test_a_machine_is_asked_for_until_the_block_ends(tmp_path: Path) -> None:
    """Ray's autoscalers start machines for placement groups that wait."""
    from ray.util import placement_group_table

    needs = Needs(1, 512)  # more GPUs than any machine has
    with connect(None, threads=1, log=tmp_path / "ray.log"):
        with demanded(needs):
            (group,) = placement_group_table().values()
            assert group["state"] == "PENDING"
            assert list(group["bundles"].values()) == [needs.bundle()]
        deadline = time.monotonic() + 120
        while (state := placement_group_table()[group["placement_group_id"]]["state"]) != "REMOVED":
            assert state == "PENDING"
            assert time.monotonic() < deadline
            time.sleep(0.05)
