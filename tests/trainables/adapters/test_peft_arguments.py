"""Arguments that would do nothing are refused, with the reason and before any work."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from trainables.adapters.families.passthrough import offered_methods
from trainables.adapters.inject import inject_adapter
from trainables.adapters.layout import layout_of
from trainables.adapters.peft_arguments import NEEDS, PRACTICAL, REFUSED, argument_faults, pattern_faults
from trainables.adapters.rules import check_adapter_fits
from trainables.errors import AdapterError, ExperimentFileError
from tuning.experiment.load import load_experiment

LAYERS = [f"layers.{block}.attention.{role}_proj" for block in (0, 1) for role in ("q", "v")]


def fields_of(method: str) -> set[str]:
    kind = next(kind for kind in PEFT_TYPE_TO_CONFIG_MAPPING if kind.value == method)
    return set(PEFT_TYPE_TO_CONFIG_MAPPING[kind].__dataclass_fields__)


def test_the_table_is_of_arguments_that_peft_has() -> None:
    for rule in REFUSED:
        methods = offered_methods() if rule.method is None else [rule.method]
        assert any(rule.argument in fields_of(method) for method in methods), rule
    for need in NEEDS:
        assert {need.argument, need.other} <= fields_of(need.method), need
        assert need.fits(need.like)
    assert set().union(*map(fields_of, offered_methods())) >= PRACTICAL


@pytest.mark.parametrize(
    ("method", "arguments", "says"),
    [
        ("LORA", {"init_lora_weights": "corda"}, "CorDA needs a preparation"),
        ("lora", {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, "LoftQ quantizes"),
        ("LORA", {"init_lora_weights": "pissa_niter_4"}, "overwrites backbone weights"),
        ("LORA", {"use_qalora": True}, "QALoRA works on GPTQ-quantized layers only"),
        ("LORA", {"alora_invocation_tokens": [1]}, "text tokens"),
        ("LORA", {"monteclora_config": {}}, "adds a term to the loss"),
        ("LORA", {"eva_config": {}}, 'no effect without init_lora_weights, such as init_lora_weights: "eva"'),
        (
            "LORA",
            {"init_lora_weights": "eva", "eva_config": {"use_label_mask": False}},
            "for language models",
        ),
        ("LORA", {"init_lora_weights": "lora_ga", "use_dora": True}, "cannot be combined"),
        ("LORA", {"use_bdlora": {"target_modules_bd_a": ["q_proj"]}}, "nblocks 1 is plain LoRA"),
        ("ADAMSS", {"use_asa": True}, "after every step"),
        ("ADAMSS", {"mask_interval": 5}, "a setting of use_asa"),
        ("ADAMSS", {"r": 200}, "the same as 32"),
        ("VERA", {"fan_in_fan_out": True}, "store their weights transposed"),
        ("HIRA", {"rank_pattern": {"q_proj": 2}}, "gives every layer rank r"),
        ("MISS", {"mini_r": 2}, "no effect without init_weights"),
        ("OFT", {"module_dropout": 0.2}, "never calls it"),
        ("LORA", {"velora_config": {"init_type": "batch_average_once"}}, "use batch_average or random"),
        ("OSF", {"effective_rank": 32}, "less than 32"),
        ("OSF", {"effective_rank": 1.0}, "freezes every direction"),
        ("OSF", {"rank_pattern": {"q_proj": 40}}, r"rank_pattern\.q_proj 40 freezes every direction"),
    ],
)
def test_what_would_do_nothing_is_refused(method: str, arguments: dict[str, Any], says: str, trial) -> None:
    config = trial(adapter="peft", peft={"method": method, "arguments": arguments})
    faults = check_adapter_fits(config, hidden=32, blocks=2)
    assert any(re.search(says, fault) for fault in faults), faults


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("LORA", {"init_lora_weights": "eva", "eva_config": {"rho": 1.5}}),
        ("LORA", {"init_lora_weights": "lora_ga", "lora_ga_config": {"scale": "unit"}}),
        ("LORA", {"fan_in_fan_out": False, "use_qalora": False, "alora_invocation_tokens": None}),
        ("ADAMSS", {"r": 32, "use_dynamic_rank": True, "subspace_rank": 2, "svd_threshold": 0.5}),
        ("OFT", {"module_dropout": 0.0, "coft": True, "eps": 1e-4}),
        ("OSF", {"effective_rank": 31}),
        ("OSF", {"effective_rank": 0.5}),
        ("SUPERTUNING", {"r": 2, "lora_dropout": 0.1}),
    ],
)
def test_what_does_something_is_not(method: str, arguments: dict[str, Any]) -> None:
    assert argument_faults(method, arguments, 32) == []


@pytest.mark.parametrize(
    ("method", "pattern", "unmatched"),
    [
        ("LORA", {"q_proj": 2}, []),
        ("LORA", {"^layers.0.attention.q_proj": 2}, []),
        ("LORA", {"query": 2}, ["query"]),
        ("LORA", {"proj": 2}, ["proj"]),
        ("LORA", {r".*_proj": 2, "q_proj": 4}, ["q_proj"]),
        ("OSF", {"proj": 2}, []),
        ("C3A", {"attention.q_proj": 2, r"layers\.7.*": 1}, [r"layers\.7.*"]),
        ("LOHA", {}, []),
        ("LORA", {"": 2, "q_proj": 3}, [""]),
    ],
)
def test_keys_of_patterns_must_match_a_layer(
    method: str, pattern: dict[str, int], unmatched: list[str]
) -> None:
    faults = pattern_faults(method, {"rank_pattern": pattern}, LAYERS)
    assert [fault.split("'")[1] for fault in faults] == unmatched
    assert all("the layers end in q_proj, v_proj, such as layers.0.attention.q_proj" in f for f in faults)


def test_a_key_that_is_no_regular_expression_is_refused() -> None:
    (fault,) = pattern_faults("LORA", {"alpha_pattern": {"(": 2}}, LAYERS)
    assert "no regular expression" in fault


@pytest.mark.parametrize(
    ("method", "arguments", "says"),
    [
        ("LORA", {"use_rslora": "false"}, "use_rslora must be true or false, got 'false'"),
        ("LORA", {"r": "8"}, "r must be a number"),
        (
            "LORA",
            {"init_lora_weights": "eva", "eva_config": {"roh": 2}},
            r"eva_config\.roh: .*did you mean 'rho'",
        ),
        ("LORA", {"velora_config": {"init_type": "mean"}}, r"velora_config\.init_type must be one of"),
        ("LORA", {"rank_pattern": {"queri": 2}}, "'queri' matches no adapted layer"),
        ("PSOFT", {"psoft_svd": "fast"}, "psoft_svd must be one of 'full', 'lowrank'"),
        ("OSF", {"effective_rank": 32}, "freezes every direction"),
    ],
)
def test_the_first_build_refuses_what_needs_the_model_or_peft(
    method: str, arguments: dict[str, Any], says: str, pristine_vit, clone, trial
) -> None:
    model = clone(pristine_vit)
    config = trial(adapter="peft", peft={"method": method, "arguments": arguments})
    with pytest.raises(AdapterError, match=says):
        inject_adapter(model, config, layout_of(model), total_steps=1)


def test_lily_shares_its_weights_between_layers_of_a_role(pristine_vit, clone, trial) -> None:
    """One B for each role, and one A for each run of `stride_A` layers."""
    for stride, distinct in ((1, 4), (2, 2)):
        model = clone(pristine_vit)
        peft = {"method": "LILY", "arguments": {"r": 4, "stride_A": stride, "num_B": 2}}
        inject_adapter(model, trial(adapter="peft", peft=peft), layout_of(model), total_steps=1)
        layers = [m for m in model.modules() if hasattr(m, "lily_B")]
        assert len({id(m.lily_B["default"]) for m in layers}) == 2
        assert len({id(m.lily_A["default"]) for m in layers}) == distinct
        with torch.no_grad():
            model(torch.randn(1, 3, 32, 32))


def test_validate_refuses_before_any_work(tmp_path) -> None:
    file = tmp_path / "sweep.yaml"
    text = (
        "name: one\ntask: segmentation\nmodel: {name: embedded}\ndata: {embedded: {domain: inverted}}\n"
        "objective: {metric: dice}\nsearch: {random: {}, trials: 2}\n"
        "trial: {epochs: 1, adapter: peft, peft: PEFT}\nspace: {learning_rate: {choice: [0.1, 0.2]}}\n"
    )
    for arguments, says in (
        ({"init_lora_weights": "corda"}, "CorDA needs a preparation"),
        ({"use_qalora": True, "alora_invocation_tokens": [1]}, "QALoRA"),
    ):
        peft = json.dumps({"method": "LORA", "arguments": arguments})
        file.write_text(text.replace("PEFT", peft), encoding="utf-8")
        with pytest.raises(ExperimentFileError, match=says) as raised:
            load_experiment(str(file))
        assert str(raised.value).count(says) == 1
        assert "trial.peft.arguments" in str(raised.value)
    good = json.dumps({"method": "LORA", "arguments": {"init_lora_weights": "eva"}})
    file.write_text(text.replace("PEFT", good), encoding="utf-8")
    load_experiment(str(file))
