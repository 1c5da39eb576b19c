"""Which class is the background."""

from __future__ import annotations

import pytest

from trainables.metrics.rules import MetricRules, background_class
from trainables.specs.data import DataSpec, EmbeddedData
from trainables.specs.workload import ObjectiveSpec, Task, Workload

DATA = DataSpec(embedded=EmbeddedData())


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("background", "cell"), "background"),
        (("cell", "background"), "background"),
        (("Background ", "cell"), "Background "),
        (("background", "Background"), "background"),
        (("Background", "BACKGROUND"), None),
        (("cell", "debris"), None),
    ],
)
def test_the_background_is_found_by_its_name(classes: tuple[str, ...], expected: str | None) -> None:
    assert background_class(DATA, classes) == expected


def test_the_foreground() -> None:
    assert MetricRules(background="b").foreground(("a", "b", "c")) == (0, 2)
    assert MetricRules().foreground(("a", "b")) == (0, 1)
    assert MetricRules(background="b").foreground(("b",)) == (0,), "nothing else is there"


def test_rules_of_a_workload() -> None:
    of = Workload(task=Task.SEGMENTATION, objective=ObjectiveSpec(metric="dice"))
    assert MetricRules.of(of, ("background", "0")) == MetricRules(of.definitions, "background")
