"""Losses of transformers where it raises errors instead: of models that have diverged."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.saved_detectors import LABELS, MODERN, SIDE, save_detector
from tests.trainables.tasks.conftest import CPU, PLAIN, load
from trainables.data.loader import batch_of
from trainables.data.prepared import PreparedSplit
from trainables.specs.trial import Precision
from trainables.specs.workload import Task
from trainables.tasks.own_loss import NO_BOXES, OwnLoss


@pytest.mark.parametrize("kind", sorted(MODERN))
def test_a_diverged_model_has_no_loss_and_no_metrics_and_is_no_error(
    tmp_path: Path, split_of: Callable[..., PreparedSplit], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("trainables.tasks.detection.LOSS_GROUP", 2)
    row = {"boxes": [[4.0, 5.0, 16.0, 20.0]], "labels": [0], "areas": [320.0], "crowds": [False]}
    split = split_of(Task.DETECTION, [np.zeros((SIDE, SIDE, 3), np.uint8)] * 3, [row] * 3)
    task: Any = load(Task.DETECTION, str(save_detector(tmp_path / "model", kind)), tuple(LABELS.values()))
    model = task.assemble(PLAIN, share=False).requires_grad_(True)
    for name, parameter in model.named_parameters():
        if "bbox_embed" in name and name.endswith("bias"):
            torch.nn.init.constant_(parameter, math.nan)
    model.train()
    loss = task.loss(model, batch_of(split, [0, 1]), PLAIN)
    assert math.isnan(loss.item())
    loss.backward()  # a step may be taken before its loss is looked at
    model.eval()
    with torch.inference_mode():
        found = task.evaluate(model, split, batch_size=2, device=CPU, precision=Precision.FP32, config=PLAIN)
    assert all(map(math.isnan, found.values()))


def refuses(message: str) -> OwnLoss:
    def function(
        logits: Tensor, labels: list[Any], device: torch.device, pred_boxes: Tensor, config: Any
    ) -> tuple[Tensor]:
        raise ValueError(message)

    return OwnLoss(function, SimpleNamespace())


def test_boxes_whose_sides_have_changed_places_have_no_loss() -> None:
    inputs = {"logits": torch.zeros(1, 2, 3), "pred_boxes": torch.full((1, 2, 4), -1.0)}
    assert refuses(f"boxes1 {NO_BOXES}, but got").of(inputs, [], training=True).isnan()
    with pytest.raises(ValueError, match="another fault"):
        refuses("another fault").of(inputs, [], training=True)


def test_the_error_of_transformers_is_worded_so() -> None:
    from transformers.loss.loss_for_object_detection import generalized_box_iou

    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is what is looked at
        generalized_box_iou(torch.tensor([[1.0, 1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    assert NO_BOXES in str(raised.value)
