"""Every detector family with every adapter and freezing mode, on tiny models: one contract for all.

It trains what it should and nothing else, running statistics of what is frozen stand still, and a trial that
is saved and loaded goes on as the one that was not.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.pairwise import pairwise_sample
from tests.support.saved_detectors import KINDS, SIDE, save_detector
from tests.trainables.test_contract import EXTRA, MODES, PAIRS
from trainables.data.loader import eval_batches
from trainables.models.freezing import backbone_trains
from trainables.preparation import prepare_workload
from trainables.specs.adapters import Adapter
from trainables.specs.data import Split
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Workload
from trainables.tasks.detectors import DETECTOR_FAMILIES
from trainables.training.checkpoint import read_state, restore_state, save_state
from trainables.training.engine import Engine
from trainables.training.state import TrialState

MATRIX = [(kind, adapter, mode) for kind in KINDS for adapter, mode in PAIRS]
SAMPLE = pairwise_sample(MATRIX)
FEW = [
    (kind, adapter, mode)
    for number, kind in enumerate(KINDS)
    for adapter, mode in (PAIRS[number % len(PAIRS)], (Adapter.NONE, "full"))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("detectors")


@lru_cache(maxsize=2)
def engine_of_kind(folder: Path, kind: str) -> Engine:
    """An engine with a random detector, whose head is new, over a few scenes of digits."""
    saved = folder / kind.replace(", ", "-")
    asked = {
        "task": "detection",
        "model": {"name": str(save_detector(saved, kind)), "image_size": [SIDE, SIDE]},
        "objective": {"metric": "loss"},
        "data": {"embedded": {"domain": "inverted", "train": 12, "validation": 4, "test": 2}},
    }
    workload = Workload.model_validate_json(json.dumps(asked))
    return Engine(workload, prepare_workload(workload), device="cpu")


def config_of(adapter: Adapter, mode: str) -> TrialConfig:
    return TrialConfig.model_validate_json(
        f'{{"adapter": "{adapter}", {EXTRA.get(adapter, "")} {MODES[mode]}, '
        '"epochs": 4, "batch_size": 4, "weight_decay": 0.0, "learning_rate": 0.01, "schedule": "constant"}'
    )


def check(folder: Path, tmp_path: Path, kind: str, adapter: Adapter, mode: str) -> None:
    engine, asked = engine_of_kind(folder, kind), config_of(adapter, mode)
    state = engine.start(asked)
    before = {name: tensor.detach().clone() for name, tensor in state.model.state_dict().items()}
    list(engine.advance([state], steps=2))
    check_moved(state, before, epoch=0)
    if mode == "unfreeze_at":
        list(engine.advance([state]))
        list(engine.advance([state], steps=2))
        check_moved(state, before, epoch=1)
    save_state(state, tmp_path / "state.ckpt")
    again = engine.start(asked)
    restore_state(again, read_state(tmp_path / "state.ckpt"))
    assert torch.equal(outputs(engine, again), outputs(engine, state))
    for resumed in (state, again):
        list(engine.advance([resumed], steps=1))
    assert torch.equal(outputs(engine, again), outputs(engine, state))


def check_moved(state: TrialState, before: dict[str, torch.Tensor], *, epoch: int) -> None:
    """What should move has moved, unless its gradient was 0 or too small to be seen beside a weight."""
    found, expected = moved(state, before), should_move(state, epoch=epoch)
    assert found <= expected
    held = dict(state.model.named_parameters())
    for name in expected - found:
        average = state.optimizer.state[held[name]]["exp_avg"]
        assert float(average.abs().max()) < 1e-12, name


def moved(state: TrialState, before: dict[str, torch.Tensor]) -> set[str]:
    """Parameters, and running statistics, that are not what they were."""
    names = {name for name, _ in state.model.named_parameters()}
    names |= {name for name, _ in state.model.named_buffers() if "running" in name}
    now = state.model.state_dict()
    return {name for name in names if not torch.equal(now[name], before[name])}


def should_move(state: TrialState, *, epoch: int) -> set[str]:
    """All that is set to train and has a gradient, and running statistics of layers that are not frozen."""
    trains = backbone_trains(state.config, epoch)
    names = {*state.parts.adapter, *state.parts.head}
    names |= set(state.parts.movable(state.config)) if trains else set()
    still = {id(module) for module in state.parts.frozen_modules(state.config, epoch)}
    for name, module in state.model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d) and id(module) not in still:
            names |= {f"{name}.running_mean", f"{name}.running_var"}
    return names - set(state.still)


def outputs(engine: Engine, state: TrialState) -> torch.Tensor:
    state.model.eval()
    batch: Any = eval_batches(engine.data.splits[Split.VALIDATION], batch_size=4)[0]
    with torch.inference_mode():
        return engine.task.outputs(state.model, batch)


def ids(rows: list[tuple[str, Adapter, str]]) -> list[str]:
    return [f"{kind}-{adapter}-{mode}" for kind, adapter, mode in rows]


def test_the_matrix_and_its_sample_are_whole() -> None:
    assert {KINDS[kind][0] for kind, _, _ in MATRIX} | {"yolos"} == set(DETECTOR_FAMILIES)
    assert len(MATRIX) == len(KINDS) * len(PAIRS)
    for places in ((0, 1), (0, 2), (1, 2)):
        assert len({tuple(row[p] for p in places) for row in SAMPLE}) == len(
            {tuple(row[p] for p in places) for row in MATRIX}
        )
    assert {kind for kind, _, _ in FEW} == set(KINDS)


@pytest.mark.parametrize(("kind", "adapter", "mode"), FEW, ids=ids(FEW))
def test_contract(folder: Path, tmp_path: Path, kind: str, adapter: Adapter, mode: str) -> None:
    check(folder, tmp_path, kind, adapter, mode)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "adapter", "mode"), SAMPLE, ids=ids(SAMPLE))
def test_contract_of_every_pair(folder: Path, tmp_path: Path, kind: str, adapter: Adapter, mode: str) -> None:
    check(folder, tmp_path, kind, adapter, mode)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("kind", "adapter", "mode"), MATRIX, ids=ids(MATRIX))
def test_contract_of_the_whole_matrix(
    folder: Path, tmp_path: Path, kind: str, adapter: Adapter, mode: str
) -> None:
    check(folder, tmp_path, kind, adapter, mode)
