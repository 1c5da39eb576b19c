"""Which class is the background: one rule for masks as they are read and for metrics."""

from __future__ import annotations

import pytest

from trainables.specs.data import MaskData, MaskPart, background_among


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("background", "cell"), "background"),
        (("cell", "background"), "background"),
        (("Background ", "cell"), "Background "),
        (("background", "Background"), "background"),
        (("Background", "background"), "background"),
        (("Background", "BACKGROUND"), None),
        (("cell", "debris"), None),
    ],
)
def test_the_background_is_found_by_its_name(classes: tuple[str, ...], expected: str | None) -> None:
    part = MaskPart(images="images", masks="masks")
    assert background_among(classes) == expected
    assert MaskData(train=part, classes=classes).background_class == expected


def test_a_name_that_the_data_give_comes_first() -> None:
    classes = ("background", "ground")
    assert background_among(classes, "ground") == "ground"
    assert background_among(classes, "Ground ") == "ground"
    assert background_among(classes, "sky") is None
