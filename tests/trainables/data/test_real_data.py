"""Preparation on public data: BCCD in its three files, DSB2018 nuclei as images and masks."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_makers import prepared, workload
from PIL import Image

from trainables.data.domains import open_domains
from trainables.data.loader import eval_batches, train_batches
from trainables.data.prepared import open_prepared
from trainables.data.resize import Resize
from trainables.preparation import prepare_workload
from trainables.specs.data import Split
from trainables.specs.trial import Augment
from trainables.specs.workload import Task

FILES = {Split.TRAIN: "train", Split.VALIDATION: "val", Split.TEST: "test"}


@pytest.fixture
def bccd(shared: Path) -> dict[str, Any]:
    folder = shared / "bccd"
    return {
        split.value: {"images": str(folder / "images"), "annotations": str(folder / f"instances_{name}.json")}
        for split, name in FILES.items()
    }


@pytest.fixture
def nuclei(shared: Path) -> dict[str, str]:
    folder = shared / "dsb2018" / "fluo_256"
    return {"images": str(folder / "images"), "masks": str(folder / "masks")}


def test_blood_cells(bccd: dict[str, Any]) -> None:
    held = prepared(Task.DETECTION, {"coco": bccd}, Resize.edges(120, 160))
    assert held.classes == ("RBC", "WBC", "Platelets")
    assert held.meta["counts"] == {"train": 205, "validation": 87, "test": 72}
    assert held.meta["boxes"] == {"train": 2804, "validation": 1137, "test": 945}
    assert held.meta["faults"] == []
    for split, part in held.splits.items():
        file = json.loads(Path(bccd[split]["annotations"]).read_text())
        truth = part.truth(0)
        entries = [a for a in file["annotations"] if a["image_id"] == file["images"][0]["id"]]
        assert truth.name == file["images"][0]["file_name"]
        assert truth.boxes.tolist() == [a["bbox"] for a in entries]
        assert truth.labels.tolist() == [a["category_id"] - 1 for a in entries]
        assert (truth.height, truth.width) == (480, 640)
    batch = eval_batches(held.splits[Split.TEST], batch_size=8)[0]
    assert batch.images.shape == (8, 3, 120, 160)
    assert batch.targets is not None
    assert all(0 <= float(v) <= 1 for t in batch.targets for v in t["boxes"].ravel())
    file = json.loads(Path(bccd["test"]["annotations"]).read_text())
    drawn = Image.open(Path(bccd["test"]["images"]) / file["images"][0]["file_name"]).resize(
        (160, 120), Image.Resampling.BILINEAR
    )
    assert (held.splits[Split.TEST].image(0) == np.asarray(drawn)).all()


def test_blood_cells_from_one_file(bccd: dict[str, Any]) -> None:
    held = prepared(Task.DETECTION, {"coco": {"train": bccd["train"]}}, Resize.fixed(32, 32))
    assert held.meta["counts"] == {"train": 143, "validation": 31, "test": 31}
    names = {split: set(part.names) for split, part in held.splits.items()}
    assert not any(names[a] & names[b] for a, b in combinations(Split, 2))


def test_nuclei(nuclei: dict[str, str]) -> None:
    held = prepared(
        Task.SEGMENTATION,
        {"masks": {"train": nuclei, "classes": ["background", "nucleus"]}},
        Resize.fixed(64, 64),
    )
    assert sum(held.meta["counts"].values()) == 334
    assert held.meta["faults"] == []
    names = {split: set(part.names) for split, part in held.splits.items()}
    assert not any(names[a] & names[b] for a, b in combinations(Split, 2))
    split = held.splits[Split.TRAIN]
    assert all(set(np.unique(split.mask(i)).tolist()) <= {0, 1} for i in range(len(split)))
    # Bright on dark: what the masks name is brighter than the rest, before and after augmentation.
    flips = Augment(horizontal_flip=0.5, vertical_flip=0.5, crop=0.5)
    for batches in (
        eval_batches(split, batch_size=16),
        train_batches(split, epoch=0, seed=0, batch_size=16, augment=flips),
    ):
        batch = batches[0]
        assert batch.masks is not None
        grey = batch.images.float().mean(dim=1)
        assert grey[batch.masks == 1].mean() > 2 * grey[batch.masks == 0].mean()


def test_nuclei_under_shift(shared: Path, nuclei: dict[str, str]) -> None:
    def other(name: str) -> dict[str, Any]:
        folder = shared / "dsb2018" / name
        return {"masks": {"images": str(folder / "images"), "masks": str(folder / "masks")}}

    data = {
        "masks": {"train": nuclei, "classes": ["background", "nucleus"]},
        "domains": {"large": other("fluo_360"), "stained": other("he_stain")},
    }
    of = workload(Task.SEGMENTATION, data)
    held = open_prepared(prepare_workload(of))
    parts = open_domains(held, of)
    assert {name: len(of[Split.TEST]) for name, of in parts.items()} == {"large": 90, "stained": 107}
    assert not held.meta["faults"]
    brightness = {name: of[Split.TEST].image(0).mean() for name, of in parts.items()}
    assert brightness["stained"] > 100 > brightness["large"]  # dark nuclei on white, and white on dark
