from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from trainables.adapters.rules import check_adapter_fits


def test_needs_no_torch() -> None:
    code = "import sys, trainables.adapters.rules; print(any(m in sys.modules for m in ('torch', 'peft')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        ({"adapter": "lora", "blocks": [3, 11]}, []),
        (
            {"adapter": "lora", "blocks": [3, 12]},
            [
                "blocks [3, 12]: the model has 12 blocks; use numbers from 0 to 11, or from -12 to -1, "
                "counted from the last block"
            ],
        ),
        ({"adapter": "lora", "blocks": [-4, -1]}, []),
        ({"adapter": "lora", "blocks": [-12, 11]}, []),
        (
            {"adapter": "lora", "blocks": [-13, -1]},
            [
                "blocks [-13, -1]: the model has 12 blocks; use numbers from 0 to 11, or from -12 to -1, "
                "counted from the last block"
            ],
        ),
        (
            {"adapter": "lora", "blocks": [-4, 7]},
            [
                "blocks [-4, 7]: the model has 12 blocks, so this runs from block 8 to block 7; "
                "the first must not come after the last"
            ],
        ),
        (
            {"adapter": "none", "freezing": "full", "frozen_blocks": 13},
            ["frozen_blocks 13: the model has 12 blocks; use a number from 0 to 12"],
        ),
        ({"adapter": "localized_lora", "localized_lora": {"blocks": 16}}, []),
        (
            {"adapter": "localized_lora", "localized_lora": {"blocks": 5}},
            [
                "localized_lora.blocks 5 must divide the hidden size 768; "
                "use 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256"
            ],
        ),
        ({"adapter": "peft", "peft": {"method": "PVERA", "arguments": {"sample_at_inference": False}}}, []),
        (
            {"adapter": "peft", "peft": {"method": "PVERA", "arguments": {"sample_at_inference": True}}},
            [
                "peft.arguments.sample_at_inference true cannot be used here: the model would be random in "
                "evaluation, and its metrics those of one draw; remove it"
            ],
        ),
    ],
)
def test_names_the_values_that_fit(fields: dict[str, Any], faults: list[str], trial) -> None:
    assert check_adapter_fits(trial(**fields), 768, 12) == faults


def test_the_mlp_width_counts_where_the_mlp_is_adapted(trial) -> None:
    config = trial(adapter="localized_lora", targets=["mlp"], localized_lora={"blocks": 3})
    assert check_adapter_fits(config, 6, 1, inner=9) == []
    assert check_adapter_fits(config, 6, 1, inner=8) == [
        "localized_lora.blocks 3 must divide the hidden size 6 and the MLP width 8; use 2"
    ]


@pytest.mark.parametrize("span", [[-13, -1], [-4, 7], [3, 12]])
def test_blocks_of_an_unknown_model_are_not_judged(span: list[int], trial) -> None:
    assert check_adapter_fits(trial(adapter="lora", blocks=span), 768, None) == []


def test_every_fault_at_once(trial) -> None:
    config = trial(
        adapter="adalora", blocks=[0, 9], freezing="unfrozen", frozen_blocks=7, adalora={"interval": 50}
    )
    assert len(check_adapter_fits(config, 32, 2, total_steps=60)) == 3
