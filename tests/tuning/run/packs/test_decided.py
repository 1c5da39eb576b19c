"""How many trials a worker takes is recorded once, and used on resume."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_pack import Decides, FakeTune, WithMoreMemory

from trainables.specs.pack import Packing, WhyLanes
from tuning.ledger.records import PackingRecord
from tuning.run.packs.decided import packing_in, to_record

FOUR = Packing(group="g", lanes=4, why=WhyLanes.MEMORY, lane_mb=3.0)
GAIN = FOUR.model_copy(update={"timed": 3, "together_ms": 2.0, "alone_ms": 3.0})
LESS = FOUR.model_copy(update={"lanes": 2, "why": WhyLanes.OUT_OF_MEMORY})


def recorded(said: Packing) -> PackingRecord:
    return PackingRecord(**said.model_dump())


@pytest.mark.parametrize(
    ("known", "said", "lanes", "timed"),
    [
        (None, FOUR, 4, None),
        (FOUR, FOUR, None, None),
        (FOUR, FOUR.model_copy(update={"lanes": 3}), None, None),  # another worker, with less memory
        (FOUR, GAIN, 4, 3),
        (FOUR, GAIN.model_copy(update={"lanes": 16}), 4, 3),
        (GAIN, GAIN.model_copy(update={"timed": 4}), None, None),
        (GAIN, LESS, 2, None),
        (LESS, FOUR, None, None),
        (LESS, LESS.model_copy(update={"lanes": 1}), 1, None),
    ],
)
def test_the_first_worker_decides_for_all_unless_memory_runs_out(
    known: Packing | None, said: Packing, lanes: int | None, timed: int | None
) -> None:
    new = to_record(None if known is None else recorded(known), said)
    assert (None if new is None else new.lanes) == lanes
    assert (None if new is None else new.timed) == timed


def test_a_record_comes_back_as_it_was_said() -> None:
    assert packing_in(recorded(GAIN)) == GAIN
    assert packing_in(recorded(GAIN).model_copy(update={"why": "of a newer version"})).lanes == 4


@pytest.mark.parametrize("pack", [Decides, WithMoreMemory])
def test_it_is_recorded_before_trials_depend_on_it(tmp_path: Path, pack: type[Decides]) -> None:
    tune = FakeTune(
        tmp_path / "sweep", pack=pack, resources={"packing": "auto"}, search={"random": {}, "trials": 12}
    )
    tune.open()
    assert tune.sizes == [1]
    tune.turn()
    assert tune.sizes == [pack.lanes]
    kinds = [record.kind for record in tune.events]
    assert kinds[:3] == ["started", "packing", "started"]
    tune.run()
    assert kinds.count("packing") == 1


def test_later_packs_get_what_is_recorded(tmp_path: Path) -> None:
    tune = FakeTune(
        tmp_path / "sweep", pack=Decides, resources={"packing": "auto"}, search={"random": {}, "trials": 12}
    )
    tune.open()
    tune.turn()
    tune.kill(0)
    tune.pack = WithMoreMemory
    tune.open()
    assert [each.lanes for each in tune.running[0].config["job"].decided] == [Decides.lanes]
    assert tune.sizes == [Decides.lanes]  # at once
    tune.turn()
    assert tune.sizes == [Decides.lanes]
