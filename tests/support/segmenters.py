"""Tiny segmenters of every kind, and what the contract suites do with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from saved_models import OWN_HEADS, VITS, save_own_head, save_siglip, save_vit

from tests.support.contracts import PAIRS, config_of
from tests.support.pairwise import pairwise_sample
from trainables.preparation import prepare_workload
from trainables.specs.adapters import Adapter
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Workload
from trainables.training.engine import Engine

SAVED: Mapping[str, Callable[[Path], Path]] = {
    **{kind: partial(save_vit, kind=kind) for kind in VITS},
    "siglip": save_siglip,
    **{kind: partial(save_own_head, kind=kind) for kind in OWN_HEADS},
}
"""How a tiny checkpoint of each kind is saved."""
SECTIONS: Mapping[Adapter, Any] = {
    Adapter.NONE: {},
    Adapter.LORA: {"lora": {"rank": 2, "dropout": 0.1}},
    Adapter.ADALORA: {"adalora": {"init_rank": 4, "target_rank": 2}},
    Adapter.LOHA: {"loha": {"rank": 2}},
    Adapter.LOKR: {"lokr": {"rank": 2}},
    Adapter.SERIAL_LORA: {"serial_lora": {"rank": 2}},
    Adapter.LOCALIZED_LORA: {"localized_lora": {"blocks": 2, "block_rank": 2}},
    Adapter.PEFT: {"peft": {"method": "IA3"}},
}
"""The settings of each adapter family."""
Case = tuple[str, Adapter, str]
"""A kind of segmenter, an adapter and a way of freezing."""


EVERY: list[Case] = [(kind, *pair) for kind in SAVED for pair in PAIRS]
FEW: list[Case] = [(kind, *PAIRS[number * 13 % len(PAIRS)]) for number, kind in enumerate(SAVED)]
"""One pair for each kind, other ones from kind to kind."""
PAIRWISE = pairwise_sample(EVERY)
"""Every kind with every adapter and with every way of freezing, and every pair of both with some kind."""


def slow_but(few: Iterable[str], every: Iterable[str]) -> list[Any]:
    """Parameters of a test: a few, and all others marked as slow."""
    chosen = tuple(few)
    rest = (kind for kind in every if kind not in chosen)
    return [*chosen, *(pytest.param(kind, marks=pytest.mark.slow) for kind in rest)]


def settings(adapter: Adapter, mode: str, **more: Any) -> TrialConfig:
    """A configuration of four short epochs."""
    return config_of(adapter, mode, **SECTIONS[adapter], **more)


def engine(folder: Path, *, gb: float = 0.0, train: int = 8, **model: Any) -> Engine:
    """A worker's engine over the embedded digits, for a checkpoint in a folder."""
    data = {"embedded": {"train": train, "validation": 4, "test": 2}, "cache_gb": gb}
    return _engine(folder, data, **model)


def _engine(folder: Path, data: dict[str, Any], **model: Any) -> Engine:
    asked = {
        "task": "segmentation",
        "model": {"name": str(folder), **model},
        "objective": {"metric": "dice"},
        "data": data,
    }
    workload = Workload.model_validate_json(json.dumps(asked))
    return Engine(workload, prepare_workload(workload), device="cpu")


CELLS = 8
"""The cells of a scene's side; a patch of a tiny ViT at the side `SCENE` is one."""
SCENE = 64
SCENE_CLASSES = ("ground", "a", "b")


def scenes(root: Path, *, side: int = SCENE) -> dict[str, Any]:
    """`data.masks`: images with a red and a green rectangle on grey noise; 8 of them for training."""
    made: dict[str, Any] = {"classes": list(SCENE_CLASSES), "background": "ground"}
    for number, (part, count) in enumerate((("train", 8), ("validation", 2), ("test", 2))):
        folders = {name: root / part / name for name in ("images", "masks")}
        for folder in folders.values():
            folder.mkdir(parents=True)
        rng = np.random.default_rng(number)
        for image in range(count):
            pixels = rng.integers(90, 130, (side, side, 3), dtype=np.uint8)
            mask = np.zeros((side, side), np.uint8)
            for value in (1, 2):
                rows, columns = (slice(*_span(rng, side)) for _ in range(2))
                mask[rows, columns] = value
                pixels[rows, columns] = [(220, 60, 60), (60, 220, 60)][value - 1]
            Image.fromarray(pixels).save(folders["images"] / f"{image}.png")
            Image.fromarray(mask).save(folders["masks"] / f"{image}.png")
        made[part] = {name: str(folder) for name, folder in folders.items()}
    return made


def _span(rng: np.random.Generator, side: int) -> tuple[int, int]:
    """From a cell to a later one, in pixels."""
    first = int(rng.integers(0, CELLS - 3))
    last = int(rng.integers(first + 3, CELLS + 1))
    return first * side // CELLS, last * side // CELLS


def scene_engine(folder: Path, root: Path, **model: Any) -> Engine:
    """A worker's engine over `scenes`, for a checkpoint in a folder."""
    return _engine(folder, {"masks": scenes(root)}, **model)
