from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ablations import ran
from typer.testing import Result


def test_ablation_is_marked_observational(run: Callable[..., Result]) -> None:
    out = run("ablation", "digits", "--by", "freezing").stdout
    assert "observational" in out
    assert "head_only" in out
    assert "the sweep varies" in run("ablation", "digits", "--by", "nothing", code=2).stderr


VALUES = {4: {1: 0.50, 2: 0.52, 3: 0.51}, 8: {1: 0.60, 2: 0.63, 3: 0.60}}


def test_ablation_reads_a_designed_experiment_in_every_form(
    run: Callable[..., Result], storage: Path
) -> None:
    name = str(ran(storage / "other", VALUES, test=VALUES))
    out = run("ablation", name).stdout
    assert "designed: all other settings as in trial 0 of digits" in out
    assert "4 is worse than 8" in out
    assert json.loads(run("ablation", name, "--format", "json").stdout)["images"] == "test"
    assert run("ablation", name, "--format", "csv").stdout.count("\n") == 7
    assert "| 4 | 3 |" in run("ablation", name, "--format", "markdown").stdout
    assert "validation dice" in run("ablation", name, "--on", "validation").stdout


def test_ablation_of_a_sweep_needs_by_and_stays_observational(run: Callable[..., Result]) -> None:
    assert "digits is not a designed experiment" in run("ablation", "digits", code=2).stderr
    assert "observational" in run("ablation", "digits", "--by", "lora.rank").stdout
    assert "--at needs --by" in run("ablation", "digits", "--at", "2", code=2).stderr
    assert "not to --by" in run("ablation", "digits", "--by", "lora.rank", "--format", "json", code=2).stderr
