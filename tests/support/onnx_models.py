"""Trained tiny models of every family that is exported to ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.support.exporting import trained
from tests.support.saved_detectors import KINDS, save_detector, save_instance_detector
from tests.support.saved_models import OWN_HEADS, VITS, save_own_head, save_siglip, save_vit, save_yolos
from trainables.inference.trained_model import TrainedModel
from trainables.specs.workload import Task

CLASSES = ("cat", "dog")
"""Some of a tiny detector's labels, which are cat, N/A and dog; no other model has them."""

Saver = Callable[[Path], Path]
MODELS: Mapping[str, tuple[Task, Saver]] = {
    "yolos": (Task.DETECTION, save_yolos),
    "yolos, images keep their shape": (
        Task.DETECTION,
        partial(save_yolos, size={"shortest_edge": 32, "longest_edge": 64}),
    ),
    **{kind: (Task.DETECTION, partial(save_detector, kind=kind)) for kind in KINDS},
    **{kind: (Task.SEGMENTATION, partial(save_vit, kind=kind)) for kind in VITS},
    "siglip": (Task.SEGMENTATION, save_siglip),
    **{kind: (Task.SEGMENTATION, partial(save_own_head, kind=kind)) for kind in OWN_HEADS},
    "rf_detr, masks of objects": (Task.INSTANCE_SEGMENTATION, save_instance_detector),
    "mask2former, masks of objects": (
        Task.INSTANCE_SEGMENTATION,
        partial(save_own_head, kind="mask2former"),
    ),
}
"""The task and the checkpoint of each, by the `model_type` and what tells it from others."""
_CHOOSING = ("rt_detr", "rt_detr_v2", "d_fine", "deimv2")
"""Their random weights are so small that all proposals have the same score, and any may be chosen."""


def trained_model_of(kind: str, folder: Path, settings: Mapping[str, Any]) -> TrainedModel:
    """A model of `MODELS`, saved in `folder`, in which all that trains has changed."""
    task, save = MODELS[kind]
    saved = save(folder)
    if kind in _CHOOSING:
        file = folder / "model.safetensors"
        weights = {name: t * 8 if t.ndim == 4 else t for name, t in load_file(file).items()}
        save_file(weights, file, metadata={"format": "pt"})
    with torch.random.fork_rng(devices=[]):
        return trained(task, dict(settings), CLASSES, str(saved))
