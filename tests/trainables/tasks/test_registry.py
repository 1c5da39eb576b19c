"""Every task is registered with all its facts, and no other code depends on which task it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trainables.backbones import EMBEDDED
from trainables.export.portable import DIVIDERS
from trainables.inference.predict import READERS
from trainables.specs.data import DataSpec
from trainables.specs.tasks import TASK_FACTS
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Direction, MetricName, Task
from trainables.tasks.base import RegisteredTask
from trainables.tasks.registry import TASKS

ROOT = Path(__file__).parents[3]
each_task = pytest.mark.parametrize("task", list(Task))


def test_every_task_is_in_every_table() -> None:
    assert set(TASKS) == set(READERS) == set(DIVIDERS) == set(Task)
    assert set(EMBEDDED) == {task for task in Task if task.facts.backbone is not None}
    assert list(TASK_FACTS) == [task.value for task in Task]
    assert all(isinstance(task, RegisteredTask) for task in TASKS.values())
    assert len({id(task) for task in TASKS.values()}) == len(Task)


@each_task
def test_facts_name_what_there_is(task: Task) -> None:
    facts = task.facts
    assert facts.main_metric not in facts.lower_is_better
    assert facts.table_metrics
    assert facts.card_metrics
    for names in (facts.class_metrics, facts.table_metrics, facts.card_metrics, facts.lower_is_better):
        assert set(names) <= set(facts.metrics)
    assert set(facts.sources) <= set(DataSpec.model_fields)
    assert set(facts.settings) <= set(TrialConfig.model_fields)
    assert facts.boxes or facts.masks
    assert set(facts.annotations.split(" and ")) <= {"boxes", "masks", "masks of single objects"}
    assert facts.boxes or not facts.instances
    assert task not in EMBEDDED or (EMBEDDED[task] / "config.json").is_file()


@each_task
def test_a_metric_is_better_as_its_task_says(task: Task) -> None:
    for metric in task.facts.metrics:
        lower = metric in task.facts.lower_is_better
        assert MetricName.of(metric).direction(task) is (Direction.MINIMIZE if lower else Direction.MAXIMIZE)


def test_nothing_asks_which_task_it_is() -> None:
    asks = re.compile(r"\b(?:is|is not|==|!=) Task\.|case Task\.")
    packages = ("trainables", "tuning", "analysis", "cluster")
    sources = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert len(sources) > 100
    assert [path.name for path in sources if asks.search(path.read_text(encoding="utf-8"))] == []
    assert asks.search("if task is Task.DETECTION:")
