"""The parts of a metric's name."""

from __future__ import annotations

import pytest

from trainables.specs.workload import MetricName

DOMAINS = ("stain", "b")


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("dice", MetricName("dice")),
        ("dice@stain", MetricName("dice", None, "stain")),
        ("dice/cat", MetricName("dice", "cat")),
        ("map_50/cat@stain", MetricName("map_50", "cat", "stain")),
        ("dice/a@b", MetricName("dice", "a", "b")),
        ("dice/a@home", MetricName("dice", "a@home")),
        ("dice/a@home@stain", MetricName("dice", "a@home", "stain")),
        ("dice/red/green@stain", MetricName("dice", "red/green", "stain")),
        ("robustness", MetricName("robustness")),
    ],
)
def test_parts_of_a_name_where_the_domains_are_known(metric: str, expected: MetricName) -> None:
    found = MetricName.of(metric, DOMAINS)
    assert found == expected
    assert found.whole == metric


def test_without_domains_the_text_after_the_last_at_is_one() -> None:
    assert MetricName.of("dice/a@home") == MetricName("dice", "a", "home")
    assert MetricName.of("dice/@home") == MetricName("dice", "@home")
    assert MetricName.of("dice@stain/cat").base == "dice@stain", "no metric of any task"
