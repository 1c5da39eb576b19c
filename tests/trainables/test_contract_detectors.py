"""Every detector family with every adapter and freezing mode, on tiny models: one contract for all.

It trains what it should and nothing else, running statistics of what is frozen stand still, and a trial that
is saved and loaded goes on as the one that was not.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pytest

from tests.support.contracts import PAIRS, STEADY, check_goes_on, check_moved, config_of, values
from tests.support.pairwise import pairwise_sample
from tests.support.saved_detectors import KINDS, SIDE, save_detector
from trainables.preparation import prepare_workload
from trainables.specs.adapters import Adapter
from trainables.specs.workload import Workload
from trainables.tasks.detectors import DETECTOR_FAMILIES
from trainables.training.engine import Engine

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


def check(folder: Path, tmp_path: Path, kind: str, adapter: Adapter, mode: str) -> None:
    engine, asked = engine_of_kind(folder, kind), config_of(adapter, mode, **STEADY)
    state = engine.start(asked)
    before = values(state)
    list(engine.advance([state], steps=2))
    check_moved(state, before, epoch=0)
    if mode == "unfreeze_at":
        list(engine.advance([state]))
        list(engine.advance([state], steps=2))
        check_moved(state, before, epoch=1)
    check_goes_on(engine, state, tmp_path / "state.ckpt")


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
