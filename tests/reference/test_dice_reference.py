"""Dice and IoU of real images against scikit-learn's confusion matrix, through our own evaluation.

A scripted model calls bright what is bright; scikit-learn judges the same rule, applied to the files
with Pillow and numpy alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score
from torch import Tensor, nn

from tests.reference.conftest import config, engine, workload
from trainables.specs.data import Split
from trainables.specs.workload import Task
from trainables.training.engine import Engine

SIDE = 64
IMAGES = 40
BRIGHT = (25, 60)
"""Red values from which a pixel is called nucleus, and core."""
CLASSES = ("background", "nucleus", "core", "debris")
VALUES = (0, 120, 200, 7)
UNSURE = 255


@pytest.fixture(scope="module")
def nuclei(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of nuclei; masks with a made-up core in each, an unsure border, and a class never seen."""
    root, source = tmp_path_factory.mktemp("nuclei"), shared / "data/dsb2018/fluo_256"
    (root / "images").mkdir()
    (root / "masks").mkdir()
    for path in sorted((source / "images").iterdir())[:IMAGES]:
        shutil.copy(path, root / "images")
        with Image.open(source / "masks" / f"{path.stem}.png") as mask:
            nucleus = np.asarray(mask) > 0
        inside = nucleus.copy()
        for shift, axis in ((3, 0), (-3, 0), (3, 1), (-3, 1)):
            inside &= np.roll(nucleus, shift, axis)
        grey = np.where(inside, VALUES[2], np.where(nucleus, VALUES[1], VALUES[0])).astype(np.uint8)
        grey[:9] = UNSURE
        Image.fromarray(grey).save(root / "masks" / f"{path.stem}.png")
    return root


@pytest.fixture(scope="module")
def judge(nuclei: Path) -> Engine:
    """An engine over the folder."""
    masks = {
        "train": {"images": str(nuclei / "images"), "masks": str(nuclei / "masks")},
        "classes": CLASSES,
        "values": VALUES,
        "ignore": UNSURE,
    }
    splits = {"train": 0.4, "validation": 0.6, "test": 0.0}
    return engine(
        workload(
            Task.SEGMENTATION, model={"image_size": [SIDE, SIDE]}, data={"masks": masks, "splits": splits}
        )
    )


class Threshold(nn.Module):
    """Logits of what is brighter than BRIGHT."""

    def __init__(self, scale: Any) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        red = ((images[:, 0] * self.scale.std[0] + self.scale.mean[0]) / self.scale.factor).round()
        called = (red >= BRIGHT[0]).long() + (red >= BRIGHT[1])
        return torch.nn.functional.one_hot(called, len(CLASSES)).movedim(-1, 1) * 3.0


def _by_hand(nuclei: Path, names: list[str]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """All counted pixels of the named images: the truth and what the rule says."""
    truth, called = [], []
    for name in names:
        with Image.open(next((nuclei / "images").glob(f"{Path(name).stem}.*"))) as photo:
            small = photo.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        with Image.open(nuclei / "masks" / f"{Path(name).stem}.png") as mask:
            grey = np.asarray(mask.resize((SIDE, SIDE), Image.Resampling.NEAREST))
        red = np.asarray(small)[..., 0]
        counted = grey != UNSURE
        truth.append(np.searchsorted(sorted(VALUES), grey[counted]))
        called.append((red[counted] >= BRIGHT[0]).astype(int) + (red[counted] >= BRIGHT[1]))
    order = np.array([VALUES.index(value) for value in sorted(VALUES)])
    return order[np.concatenate(truth)], np.concatenate(called)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_dice_and_iou_are_scikit_learns_over_the_whole_set(
    judge: Engine, nuclei: Path, batch_size: int
) -> None:
    split = judge.data.splits[Split.VALIDATION]
    model = Threshold(judge.task.scale)
    metrics = judge.evaluate(model, config(), Split.VALIDATION, batch_size=batch_size)
    truth, called = _by_hand(nuclei, split.names)
    assert len(split) > 15
    assert len(truth) < len(split) * SIDE * SIDE, "nothing was unsure"
    present = [0, 1, 2]
    counts = confusion_matrix(truth, called, labels=range(len(CLASSES)))
    assert (counts[:3, :3] > 10).all(), "the rule is right and wrong about every class"
    for name, score in (("dice", f1_score), ("iou", jaccard_score)):
        each = score(truth, called, labels=present, average=None)
        front = each[[index for index in present if CLASSES[index] != "background"]]
        assert len(front) == 2
        assert metrics[name] == pytest.approx(front.mean(), abs=1e-12)
        assert metrics[f"{name}_worst"] == pytest.approx(front.min(), abs=1e-12)
        assert metrics[f"{name}_with_background"] == pytest.approx(each.mean(), abs=1e-12)
        for label, value in zip(CLASSES, each, strict=False):
            assert metrics[f"{name}/{label}"] == pytest.approx(value, abs=1e-12)
        assert f"{name}/debris" not in metrics, "an absent class has no metric"


def test_a_mean_over_images_would_be_another_figure(judge: Engine, nuclei: Path) -> None:
    """Study B averaged over batches: its metric depends on which images come together."""
    split = judge.data.splits[Split.VALIDATION]
    metrics = judge.evaluate(Threshold(judge.task.scale), config(), Split.VALIDATION)
    by_image = [
        f1_score(*_by_hand(nuclei, [name]), labels=[0, 1, 2], average="macro", zero_division=0.0)
        for name in split.names
    ]
    assert abs(np.mean(by_image) - metrics["dice"]) > 1e-3
    assert metrics["soft_dice"] != metrics["dice"], "study B's metric has another name"
