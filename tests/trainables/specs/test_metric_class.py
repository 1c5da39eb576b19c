"""The class of a metric must be one of the data."""

from __future__ import annotations

import pytest

from trainables.specs.metric_class import class_error
from trainables.specs.workload import MetricName


@pytest.mark.parametrize(
    ("metric", "classes", "error"),
    [
        ("dice", ["cat"], None),
        ("dice/cat", ["cat"], None),
        ("dice/cat@stain", ["cat"], None),
        ("dice/owl", [], None),
        ("dice/Cat", ["cat", "dog"], "there is no class 'Cat'; did you mean 'cat'?"),
        ("dice/dgo", ["cat", "dog"], "there is no class 'dgo'; did you mean 'dog'?"),
        ("dice/owl", ["cat", "dog"], "there is no class 'owl'; the data has cat, dog"),
        ("dice/", ["cat"], "there is no class ''; the data has cat"),
    ],
)
def test_an_unknown_class_is_an_error(metric: str, classes: list[str], error: str | None) -> None:
    assert class_error(MetricName.of(metric), classes) == error


def test_of_many_classes_twenty_are_named() -> None:
    said = class_error(MetricName("map", "owl"), [str(i) for i in range(80)]) or ""
    assert said.endswith("18, 19 and 60 more")
