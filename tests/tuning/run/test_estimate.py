from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from recorded import experiment

from tuning.run.estimate import costliest_configs, estimate_sweep, trained_alone, trial_seconds


def measured(**said: Any) -> Any:
    return SimpleNamespace(
        **({"step_s": 0.1, "evaluate_s": 1.0, "peak_mb": 200.0, "steps_per_epoch": 10, "error": None} | said)
    )


def test_the_costliest_of_each_kind_of_adapter() -> None:
    configs = costliest_configs(experiment())
    assert [(c.adapter, c.mode) for c in configs] == [
        ("none", "full"),
        ("lora", "unfrozen"),
        ("serial_lora", "unfrozen"),
    ]
    assert configs[1].section.rank == 16


def test_peft_methods_are_kinds_of_their_own() -> None:
    space = {"adapter": {"choice": ["peft"]}, "peft.method": {"choice": ["IA3", "OFT"]}}
    methods = [c.peft.method for c in costliest_configs(experiment(space=space)) if c.peft is not None]
    assert methods == ["IA3", "OFT"]


def test_what_trains_alone_is_said_once() -> None:
    space = {"adapter": {"choice": ["lora", "peft"]}, "freezing": {"choice": ["frozen", "unfrozen"]}}
    assert trained_alone(experiment(space=space | {"peft.method": {"choice": ["IA3"]}})) == [
        "adapter peft may change more than the output of a layer",
        "freezing unfrozen trains a backbone of its own",
    ]
    packed = {"adapter": {"choice": ["lora"]}, "freezing": {"choice": ["frozen"]}}
    assert trained_alone(experiment(space=packed)) == []


def test_from_single_steps_to_the_sweep() -> None:
    asked = experiment()
    configs = costliest_configs(asked)
    assert trial_seconds(configs[0], measured()) == pytest.approx(6 * (10 * 0.1 + 1.0))
    runs = [measured(), measured(step_s=0.3, peak_mb=300.0), measured(error="no such layer")]
    sweep = estimate_sweep(asked, configs, runs, trials=5, side_by_side=2)
    assert sweep.trial_s == pytest.approx((12.0 + 24.0) / 2)
    assert sweep.total_s == pytest.approx(3 * 18.0)
    assert (sweep.peak_mb, sweep.total_mb) == (300.0, 600.0)
    assert estimate_sweep(asked, configs, runs, trials=None, side_by_side=2).total_s is None


def test_nothing_measured_is_nothing_expected() -> None:
    asked = experiment()
    configs = costliest_configs(asked)
    sweep = estimate_sweep(asked, configs, [measured(error="x")] * len(configs), trials=5, side_by_side=1)
    assert math.isnan(sweep.trial_s)
