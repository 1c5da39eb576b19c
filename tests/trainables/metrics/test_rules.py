"""Which class is the background."""

from __future__ import annotations

from trainables.metrics.rules import MetricRules
from trainables.specs.data import DataSpec, MaskData, MaskPart
from trainables.specs.workload import ObjectiveSpec, Task, Workload


def test_the_foreground() -> None:
    assert MetricRules(background="b").foreground(("a", "b", "c")) == (0, 2)
    assert MetricRules().foreground(("a", "b")) == (0, 1)
    assert MetricRules(background="b").foreground(("b",)) == (0,), "nothing else is there"


def test_rules_of_a_workload() -> None:
    of = Workload(task=Task.SEGMENTATION, objective=ObjectiveSpec(metric="dice"))
    assert MetricRules.of(of, ("background", "0")) == MetricRules(of.definitions, "background")


def test_the_background_that_the_data_name() -> None:
    masks = MaskData(
        train=MaskPart(images="images", masks="masks"), classes=("ground", "background"), background="ground"
    )
    of = Workload(task=Task.SEGMENTATION, objective=ObjectiveSpec(metric="dice"), data=DataSpec(masks=masks))
    assert MetricRules.of(of, masks.classes).background == masks.background_class == "ground"
