"""From a workload to prepared data: reads the processor's sizes, then prepares once and for all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainables.backbones import EMBEDDED
from trainables.data.prepare import prepare
from trainables.data.resize import Resize
from trainables.workload import ModelSpec, Task, Workload

_PLAIN = {
    Task.SEGMENTATION: ("vit", ("ViTImageProcessor", "ViTImageProcessorPil")),
    Task.DETECTION: ("yolos", ("YolosImageProcessor", "YolosImageProcessorPil")),
}
"""The model type and processors of each task whose settings are read without transformers."""


def prepare_workload(workload: Workload, *, progress: bool = False) -> Path:
    """The folder of prepared data for `workload`, made if it is not there yet.

    Raises ModelError where the processor cannot be read, DataError for faults in the data.
    """
    return prepare(workload, size=_size(workload.model, workload.task), progress=progress)


def _size(model: ModelSpec, task: Task) -> Resize:
    if (plain := _plain_size(model, task)) is not None:
        return plain
    from trainables.tasks.registry import resize_of

    return resize_of(model, task)


def _plain_size(model: ModelSpec, task: Task) -> Resize | None:
    """The fixed size that a local folder's settings state outright; None where they need interpretation.

    Spares a driver the import of transformers, which takes longer than all the rest of its start.
    """
    folder = EMBEDDED[task] if model.name == "embedded" else Path(model.name).expanduser()
    config, processor = _settings(folder / "config.json"), _settings(folder / "preprocessor_config.json")
    model_type, processors = _PLAIN[task]
    if config.get("model_type") != model_type or processor.get("image_processor_type") not in processors:
        return None
    size = processor.get("size")
    if model.image_size is not None:
        height, width = model.image_size
    elif (
        processor.get("do_resize") is True
        and not processor.get("do_center_crop")
        and isinstance(size, dict)
        and set(size) == {"height", "width"}
        and all(isinstance(side, int) for side in size.values())
    ):
        height, width = size["height"], size["width"]
    else:
        return None
    patch = config.get("patch_size")
    if task is Task.SEGMENTATION and (not isinstance(patch, int) or height % patch or width % patch):
        return None
    return Resize.fixed(height, width)


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
