"""From a workload to its task: one place that knows them all."""

from __future__ import annotations

from typing import assert_never

import torch

from trainables.data.resize import Resize
from trainables.specs.workload import ModelSpec, Task, Workload
from trainables.tasks import detection, segmentation
from trainables.tasks.base import TaskModel
from trainables.tasks.hub import read_config, read_processor


def load_task(workload: Workload, classes: tuple[str, ...], device: torch.device) -> TaskModel:
    """Load the backbone onto `device`. classes: of the data. Raises ModelError."""
    match workload.task:
        case Task.DETECTION:
            return detection.load(workload.model, classes, device)
        case Task.SEGMENTATION:
            return segmentation.load(workload.model, classes, device)
        case _:
            assert_never(workload.task)


def resize_of(model: ModelSpec, task: Task) -> Resize:
    """How the model wants its images resized, from its settings alone; no weights are read.

    Raises ModelError where the settings cannot be read, or the size or model does not fit the task.
    """
    match task:
        case Task.DETECTION:
            return detection.resize(read_config(model, task), read_processor(model, task), model)
        case Task.SEGMENTATION:
            return segmentation.resize(read_config(model, task), read_processor(model, task), model)
        case _:
            assert_never(task)
