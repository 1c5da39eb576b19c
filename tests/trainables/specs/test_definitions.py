"""Which definition a metric has, and how it differs between experiments."""

from __future__ import annotations

import pytest

from trainables.specs.definitions import BEFORE, Definitions

NOW = Definitions()


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("dice", ("dice", 2)),
        ("iou@stain", ("iou", 2)),
        ("dice/cat", None),
        ("dice/cat@stain", None),
        ("robustness@stain", ("robustness", 2)),
        ("map_50/cat@stain", ("coco", NOW.coco)),
        ("mar_100", ("coco", NOW.coco)),
        ("loss", None),
        ("soft_dice", None),
        ("dice_worst", None),
    ],
)
def test_the_definition_of_a_metric(metric: str, expected: tuple[str, int] | None) -> None:
    assert NOW.of_metric(metric) == expected


def test_how_two_experiments_differ() -> None:
    assert NOW.differs("dice", NOW) is None
    assert NOW.differs("dice/cat", BEFORE) is None
    said = NOW.differs("dice@stain", BEFORE) or ""
    assert "foreground classes" in said
    assert "background included" in said
    assert said.startswith("dice is defined as")


def test_robustness_is_also_of_the_main_metric() -> None:
    other = Definitions(dice=1)
    assert NOW.differs("robustness", other) is None
    assert "foreground" in (NOW.differs("robustness@a", other, main="dice") or "")
    assert NOW.differs("robustness", other, main="map") is None


def test_floors_came_with_robustness_above_them() -> None:
    assert NOW.with_floors
    assert not BEFORE.with_floors


def test_fingerprints_of_before_are_not_of_content() -> None:
    assert NOW.by_content
    assert not BEFORE.by_content
