"""Of a run in the open: which weights are kept, what a checkpoint holds, and that gradients are clipped."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor
from torch.nn.utils import get_total_norm

from tests.reference.conftest import config, engine, run, workload
from trainables.inference.trained_model import load_trained
from trainables.preparation import prepare_workload
from trainables.specs.data import Split
from trainables.specs.report import Report
from trainables.specs.workload import Task, Workload
from trainables.training.checkpoint import read_weights
from trainables.training.engine import Engine
from trainables.training.solo import train_solo

CLEAN = {"domain": "clean", "train": 32, "validation": 8, "test": 8}
"""What the embedded backbone knows already: it starts well."""
RUINED = {"adapter": "lora", "epochs": 2, "batch_size": 8, "learning_rate": 0.1, "warmup": 1.0}
"""The rate rises to a hundred times a normal one: with a report per step, the first is the best."""


@pytest.fixture(scope="module")
def asked() -> Workload:
    """Segmentation of embedded scenes."""
    return workload(Task.SEGMENTATION, data={"embedded": CLEAN})


@pytest.fixture(scope="module")
def judge(asked: Workload) -> Engine:
    """An engine over them."""
    return engine(asked)


def test_the_best_reports_weights_are_kept_not_the_last_ones(asked: Workload, tmp_path: Path) -> None:
    """Study B chose by the last epoch, and kept it after validation Dice had collapsed."""
    reports: list[Report] = []
    last = train_solo(
        asked, config(**RUINED, reports_per_epoch=4), folder=tmp_path, on_report=reports.append, threads=1
    )
    values = [report.metrics["dice"] for report in reports]
    assert len(values) == 8
    assert values[-1] < 0.8 * max(values)
    assert last.objective == max(values)
    prepared = prepare_workload(asked)
    for name, value in (("best.ckpt", max(values)), ("last.ckpt", values[-1])):
        trained = load_trained(asked, tmp_path / name, device="cpu")
        again = Engine(asked, prepared, device="cpu").evaluate(
            trained.model, trained.config, Split.VALIDATION
        )
        assert again["dice"] == value, name


@pytest.mark.parametrize("clip_norm", [0.05, None])
def test_gradients_are_clipped_before_every_step(
    judge: Engine, clip_norm: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Study B clipped nothing, and 14 of its 20 LoRA runs collapsed midway."""
    state = judge.start(config(adapter="lora", epochs=1, batch_size=8, clip_norm=clip_norm))
    norms: list[float] = []

    move = state.mover.step

    def look(scale: Tensor | None) -> None:
        norms.append(float(get_total_norm(state.mover.gradients()) / (1.0 if scale is None else scale)))
        move(scale)

    monkeypatch.setattr(state.mover, "step", look)
    run(judge, state)
    assert len(norms) == 4
    assert config().clip_norm == 1.0, "clipping is the default of a file"
    if clip_norm is None:
        assert min(norms) > 0.05
    else:
        assert max(norms) <= clip_norm * 1.001


def test_a_checkpoint_holds_the_adapter_and_the_head_alone(asked: Workload, tmp_path: Path) -> None:
    """Study A pickled whole models: 124 MB for 0.02 to 0.44 million weights."""
    trial = config(adapter="lora", epochs=1, batch_size=8)
    train_solo(asked, trial, folder=tmp_path, on_report=lambda _: None, threads=1)
    held = read_weights(tmp_path / "best.ckpt")
    trained = load_trained(asked, tmp_path / "best.ckpt", device="cpu")
    assert set(held.tensors) == {*trained.parts.adapter, *trained.parts.head}
    numbers = sum(tensor.numel() for tensor in held.tensors.values())
    assert (tmp_path / "best.ckpt").stat().st_size < 4 * numbers + 16_384
    assert numbers < sum(p.numel() for p in trained.model.parameters()) / 2
