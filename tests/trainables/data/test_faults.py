from __future__ import annotations

import pytest

from trainables.data.faults import Action, Fault, Finding, stop_message, stopping_findings
from trainables.specs.data import FaultRule, FaultRules, Split


def test_every_fault_has_a_rule_and_every_rule_a_fault() -> None:
    assert {fault.value for fault in Fault} == set(FaultRules.model_fields)
    assert all(isinstance(fault.rule(FaultRules()), FaultRule) for fault in Fault)


def test_the_message_lists_twenty_and_counts_the_rest() -> None:
    findings = [
        Finding(Split.TRAIN, f"image_{i}", Fault.BAD_MASK, Action.IMAGE_DROPPED, "why") for i in range(23)
    ]
    assert stopping_findings(findings, FaultRules()) == findings
    assert stopping_findings(findings, FaultRules(bad_mask=FaultRule.DROP)) == []
    text = stop_message(findings)
    assert "got 23" in text
    assert "image_19" in text
    assert "image_20" not in text
    assert "and 3 more" in text
    assert "data.faults.bad_mask: drop" in text


@pytest.mark.parametrize("name", sorted(FaultRules.model_fields))
def test_only_an_empty_mask_may_be_kept(name: str) -> None:
    text = f'{{"{name}": "keep"}}'
    if name == "empty_mask":
        assert FaultRules.model_validate_json(text).empty_mask is FaultRule.KEEP
        return
    with pytest.raises(ValueError, match="must be drop or stop, got keep; keep is valid for empty_mask only"):
        FaultRules.model_validate_json(text)
