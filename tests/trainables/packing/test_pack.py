"""A pack of trials: each of them computes what it computes alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from marks import slow
from torch import Tensor
from torch.nn import functional

from tests.trainables.conftest import config, report_values, run
from trainables.backbones import EMBEDDED
from trainables.packing.group import group_of
from trainables.packing.pack import PackEngine
from trainables.specs.adapters import Adapter
from trainables.specs.report import Report
from trainables.specs.workload import Task
from trainables.training.engine import Engine
from trainables.training.state import TrialState

EngineOf = Callable[[Task], Engine]
STEPS = 30
SHARED = {"epochs": 12, "batch_size": 2, "targets": ["query", "value"]}
FAMILIES: dict[str, list[dict[str, Any]]] = {
    "lora": [
        {"adapter": "lora", "lora": {"rank": 3, "alpha": 6.0, "dropout": 0.2}},
        {"adapter": "lora", "lora": {"rank": 16, "rslora": True}, "learning_rate": 4e-3, "seed": 5},
        {"adapter": "lora", "lora": {"rank": 8, "dropout": 0.1}, "clip_norm": None},
    ],
    "dora": [
        {"adapter": "lora", "lora": {"rank": 4, "dora": True, "dropout": 0.2}},
        {"adapter": "lora", "lora": {"rank": 8, "dora": True}, "seed": 2},
    ],
    "adalora": [
        {"adapter": "adalora", "adalora": {"init_rank": 6, "target_rank": 2, "dropout": 0.1}},
        {"adapter": "adalora", "adalora": {"init_rank": 12, "target_rank": 8}, "seed": 3},
    ],
    "loha": [
        {"adapter": "loha", "loha": {"rank": 2, "module_dropout": 0.3}},
        {"adapter": "loha", "loha": {"rank": 5, "rank_dropout": 0.2}, "seed": 4},
    ],
    "lokr": [
        {"adapter": "lokr", "lokr": {"rank": 2, "rank_dropout": 0.2}},
        {"adapter": "lokr", "lokr": {"rank": 4, "decompose_factor": 4}, "weight_decay": 0.3},
    ],
    "serial_lora": [
        {"adapter": "serial_lora", "serial_lora": {"rank": 4, "dropout": 0.2}},
        {"adapter": "serial_lora", "serial_lora": {"rank": 9, "shared": False}, "seed": 1},
    ],
    "localized_lora": [
        {"adapter": "localized_lora", "localized_lora": {"block_rank": 2, "blocks": 2, "dropout": 0.1}},
        {"adapter": "localized_lora", "localized_lora": {"block_rank": 4, "blocks": 4}, "seed": 7},
    ],
    "none": [{"adapter": "none"}, {"adapter": "none", "learning_rate": 5e-3, "seed": 9}],
}
MIXED = [FAMILIES[name][0] for name in ("lora", "adalora", "loha", "serial_lora", "localized_lora", "dora")]
IA3 = '{"adapter": "peft", "peft": {"method": "IA3"}, "epochs": 1, "batch_size": 8, "seed": 5}'


class Losses:
    """An engine that notes the loss of each step, by trial."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: dict[int, list[float]] = {}
        finish = engine.finish_step

        def noted(state: TrialState, group: Any, loss: Tensor, scale: Tensor | None) -> bool:
            self.of.setdefault(id(state), []).append(float(loss))
            return finish(state, group, loss, scale)

        monkeypatch.setattr(engine, "finish_step", noted)


def started(engine: Engine, settings: dict[str, Any]) -> TrialState:
    given = {key: value for key, value in SHARED.items() if key != "targets" or settings["adapter"] != "none"}
    return engine.start(config(json.dumps(given | settings)))


def advance(pack: PackEngine | Engine, states: list[TrialState], steps: int) -> None:
    for _ in range(steps):
        for _, found in pack.advance(states, steps=1):
            assert isinstance(found, Report), found


def trained(state: TrialState) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in (state.parts.adapter | state.parts.head).items()}


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_every_family_that_is_packed_is_tested_here() -> None:
    assert {Adapter(each["adapter"]) for held in FAMILIES.values() for each in held} == set(Adapter) - {
        Adapter.PEFT
    }


@pytest.mark.parametrize(
    ("task", "family"),
    [
        slow(task, family) if task is Task.DETECTION else (task, family)
        for task in EMBEDDED
        for family in (*FAMILIES, "mixed")
    ],
)
def test_packed_trials_are_those_trained_alone_when_one_leaves_and_one_joins(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch, family: str, task: Task
) -> None:
    engine = engine_of(task)
    noted = Losses(engine, monkeypatch)
    settings = MIXED if family == "mixed" else FAMILIES[family]
    alone = [started(engine, each) for each in settings]
    for state in alone:
        advance(engine, [state], STEPS)
    pack = PackEngine(engine)
    packed = [started(engine, each) for each in settings]
    advance(pack, packed[:-1], 7)  # the last one joins, the first one is away for a while
    advance(pack, packed[1:], 11)
    advance(pack, packed, STEPS - 18)
    advance(pack, packed[:1], 11)
    advance(pack, packed[-1:], 7)
    for one, other in zip(alone, packed, strict=True):
        assert noted.of[id(other)] == pytest.approx(noted.of[id(one)], abs=1e-4)
        assert len(noted.of[id(other)]) == STEPS
        assert difference(trained(one), trained(other)) <= 1e-4
    assert set(pack.trusted.values()) == {True}


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_what_a_trial_computes_depends_on_no_partner_to_the_bit(engine_of: EngineOf, task: Task) -> None:
    engine = engine_of(task)
    watched, others = FAMILIES["lora"][0], [*FAMILIES["lora"][1:], *MIXED[1:]]
    found = []
    for partners in ([others[0], others[1]], [others[3], others[4]]):
        states = [started(engine, each) for each in (watched, *partners)]
        advance(PackEngine(engine), states, 8)
        found.append(trained(states[0]))
    assert difference(*found) == 0.0


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_trials_with_other_sampling_and_weights_compute_what_they_compute_alone(
    engine_of: EngineOf, task: Task
) -> None:
    engine = engine_of(task)
    weights = {"loss_weights": {"3": 4.0}}
    lora = {"adapter": "lora", "lora": {"rank": 3}}
    given = [
        lora | weights,
        lora | weights | {"sampling": {"balance": "class"}},
        lora | weights | {"sampling": {"balance": "class", "power": 1.0}},
        lora | {"loss_weights": {"3": 0.5}},
    ]
    alone = [started(engine, each) for each in given]
    for state in alone:
        advance(engine, [state], 8)
    packed = [started(engine, each) for each in given]
    advance(PackEngine(engine), packed, 8)
    for one, other in zip(alone, packed, strict=True):
        assert difference(trained(one), trained(other)) <= 1e-4
    # Each of the four settings reached the training.
    assert all(difference(trained(packed[0]), trained(other)) > 1e-4 for other in packed[1:])
    assert len({group_of(state.config) for state in packed}) == 2


