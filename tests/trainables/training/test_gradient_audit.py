"""The gradient audit: what a trial counts as training has a gradient, and the trial does not notice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.trainables.conftest import config, report_values, run
from trainables.adapters import rules
from trainables.adapters.generators import held_generators
from trainables.backbones import EMBEDDED
from trainables.errors import AdapterError, ModelError
from trainables.models.freezing import count_parameters
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task
from trainables.training import engine as engine_module
from trainables.training import gradient_audit
from trainables.training.engine import Engine
from trainables.training.gradient_audit import grouped
from trainables.training.state import TrialState

EngineOf = Callable[[Task], Engine]

FULL: list[dict[str, Any]] = [
    {"adapter": "none"},
    {"adapter": "none", "freezing": "full"},
    {"adapter": "none", "freezing": "full", "frozen_blocks": 2},
    {"adapter": "lora"},
    {"adapter": "lora", "lora": {"dora": True, "dropout": 0.5}, "targets": ["query", "key", "output", "mlp"]},
    {"adapter": "lora", "freezing": "unfrozen"},
    {"adapter": "lora", "freezing": "unfreeze_at", "unfreeze_epoch": 2},
    {"adapter": "adalora", "adalora": {"init_rank": 6, "target_rank": 2}},
    {"adapter": "loha", "loha": {"module_dropout": 0.9}},
    {"adapter": "lokr", "lokr": {"rank_dropout": 0.9}},
    {"adapter": "serial_lora"},
    {"adapter": "localized_lora"},
    {"adapter": "peft", "peft": {"method": "PVERA", "arguments": {"generator_seed": 3}}},
    {"adapter": "peft", "peft": {"method": "LORA", "arguments": {"init_lora_weights": "mica"}}},
]
"""Settings with which every parameter that is set to train has a gradient."""


def settings(fields: dict[str, Any]) -> TrialConfig:
    return config(json.dumps({"epochs": 2, "batch_size": 8, **fields}))


def method(name: str, freezing: str = "unfrozen", **fields: Any) -> TrialConfig:
    return settings({"adapter": "peft", "peft": {"method": name}, "freezing": freezing, **fields})


@pytest.mark.parametrize("task", list(EMBEDDED))
@pytest.mark.parametrize("fields", FULL, ids=[json.dumps(fields) for fields in FULL])
def test_every_parameter_has_a_gradient(engine_of: EngineOf, task: Task, fields: dict[str, Any]) -> None:
    if task is Task.SEGMENTATION:
        fields = fields | {"head": {"norm": True, "dropout": 0.5}}
    state = engine_of(task).start(settings(fields))
    assert state.still == ()
    assert count_parameters(state.parts, state.config, still=state.still) == count_parameters(
        state.parts, state.config
    )


@pytest.mark.parametrize("task", list(EMBEDDED))
@pytest.mark.parametrize("name", ["HRA", "SHIRA", "FROD", "LN_TUNING"])
def test_weights_that_a_method_detaches_are_named_and_not_counted(
    engine_of: EngineOf, task: Task, name: str
) -> None:
    """The audit names exactly the parameters that training leaves as they are."""
    engine = engine_of(task)
    state = engine.start(method(name))
    before = {n: p.detach().clone() for n, p in state.model.named_parameters()}
    list(engine.advance([state], steps=3))
    trained = {*state.parts.adapter, *state.parts.head, *state.parts.movable(state.config)}
    left = {n for n in trained if torch.equal(state.model.get_parameter(n), before[n])}
    assert set(state.still) == left
    assert left
    assert all(".base_layer." in n for n in left)
    counts = count_parameters(state.parts, state.config, still=state.still)
    whole = count_parameters(state.parts, state.config)
    assert whole["backbone"] - counts["backbone"] == sum(before[n].numel() for n in left)
    assert {k: v for k, v in counts.items() if k != "backbone"} == {
        k: v for k, v in whole.items() if k != "backbone"
    }


def test_the_stage_after_unfreezing_is_audited_too(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    later = engine.start(method("HRA", "unfreeze_at", unfreeze_epoch=1))
    assert set(later.still) == set(engine.start(method("HRA")).still) != set()
    assert engine.start(method("HRA", "frozen")).still == ()
    assert not any(p.requires_grad for p in later.parts.backbone.values())


@pytest.mark.parametrize(
    "fields",
    [
        {"adapter": "lora", "lora": {"dropout": 0.2}, "head": {"norm": True}},
        {"adapter": "none", "freezing": "full"},
        {"adapter": "peft", "peft": {"method": "PVERA", "arguments": {"generator_seed": 3}}},
    ],
)
def test_a_trial_does_not_notice_the_audit(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    engine, asked = engine_of(Task.SEGMENTATION), settings(fields)

    def everything(state: TrialState) -> list[torch.Tensor]:
        held = [g.get_state() for g in held_generators(state.model).values()]
        return [*state.model.parameters(), *state.model.buffers(), torch.get_rng_state(), *held]

    engine._audited.clear()
    audited = engine.start(asked)
    values = [tensor.clone() for tensor in everything(audited)]
    assert all(p.grad is None for p in audited.model.parameters())
    assert not audited.model.training
    curve = report_values(run(engine, audited))
    engine._audited.clear()
    monkeypatch.setattr(engine_module, "parameters_without_gradient", lambda *_: ())
    without = engine.start(asked)
    assert all(torch.equal(a, b) for a, b in zip(values, everything(without), strict=True))
    assert report_values(run(engine, without)) == curve
    engine._audited.clear()


def test_one_audit_for_all_trials_of_a_kind(engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(Task.SEGMENTATION)
    monkeypatch.setattr(engine, "_audited", {})
    asked = []
    monkeypatch.setattr(engine_module, "parameters_without_gradient", lambda *a: asked.append(a) or ())
    for fields, audits in (
        ({"adapter": "lora", "lora": {"rank": 4, "alpha": 3.0}}, 1),
        ({"adapter": "lora", "lora": {"rank": 2, "alpha": 9.0}, "seed": 3, "learning_rate": 0.1}, 1),
        ({"adapter": "lora", "lora": {"rank": 2, "dropout": 0.1}}, 2),
        ({"adapter": "lora", "lora": {"rank": 2}, "targets": ["key"]}, 3),
        ({"adapter": "lora", "lora": {"rank": 2}, "blocks": [1, 2]}, 4),
        ({"adapter": "lora", "lora": {"rank": 2}, "freezing": "unfrozen"}, 5),
        ({"adapter": "lora", "lora": {"rank": 2}, "freezing": "unfrozen", "frozen_blocks": 1}, 6),
        ({"adapter": "loha"}, 7),
        ({"adapter": "peft", "peft": {"method": "IA3"}}, 8),
        ({"adapter": "none", "epochs": 0}, 8),
    ):
        engine.start(settings(fields))
        assert len(asked) == audits, fields


def test_too_little_memory_for_the_audit_makes_its_batches_smaller(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(Task.SEGMENTATION)
    monkeypatch.setattr(engine, "_audited", {})
    real, sizes = type(engine.task).loss, []

    def loss(task: Any, model: Any, batch: Any, asked: Any) -> Any:
        sizes.append(len(batch.indices))
        if len(batch.indices) > 1:
            raise torch.OutOfMemoryError("scripted")
        return real(task, model, batch, asked)

    monkeypatch.setattr(type(engine.task), "loss", loss)
    assert engine.start(settings({"adapter": "lora"})).still == ()
    assert sizes == [4, 2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("peft", "error", "says"),
    [
        (
            {"method": "PVERA", "arguments": {"sample_at_inference": True}},
            ModelError,
            r"'peft PVERA' is random in evaluation.*sample_at_inference",
        ),
        (
            {"method": "LORA", "arguments": {"monteclora_config": {}}},
            AdapterError,
            r"'peft LORA' changes values in training that a checkpoint does not hold.*monteclora_sampler",
        ),
    ],
)
def test_what_a_checkpoint_or_a_metric_cannot_hold_is_found_without_a_rule(
    engine_of: EngineOf,
    monkeypatch: pytest.MonkeyPatch,
    peft: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    monkeypatch.setattr(rules, "RULES", {})
    with pytest.raises(error, match=says):
        engine_of(Task.SEGMENTATION).start(settings({"adapter": "peft", "peft": peft}))


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_the_copy_leaves_no_memory_behind(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch, task: Task
) -> None:
    engine = engine_of(task)
    monkeypatch.setattr(engine, "_audited", {})
    made = []
    real = gradient_audit.clone_module
    monkeypatch.setattr(
        gradient_audit, "clone_module", lambda *a, **o: made.append(real(*a, **o)) or made[-1]
    )
    state = engine.start(settings({"adapter": "lora", "freezing": "unfrozen"}))
    (copied,) = made
    own = {id(p) for p in state.model.parameters()}
    left = [p for p in copied.parameters() if id(p) not in own]
    assert left
    assert all(p.numel() == 0 and p.grad is None for p in left)


def test_names_of_all_blocks_are_one() -> None:
    names = ["a.0.query.weight", "a.1.query.weight", "a.10.query.weight", "head.weight", "a.0.2.x"]
    assert grouped(names) == ["a.*.query.weight (3)", "head.weight", "a.*.*.x"]


def test_a_model_that_is_random_in_evaluation_is_refused(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(Task.SEGMENTATION)
    monkeypatch.setattr(engine, "_audited", {})
    real = type(engine.task).outputs
    for noise, refused in ((0.0, False), (1.0, True)):  # numbers that are drawn and not used change nothing

        def outputs(task: Any, model: Any, batch: Any, noise: float = noise) -> torch.Tensor:
            found = real(task, model, batch)
            return found + noise * torch.randn_like(found)

        monkeypatch.setattr(type(engine.task), "outputs", outputs)
        if not refused:
            engine.start(settings({"adapter": "lora"}))
            engine._audited.clear()
            continue
        with pytest.raises(ModelError, match="random in evaluation"):
            engine.start(settings({"adapter": "lora"}))
