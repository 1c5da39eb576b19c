"""Every PEFT method with its defaults, and each of its arguments at other values, on both backbones.

Each is refused with a reason, or it does what it says: it trains, differs from what it is compared with,
repeats and resumes to the bit, and leaves as an adapter and merged.
"""

from __future__ import annotations

import math
import random

import pytest
import torch

from docs.peft_trials import Outcome, outcome_of
from docs.peft_variants import Variant, variants
from trainables.adapters.peft_arguments import PRACTICAL
from trainables.backbones import EMBEDDED
from trainables.specs.workload import Task

EVERY = [(task, variant) for variant in variants() for task in EMBEDDED]
IDS = [f"{task}-{variant.name}" for task, variant in EVERY]
# Adapters that train are slow to measure, and a refusal takes no time: both are in the sample.
SAMPLE = random.Random(12).sample(range(len(EVERY)), 24)


@pytest.fixture(autouse=True)
def _one_thread(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("task", "variant"), EVERY, ids=IDS)
def test_every_variant_is_refused_or_does_something(task: Task, variant: Variant) -> None:
    check(variant, outcome_of(task, variant))


@pytest.mark.slow
@pytest.mark.parametrize(("task", "variant"), [EVERY[i] for i in SAMPLE], ids=[IDS[i] for i in SAMPLE])
def test_a_sample_is_refused_or_does_something(task: Task, variant: Variant) -> None:
    check(variant, outcome_of(task, variant))


def check(variant: Variant, outcome: Outcome) -> None:
    if outcome.refused is not None:
        assert variant.argument is not None, "a method that is offered must work with its defaults"
        assert outcome.refused.startswith(("peft.arguments", "adapter 'peft", "init "))
        return
    assert outcome.moved
    assert outcome.from_head_only > 0
    assert outcome.from_lora > 0 or variant.method == "LORA"
    practical = str(variant.argument).split(".")[0] in PRACTICAL
    assert math.isnan(outcome.change) or (outcome.change > 0) != practical
    assert outcome.repeats
    assert outcome.resumes
    assert outcome.exports is None
    assert outcome.merge is None or outcome.merge.startswith("PEFT cannot merge")
    assert outcome.bf16 is None or outcome.bf16
