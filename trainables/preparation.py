"""From a workload to prepared data: reads the processor's sizes, then prepares once and for all."""

from __future__ import annotations

from pathlib import Path

from trainables.config import Workload
from trainables.data.prepare import prepare
from trainables.tasks.registry import resize_of


def prepare_workload(workload: Workload, *, progress: bool = False) -> Path:
    """The folder of prepared data for `workload`, made if it is not there yet.

    Raises ModelError where the processor cannot be read, DataError for faults in the data.
    """
    return prepare(workload, size=resize_of(workload.model, workload.task), progress=progress)
