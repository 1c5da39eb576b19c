"""The embedded backbones' sizes are read without transformers; they must be what transformers says."""

from __future__ import annotations

import json

import pytest

from tests.trainables.conftest import workload
from trainables.data.resize import Resize
from trainables.preparation import prepare_workload
from trainables.tasks.registry import resize_of
from trainables.workload import Task


@pytest.mark.parametrize("task", list(Task))
def test_an_embedded_backbone_gets_the_size_of_its_processor(task: Task) -> None:
    asked = workload(task)
    meta = json.loads((prepare_workload(asked) / "meta.json").read_text())
    assert Resize.model_validate_json(json.dumps(meta["size"])) == resize_of(asked.model, task)
