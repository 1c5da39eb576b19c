"""Whether trials run in packs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, experiment
from scripted_pack import ScriptedPack

from tuning.ledger.history import History
from tuning.ledger.ledger import Ledger
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import ExperimentRecord
from tuning.run.composition import Composition
from tuning.run.ray_parts import packing_limits


def composed(folder: Path, trainable: type[Any] | None = None, **resources: Any) -> Composition:
    header = ExperimentRecord(name="sweep", file="", experiment={})
    recorder = Recorder(Ledger.create(folder, header), History(header))
    return Composition(experiment(resources=resources), folder, recorder, trainable)


@pytest.mark.parametrize(
    ("trainable", "resources", "lanes"),
    [
        (None, {"packing": 3}, 3),
        (ScriptedPack, {"packing": 3}, 3),
        (Scripted, {"packing": 3}, None),  # it takes one trial at a time
        (None, {"packing": "off"}, None),
    ],
)
def test_who_trains_in_packs(
    tmp_path: Path, trainable: type[Any] | None, resources: dict[str, Any], lanes: int | None
) -> None:
    limits = packing_limits(composed(tmp_path / "sweep", trainable, **resources))
    assert (None if limits is None else limits.lanes) == lanes


def test_where_workers_share_a_gpu_packing_is_off_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    auto, off = (composed(tmp_path / str(packing), gpus=0.5, packing=packing) for packing in ("auto", "off"))
    assert packing_limits(off) is None
    assert capsys.readouterr().err == ""
    assert packing_limits(auto) is None
    assert "packing is off" in capsys.readouterr().err
