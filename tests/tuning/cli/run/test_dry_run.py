from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tuning.cli.run.dry_run import MESSAGE_LENGTH, MESSAGES, message_lines


@pytest.mark.usefixtures("training")
def test_a_dry_run_measures_each_kind_of_adapter(run: Callable[..., Result], storage: Path) -> None:
    small = ("--set", "data.embedded={train: 16, validation: 4, test: 1}", "--set", "trial.batch_size=4")
    space = ("--set", "space={adapter: {choice: [none, lora]}, learning_rate: {float: [1e-3, 1e-2]}}")
    search = ("--set", "search={nsga2: {}}")
    out = run("launch", "quickstart", "--dry-run", "--trials", "4", *small, *space, *search).stdout
    assert "head_only" in out
    assert "search.nsga2 learns from 20 trials at a time" in out
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
    assert "random in evaluation" in " ".join(refused.split())


@pytest.mark.usefixtures("training")
def test_what_libraries_say_is_shown_once_and_after_the_table(run: Callable[..., Result]) -> None:
    small = ("--set", "data.embedded={train: 16, validation: 4, test: 1}", "--set", "trial.batch_size=4")
    space = ("--set", "space={adapter: {choice: [peft]}, peft.method: {choice: [BOFT, LN_TUNING]}}")
    result = run("launch", "quickstart", "--dry-run", "--trials", "4", *small, *space, code=0)
    before, _, after = result.stdout.partition("libraries said, while this was measured:")
    assert "peft BOFT" in before
    assert "memory " in before
    assert after.count("boft_n_butterfly_factor to 1") == 1
    assert "Warning" not in result.stderr


def test_messages_are_named_by_their_adapters_and_cut() -> None:
    long = "x" * 500
    lines = message_lines([("lora", ["same"]), ("lora", ["same"]), ("peft OFT", ["same", long])])
    assert lines[1:] == ["  lora and 1 more: same", f"  peft OFT: {'x' * MESSAGE_LENGTH}…"]
    assert message_lines([("lora", [])]) == []
    many = message_lines([("lora", [str(n) for n in range(MESSAGES + 2)])])
    assert len(many) == MESSAGES + 2
    assert many[-1] == "  … and 2 more"
