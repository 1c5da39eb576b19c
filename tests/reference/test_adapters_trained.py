"""Adapters after a short real run through the engine: they compute what the method's paper specifies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.reference.conftest import config, engine, run, workload
from trainables.adapters.families.serial_lora import SerialLinear
from trainables.backbones import EMBEDDED
from trainables.data.loader import eval_batches
from trainables.specs.data import Split
from trainables.specs.workload import Task
from trainables.training.engine import Engine
from trainables.training.state import TrialState

SHORT = {"epochs": 3, "batch_size": 4, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def engine_of() -> Callable[[Task], Engine]:
    """One engine per task."""
    made: dict[Task, Engine] = {}

    def build(task: Task) -> Engine:
        if task not in made:
            data = {"embedded": {"train": 32, "validation": 8, "test": 4}}
            made[task] = engine(workload(task, data=data))
        return made[task]

    return build


# --- AdaLoRA ----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_adaloras_ranks_shrink_to_the_target(engine_of: Callable[[Task], Engine], task: Task) -> None:
    """In study A ranks never changed: the allocator was not called, and its schedule had other steps."""
    judge = engine_of(task)
    state = judge.start(config(adapter="adalora", adalora={"init_rank": 6, "target_rank": 2}, **SHORT))
    layers = len(state.adapted.ranks())
    totals = [sum(state.adapted.ranks().values())]
    reports = run(judge, state, lambda: totals.append(sum(state.adapted.ranks().values())))
    assert reports[-1].outcome == "completed"
    assert len(totals) == 1 + state.pace.total_steps == 1 + 3 * 8
    assert totals[0] == layers * 6
    assert totals[-1] == layers * 2
    assert totals == sorted(totals, reverse=True)
    assert len(set(totals)) > 4, "step by step, not at once"
    ranks = state.adapted.ranks()
    assert len(set(ranks.values())) > 1, "ranks moved to where they matter"
    for name, rank in ranks.items():
        assert int(_layer(state, name).lora_E["default"].count_nonzero()) == rank


def test_adaloras_orthogonal_term_is_in_the_gradient(engine_of: Callable[[Task], Engine]) -> None:
    """Study A dropped it: bases drift away from orthogonal ones without it."""
    judge = engine_of(Task.SEGMENTATION)

    def drift(weight: float) -> float:
        given = {"init_rank": 6, "target_rank": 2, "orthogonal_weight": weight}
        state = judge.start(config(adapter="adalora", adalora=given, **SHORT))
        run(judge, state)
        sides = [p.detach() for n, p in state.model.named_parameters() if ".lora_A." in n]
        return sum(float((a @ a.T - torch.eye(len(a))).norm()) for a in sides)

    assert drift(1.0) < 0.9 * drift(0.0)


# --- the formulas -----------------------------------------------------------------------------


def _serial(layer: Any) -> nn.Module:
    """W(x + B(A x)) + b, with the trained A and B."""
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    weight, bias = layer.base_layer.weight, layer.base_layer.bias
    assert float(up.detach().abs().max()) > 1e-4, "B is still zero"
    return _Formula(lambda x: (x + (x @ down.T) @ up.T) @ weight.T + bias)


def _exported(layer: Any) -> nn.Module:
    """The same as ordinary LoRA on the output, scale 1: lora_A = A, lora_B = W·B."""
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    weight, bias = layer.base_layer.weight, layer.base_layer.bias
    return _Formula(lambda x: x @ weight.T + bias + (x @ down.T) @ (weight @ up).T)


def _localized(layer: Any, *, blocks: int = 4, rank: int = 2, alpha: float = 6.0) -> nn.Module:
    """out_j += alpha/rank · Σ_i B_ij A_ij x_i, a loop over K² blocks, from GraLoRA's stacked weights."""
    a, b = layer.gralora_A["default"], layer.gralora_B["default"]
    assert float(b.detach().abs().max()) > 1e-4, "B is still zero"

    def formula(x: Tensor) -> Tensor:
        inputs = x.chunk(blocks, dim=-1)
        outputs = []
        for j in range(blocks):
            added = torch.zeros(*x.shape[:-1], layer.out_features // blocks)
            for i in range(blocks):
                a_ij = a[i][:, j * rank : (j + 1) * rank]
                b_ij = b[j][i * rank : (i + 1) * rank]
                added = added + inputs[i] @ a_ij @ b_ij
            outputs.append(added)
        return layer.base_layer(x) + alpha / rank * torch.cat(outputs, dim=-1)

    return _Formula(formula)


class _Formula(nn.Module):
    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x)


SERIAL = {"adapter": "serial_lora", "serial_lora": {"rank": 3}}
LOCALIZED = {"adapter": "localized_lora", "localized_lora": {"block_rank": 2, "blocks": 4, "alpha": 6.0}}


@pytest.mark.parametrize("task", list(EMBEDDED))
@pytest.mark.parametrize(
    ("adapter", "formula"),
    [(SERIAL, _serial), (SERIAL, _exported), (LOCALIZED, _localized)],
    ids=["serial", "serial as exported", "localized"],
)
def test_a_trained_model_is_its_formula(
    engine_of: Callable[[Task], Engine],
    task: Task,
    adapter: dict[str, Any],
    formula: Callable[[Any], nn.Module],
) -> None:
    judge = engine_of(task)
    state = judge.start(config(**adapter, **SHORT))
    run(judge, state)
    model = state.model.eval()
    (batch,) = eval_batches(judge.data.splits[Split.VALIDATION], batch_size=8)
    with torch.inference_mode():
        trained = judge.task.outputs(model, batch)
        untouched = judge.task.outputs(judge.task.assemble(config(), share=True).eval(), batch)
        adapted = [n for n, m in model.named_modules() if _is_adapted(m)]
        for name in adapted:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, formula(model.get_submodule(name)))
        by_formula = judge.task.outputs(model, batch)
    assert len(adapted) == len(state.config.roles) * len(judge.task.layout.blocks)
    assert float((trained - untouched).abs().max()) > 0.05
    torch.testing.assert_close(by_formula, trained, rtol=1e-5, atol=2e-5)


def test_a_serial_layer_scales_nothing_and_an_alpha_is_refused() -> None:
    """Study B sampled an alpha for it that no formula used."""
    with pytest.raises(ValueError, match="alpha"):
        config(adapter="serial_lora", serial_lora={"rank": 3, "alpha": 8.0})


def test_every_setting_of_a_localized_adapter_reaches_the_layer(
    engine_of: Callable[[Task], Engine],
) -> None:
    """Study B sampled a rank for it that was never used."""
    judge = engine_of(Task.SEGMENTATION)
    for block_rank, blocks, alpha in ((1, 2, 4.0), (3, 4, 12.0)):
        given = {"block_rank": block_rank, "blocks": blocks, "alpha": alpha}
        state = judge.start(config(adapter="localized_lora", localized_lora=given))
        layer = next(m for m in state.model.modules() if _is_adapted(m))
        assert layer.gralora_A["default"].shape == (blocks, 96 // blocks, block_rank * blocks)
        assert layer.scaling["default"] == pytest.approx(alpha / block_rank)


def _is_adapted(module: nn.Module) -> bool:
    return isinstance(module, SerialLinear) or (
        hasattr(module, "gralora_A") and hasattr(module, "base_layer")
    )


def _layer(state: TrialState, name: str) -> Any:
    return state.model.get_submodule(name)
