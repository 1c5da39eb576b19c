from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result


@pytest.mark.usefixtures("training")
def test_a_dry_run_measures_each_kind_of_adapter(run: Callable[..., Result], storage: Path) -> None:
    small = ("--set", "data.embedded={train: 16, validation: 4, test: 1}", "--set", "trial.batch_size=4")
    space = ("--set", "space={adapter: {choice: [none, lora]}, learning_rate: {float: [1e-3, 1e-2]}}")
    out = run("launch", "quickstart", "--dry-run", "--trials", "4", *small, *space).stdout
    assert "head_only" in out
    assert "trials  4, " in out
    assert " in parallel" in out
    assert "a trial, about" in out
    assert not (storage / "quickstart").exists()


@pytest.mark.usefixtures("training")
def test_a_dry_run_names_what_never_trains_and_refuses_what_is_random(run: Callable[..., Result]) -> None:
    small = ("--set", "data.embedded={train: 8, validation: 4, test: 1}", "--set", "trial.batch_size=4")
    hra = ("--set", "trial.adapter=peft", "--set", "trial.peft={method: HRA}")
    fixed = (
        *hra,
        "--set",
        "trial.freezing=unfrozen",
        "--set",
        "space={learning_rate: {float: [1e-3, 1e-2]}}",
    )
    out = " ".join(run("launch", "quickstart", "--dry-run", *small, *fixed).stdout.split())
    assert "peft HRA, unfrozen: has no gradient and never trains:" in out
    assert "layers.*.attention.q_proj.base_layer.weight (4)" in out
    sampled = ("--set", "trial.peft={method: PVERA, arguments: {sample_at_inference: true}}")
    refused = run("launch", "quickstart", "--dry-run", *small, *fixed, *sampled, code=2).stderr
    assert "PVERA would be random in evaluation" in " ".join(refused.split())
