from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from data_makers import prepared
from PIL import Image

from trainables.backbones import EMBEDDED
from trainables.data import embedded
from trainables.data.digits import DigitSample, digits_identity, read_digits
from trainables.data.resize import Resize
from trainables.specs.data import Domain, EmbeddedData, Split
from trainables.specs.workload import Task


def test_no_digit_stands_in_two_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {split: set(embedded.digits_of(split).tolist()) for split in Split}
    assert not any(parts[a] & parts[b] for a, b in combinations(Split, 2))
    assert set().union(*parts.values()) == set(range(1797))
    # Scenes use the partition: digits of other splits are marked, and never appear.
    images, targets = embedded._digits()
    for split in Split:
        marked = np.full_like(targets, 99)
        own = embedded.digits_of(split)
        marked[own] = targets[own]
        monkeypatch.setattr(embedded, "_digits", lambda marked=marked: (images, marked))
        scenes = embedded.scenes(split, 40, domain=Domain.CLEAN, side=48)
        assert all((scene.labels < 10).all() for scene in scenes)


def test_classes_by_task() -> None:
    spec = EmbeddedData(train=2, validation=1, test=1)
    assert read_digits(spec, Task.DETECTION).classes == tuple("0123456789")
    assert read_digits(spec, Task.SEGMENTATION).classes == ("background", *"0123456789")


def test_boxes_are_tight_around_the_mask() -> None:
    sample = DigitSample(EmbeddedData(side=64), Split.TRAIN, 3)
    mask, found = sample.mask(), sample.annotations()
    assert len(found.boxes)
    for (x, y, w, h), label in zip(found.boxes.astype(int), found.labels, strict=True):
        inside = mask[y : y + h, x : x + w] == label + 1
        assert inside.any(axis=0)[[0, -1]].all()
        assert inside.any(axis=1)[[0, -1]].all()


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_preparation(task: Task) -> None:
    data = {"embedded": {"domain": "noisy", "train": 6, "validation": 3, "test": 2, "side": 64}}
    held = prepared(task, data, Resize.fixed(64, 64))
    assert held.meta["counts"] == {"train": 6, "validation": 3, "test": 2}
    assert held.meta["faults"] == []
    scene = embedded.scene(Split.VALIDATION, 1, domain=Domain.NOISY, side=64)
    split = held.splits[Split.VALIDATION]
    assert (split.image(1) == scene.image).all()
    assert task.facts.masks or task.facts.boxes
    if task.facts.masks:
        assert (split.mask(1) == scene.mask).all()
    if task.facts.boxes:
        assert (split.boxes(1) == scene.boxes).all()


def test_identity_holds_every_parameter() -> None:
    base = EmbeddedData()
    others = [
        EmbeddedData(domain=Domain.CLEAN), EmbeddedData(train=5), EmbeddedData(validation=5),
        EmbeddedData(test=5), EmbeddedData(side=48), EmbeddedData(seed=1),
    ]  # fmt: skip
    seen = {json.dumps(digits_identity(spec)) for spec in [base, *others]}
    assert len(seen) == 1 + len(EmbeddedData.model_fields)


DRAWN = Path(__file__).parents[2] / "fixtures" / "drawing"


@pytest.mark.parametrize("domain", list(Domain))
def test_what_is_drawn_is_what_the_fingerprint_says(domain: Domain) -> None:
    """If the drawing changes, change `embedded.DRAWING` and draw these pictures again."""
    scene = embedded.scene(Split.TEST, 3, domain=domain, side=48, seed=0)
    known = np.asarray(Image.open(DRAWN / f"{domain}.png"))
    assert np.abs(scene.image.astype(int) - known).max() <= 2
    assert np.array_equal(scene.mask, np.asarray(Image.open(DRAWN / "mask.png")))


def test_experiments_recorded_before_have_this_drawing() -> None:
    identity = digits_identity(EmbeddedData())
    assert isinstance(identity, dict)
    assert str(identity["code"]).startswith("b441c3a6b36233fc")


def test_the_table_of_digits_is_scikit_learns() -> None:
    np.testing.assert_array_equal(embedded._table(), embedded._table_of_sklearn())


def test_another_place_of_the_file_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = embedded._table()
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    np.testing.assert_array_equal(embedded._table(), before)


def test_drawing_a_scene_does_not_import_scikit_learn() -> None:
    code = """
import sys
from trainables.data.embedded import scene
from trainables.specs.data import Domain, Split
scene(Split.TRAIN, 0, domain=Domain.CLEAN, side=32)
print("sklearn" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
