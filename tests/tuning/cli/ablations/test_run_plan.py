from __future__ import annotations

from pathlib import Path

import pytest
from ablations import ranks, sweep_in

from analysis.ablation.design import choose_base
from trainables.errors import StorageError
from tuning.cli.ablations.run_plan import _refuse_other


def test_a_note_that_another_version_worded_differently_makes_no_other_design(tmp_path: Path) -> None:
    base = choose_base(sweep_in(tmp_path / "digits"))
    asked = ranks(base, 4, 8)
    assert asked.ablation is not None
    noted = asked.ablation.model_copy(update={"notes": ("as an earlier version wrote it",)})
    _refuse_other(asked.model_copy(update={"ablation": noted}), asked, tmp_path)
    with pytest.raises(StorageError, match="another design"):
        _refuse_other(ranks(base, 4, 16), asked, tmp_path)