def test_a_trial_that_cannot_be_packed_reports_what_it_reports_alone(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    alone = report_values(run(engine, engine.start(config(IA3))))
    packed = engine.start(config(IA3))
    found = [report for _, report in PackEngine(engine).advance([packed])]
    assert report_values([report for report in found if isinstance(report, Report)]) == alone


@pytest.mark.parametrize(("packs", "extra"), [(False, 0), (True, 1)])
def test_a_trial_known_not_to_pack_loads_a_step_once(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch, packs: bool, extra: int
) -> None:
    """extra: the comparison of the first step loads it too."""
    engine = engine_of(Task.SEGMENTATION)
    monkeypatch.setattr(type(engine.task), "packs", packs)
    monkeypatch.setattr("trainables.packing.pack.agrees", lambda *given: False)
    loaded, begin = [], engine.begin_step

    def noted(state: TrialState) -> Any:
        loaded.append(state.step)
        return begin(state)

    monkeypatch.setattr(engine, "begin_step", noted)
    pack, state = PackEngine(engine), started(engine, FAMILIES["lora"][0])
    list(pack.advance([state], steps=3))
    assert state.step == 3
    assert len(loaded) == 3 + extra
    assert pack.bytes_of_lane(state) is None
    assert len(loaded) == 3 + extra


def test_a_loss_that_is_not_finite_ends_one_trial_only(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    settings = FAMILIES["lora"]
    alone = started(engine, settings[1])
    advance(engine, [alone], 6)
    broken, whole = started(engine, settings[0]), started(engine, settings[1])
    with torch.no_grad():
        next(iter(broken.parts.adapter.values())).fill_(float("nan"))
    pack = PackEngine(engine)
    found = [each for _ in range(6) for each in pack.advance([whole, broken], steps=1)]
    reports = [report for state, report in found if state is broken]
    assert [report.outcome for report in reports if isinstance(report, Report)] == ["diverged"]
    assert difference(trained(alone), trained(whole)) <= 1e-6


def test_an_error_in_one_trial_comes_in_place_of_its_report(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(Task.SEGMENTATION)
    broken, whole, other = (started(engine, each) for each in FAMILIES["lora"])

    def penalty() -> None:
        raise ValueError("broken on purpose")

    monkeypatch.setattr(broken.adapted, "penalty", penalty)
    found = {
        id(state): report for state, report in PackEngine(engine).advance([whole, broken, other], steps=3)
    }
    assert isinstance(found[id(broken)], ValueError)
    assert (broken.step, whole.step, other.step) == (0, 3, 3)


def test_packed_steps_are_marked_in_the_report(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    states = [started(engine, each) for each in FAMILIES["lora"]]
    reports = [report for _, report in PackEngine(engine).advance(states)]
    assert [report.lanes for report in reports if isinstance(report, Report)] == [3, 3, 3]
    alone = next(engine.advance([started(engine, FAMILIES["lora"][0])]))[1]
    assert alone.lanes == 1


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_what_a_trial_computes_does_not_depend_on_the_number_of_partners(
    engine_of: EngineOf, task: Task
) -> None:
    """To the bit where the processor's libraries compute each row on its own; within rounding elsewhere."""
    engine = engine_of(task)
    found = []
    for others in ([], FAMILIES["lora"][1:2], [*FAMILIES["lora"][1:], *MIXED[1:]]):
        states = [started(engine, each) for each in (*others, FAMILIES["lora"][0])]
        advance(PackEngine(engine), states, 8)
        found.append(trained(states[-1]))
    for other in found[1:]:
        assert difference(found[0], other) <= 1e-6
    if batches_are_independent():
        assert [difference(found[0], other) for other in found[1:]] == [0.0, 0.0]


def batches_are_independent() -> bool:
    """Whether this processor's other operations give an image the same bits in a batch of any size."""
    torch.manual_seed(0)
    x, weight = torch.randn(10, 3, 64, 64), torch.randn(96, 3, 8, 8)
    q = torch.randn(10, 4, 65, 24)
    with torch.no_grad():
        return all(
            torch.equal(each(size), each(10)[:size])
            for size in (2, 4, 6)
            for each in (
                lambda n: functional.conv2d(x[:n], weight, stride=8),
                lambda n: functional.scaled_dot_product_attention(q[:n], q[:n], q[:n]),
            )
        )
