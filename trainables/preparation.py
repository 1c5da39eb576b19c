"""From a workload to prepared data: reads the processor's sizes, then prepares once and for all."""

from __future__ import annotations

import json
from pathlib import Path

from trainables.backbones import EMBEDDED
from trainables.data.prepare import prepare
from trainables.data.resize import Resize
from trainables.workload import Workload


def prepare_workload(workload: Workload, *, progress: bool = False) -> Path:
    """The folder of prepared data for `workload`, made if it is not there yet.

    Raises ModelError where the processor cannot be read, DataError for faults in the data.
    """
    return prepare(workload, size=_size(workload), progress=progress)


def _size(workload: Workload) -> Resize:
    model = workload.model
    if model.name == "embedded" and model.image_size is None:
        # Importing transformers takes a driver longer than all the rest of a small sweep's start.
        settings = json.loads((EMBEDDED[workload.task] / "preprocessor_config.json").read_text())
        return Resize.fixed(settings["size"]["height"], settings["size"]["width"])
    from trainables.tasks.registry import resize_of

    return resize_of(model, workload.task)
