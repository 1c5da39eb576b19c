"""The tasks by name. To add a task: add a file in this package and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from trainables.data.resize import Resize
from trainables.errors import ModelError
from trainables.metrics.rules import MetricRules
from trainables.specs.workload import ModelSpec, Task, Workload
from trainables.tasks import detection, instance_segmentation, segmentation
from trainables.tasks.base import RegisteredTask, TaskModel
from trainables.tasks.hub import read_config, read_processor

TASKS: Mapping[Task, RegisteredTask] = {
    Task.DETECTION: detection.TASK,
    Task.SEGMENTATION: segmentation.TASK,
    Task.INSTANCE_SEGMENTATION: instance_segmentation.TASK,
}


def load_task(workload: Workload, classes: tuple[str, ...], device: torch.device) -> TaskModel:
    """Load the backbone onto `device`. classes: those of the data. Raises ModelError."""
    loaded: Any = TASKS[workload.task].load(workload.model, classes, device)
    resize = loaded.resize.defined(workload.definitions.pixels)
    task: TaskModel = replace(loaded, rules=MetricRules.of(workload, classes), resize=resize)
    if workload.definitions.head == 1:
        return task.with_head_as_before()
    if task.head_fault is not None:
        raise ModelError(f"model.name '{workload.model.name}': {task.head_fault}")
    return task


def resize_of(model: ModelSpec, task: Task) -> Resize:
    """The resize rule of the model, from its settings only, without reading weights.

    Raises ModelError if the settings cannot be read, or the size or model does not fit the task.
    """
    return TASKS[task].resize(read_config(model, task), read_processor(model, task), model)
