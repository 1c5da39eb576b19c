"""Population-based training in packs: trials are computed together, and compared in step."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_pack import FakeTune, outcomes

from trainables.run_folder import LAST_STATE
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import AddedRecord
from tuning.ledger.storage import trial_folder

PARTS = {
    "search": {"trials": 8, "seed": 2, "random": {}},
    "scheduler": {"pbt": {"interval_epochs": 2, "explore": ["learning_rate"]}},
    "trial": {"epochs": 6},
}


def line_up(tune: FakeTune) -> None:
    for number in range(20):
        file = trial_folder(tune.folder, number) / LAST_STATE
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number)


@pytest.mark.parametrize("places", [1, 2])
def test_a_population_comes_to_its_end(tmp_path: Path, places: int) -> None:
    found = []
    for seed in range(3):
        tune = FakeTune(tmp_path / f"{seed}", places=places, seed=seed, **PARTS)
        line_up(tune)
        tune.run()
        counted = list(outcomes(tune).values())
        assert counted.count(Outcome.COMPLETED) == 8
        assert counted.count(Outcome.PRUNED) == len(counted) - 8 >= 2
        added = [record for record in tune.events if isinstance(record, AddedRecord)]
        found.append([(a.of, a.parent.instead_of, a.params) for a in added if a.parent is not None])
        assert all(
            (tune.folder / "parents" / a.parent.file).read_bytes() == b"%d" % (a.of or 0)
            for a in added
            if a.parent is not None
        )
    assert found[0] == found[1] == found[2], "whoever was faster"
