"""Small data sets that are inspected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_makers import workload

from trainables.inspection.inspection import Inspection, Subject, inspect_data
from trainables.specs.workload import ModelSpec, Task

Inspect = Callable[..., Inspection]


@pytest.fixture
def look() -> Inspect:
    """Inspect a `data` section, as of an experiment; without a model unless one is given."""

    def inspected(
        data: dict[str, Any],
        task: Task = Task.DETECTION,
        *,
        model: str | None = None,
        metric: str | None = None,
        images: int = 24,
    ) -> Inspection:
        whole = workload(task, data)
        if metric is not None:
            whole = whole.model_copy(
                update={"objective": whole.objective.model_copy(update={"metric": metric})}
            )
        named = None if model is None else ModelSpec(name=model)
        subject = Subject("mine", task, whole.data, model=named, workload=whole)
        return inspect_data(subject, images=images)

    return inspected


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of data with one fault each, next to the checkout."""
    folder = Path(__file__).resolve().parents[3] / "../shared/cases"
    if not folder.is_dir():
        pytest.skip("there is no folder ../shared/cases next to the checkout")
    return folder.resolve()
