"""The engine: reports, interleaving, memory, divergence, early stopping."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.trainables.conftest import config, report_values, run
from trainables.backbones import EMBEDDED
from trainables.errors import ModelError
from trainables.specs.data import Split
from trainables.specs.definitions import BEFORE
from trainables.specs.workload import Task
from trainables.training.engine import Engine

EngineOf = Callable[[Task], Engine]
LORA = '{"adapter": "lora", "epochs": 2, "batch_size": 8, "lora": {"dropout": 0.2, "rank": 4}}'
OTHER = (
    '{"adapter": "loha", "epochs": 2, "batch_size": 8, "loha": {"module_dropout": 0.2, "rank": 2}, "seed": 5}'
)


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_the_same_configuration_gives_the_same_metrics_to_the_bit(engine_of: EngineOf, task: Task) -> None:
    engine = engine_of(task)
    first, second = (report_values(run(engine, engine.start(config(LORA)))) for _ in range(2))
    assert first == second
    assert [report[0] for report in first] == [1.0, 2.0]


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_two_interleaved_trials_equal_their_solo_runs_when_one_leaves_mid_epoch(
    engine_of: EngineOf, task: Task
) -> None:
    engine = engine_of(task)
    solo = {text: report_values(run(engine, engine.start(config(text)))) for text in (LORA, OTHER)}
    one, two = engine.start(config(LORA)), engine.start(config(OTHER))
    curves: dict[int, list] = {id(one): [], id(two): []}

    def advance(states: list, steps: int | None = None) -> None:
        for state, report in engine.advance(states, steps=steps):
            curves[id(state)].append(report)

    advance([one, two], steps=2)
    advance([two], steps=2)  # `one` has stopped in the middle of its first epoch
    advance([one, two])
    while not (one.done and two.done):
        advance([one, two])
    assert report_values(curves[id(one)]) == solo[LORA]
    assert report_values(curves[id(two)]) == solo[OTHER]


def test_an_unfrozen_trial_leaves_the_shared_backbone_alone(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    before = report_values(run(engine, engine.start(config(LORA))))
    run(engine, engine.start(config('{"adapter": "none", "freezing": "full", "epochs": 1}')))
    assert report_values(run(engine, engine.start(config(LORA)))) == before


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_floors_and_intervals_leave_training_and_its_random_state_alone(
    engine_of: EngineOf, task: Task
) -> None:
    """The same curve to the bit as under the definitions of before, which know no floors."""
    engine = engine_of(task)
    before = Engine(
        engine.workload.model_copy(update={"definitions": BEFORE}), engine.data.path, device="cpu"
    )
    now, old = (run(one, one.start(config(LORA))) for one in (engine, before))
    assert [r.metrics["loss"] for r in now] == [r.metrics["loss"] for r in old]
    assert {r.above_floor for r in old} == {None}
    for new, was in zip(now, old, strict=True):
        assert new.above_floor is not None
        assert new.above_floor[0] <= new.above_floor[1]
        shared = was.metrics.keys() - {"dice", "iou"}
        assert {name: new.metrics[name] for name in shared} == {name: was.metrics[name] for name in shared}
        if task is Task.SEGMENTATION:
            assert was.metrics["dice"] == new.metrics["dice_with_background"]
            assert new.metrics["dice_worst"] <= new.metrics["dice"]


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_a_weight_of_a_class_that_the_data_lack_is_refused(engine_of: EngineOf, task: Task) -> None:
    asked = config('{"adapter": "lora", "loss_weights": {"3": 2.0, "11": 2.0}}')
    with pytest.raises(ModelError, match=r"loss_weights: there is no class '11'; did you mean '1'\?"):
        engine_of(task).start(asked)


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_weights_of_one_change_nothing(engine_of: EngineOf, task: Task) -> None:
    """To rounding: sums are then weighted ones."""
    engine = engine_of(task)
    plain = run(engine, engine.start(config('{"adapter": "lora", "epochs": 1, "batch_size": 8}')))
    asked = config('{"adapter": "lora", "epochs": 1, "batch_size": 8, "loss_weights": {"3": 1.0}}')
    weighted = run(engine, engine.start(asked))
    assert weighted[-1].metrics["loss"] == pytest.approx(plain[-1].metrics["loss"], rel=1e-4)


def test_reports_at_fractions_of_an_epoch(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    asked = config('{"adapter": "lora", "epochs": 2, "batch_size": 6, "reports_per_epoch": 2}')
    assert [r.epoch for r in run(engine, engine.start(asked))] == [0.5, 1.0, 1.5, 2.0]


def test_no_epochs_is_one_report_of_the_pretrained_baseline(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    (report,) = run(engine, engine.start(config('{"adapter": "none", "epochs": 0}')))
    assert report.metrics == engine.baseline_metrics()
    assert (report.step, report.outcome) == (0, "completed")


def test_training_lowers_the_loss_and_adaptation_beats_the_untouched_backbone(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    untouched = engine.baseline_metrics()
    assert untouched is not None
    asked = config(
        '{"adapter": "lora", "epochs": 6, "batch_size": 4, "learning_rate": 0.01, "lora": {"rank": 8}}'
    )
    reports = run(engine, engine.start(asked))
    assert reports[-1].metrics["loss"] < 0.5 * untouched["loss"]
    assert reports[-1].metrics["dice"] > untouched["dice"]


def test_accumulated_batches_equal_one_large_batch(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    large = run(engine, engine.start(config('{"adapter": "lora", "epochs": 1, "batch_size": 8}')))
    small = run(
        engine, engine.start(config('{"adapter": "lora", "epochs": 1, "batch_size": 4, "accumulate": 2}'))
    )
    assert small[-1].step == large[-1].step == 3
    assert small[-1].metrics["loss"] == pytest.approx(large[-1].metrics["loss"], rel=1e-4)


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_gradient(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(Task.SEGMENTATION)
    asked = config('{"adapter": "lora", "epochs": 1, "batch_size": 8}')
    plain = run(engine, engine.start(asked))
    _limit_memory(engine, monkeypatch, images=3)
    state = engine.start(asked)
    squeezed = run(engine, state)
    assert state.micro_batch == 2
    assert squeezed[-1].metrics["loss"] == pytest.approx(plain[-1].metrics["loss"], rel=1e-4)


def test_out_of_memory_with_one_image_says_what_to_do(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(Task.SEGMENTATION)
    _limit_memory(engine, monkeypatch, images=0)
    with pytest.raises(ModelError, match=r"batch of one image.*image_size"):
        run(engine, engine.start(config('{"adapter": "lora", "epochs": 1}')))


def test_out_of_memory_in_an_evaluation_shrinks_its_batches(
    engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(Task.SEGMENTATION)
    state = engine.start(config('{"adapter": "lora"}'))
    plain = engine.evaluate(state.model, state.config, Split.VALIDATION)
    real = type(engine.task).evaluate
    tried = []

    def evaluate(task, model, split, *, batch_size, **others):
        tried.append(batch_size)
        if batch_size > 8:
            raise torch.OutOfMemoryError("scripted")
        return real(task, model, split, batch_size=batch_size, **others)

    monkeypatch.setattr(type(engine.task), "evaluate", evaluate)
    assert engine.evaluate(state.model, state.config, Split.VALIDATION) == pytest.approx(plain, rel=1e-5)
    assert tried == [32, 16, 8]


def _limit_memory(engine: Engine, monkeypatch: pytest.MonkeyPatch, *, images: int) -> None:
    real = type(engine.task).loss

    def loss(task, model, batch, asked):
        if len(batch.indices) > images:
            raise torch.OutOfMemoryError("scripted")
        return real(task, model, batch, asked)

    monkeypatch.setattr(type(engine.task), "loss", loss)


def test_a_diverging_trial_ends_as_diverged(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    wild = config(
        '{"adapter": "none", "freezing": "full", "learning_rate": 1e18, "clip_norm": null, "epochs": 3}'
    )
    reports = run(engine, engine.start(wild))
    assert reports[-1].outcome == "diverged"


def test_early_stopping_counts_reports_without_improvement(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    still = config(
        '{"adapter": "lora", "learning_rate": 1e-12, "epochs": 9,'
        ' "early_stopping": {"patience": 2, "min_delta": 0.01}}'
    )
    reports = run(engine, engine.start(still))
    assert (reports[-1].outcome, reports[-1].epoch) == ("early_stopped", 3.0)


def test_bf16_autocast_trains(engine_of: EngineOf) -> None:
    engine = engine_of(Task.SEGMENTATION)
    reports = run(engine, engine.start(config('{"adapter": "lora", "epochs": 1, "precision": "bf16"}')))
    assert reports[-1].outcome == "completed"
