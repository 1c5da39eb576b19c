"""Sides of images that a detector does not take."""

from __future__ import annotations

import pytest

from trainables.data.resize import Resize
from trainables.errors import ModelError
from trainables.specs.workload import ModelSpec
from trainables.tasks.detector_sizes import SideRule


def test_windows_need_squares_of_a_named_size() -> None:
    """The message names a size that the rule takes."""
    rule, spec = SideRule(step=16, square=True), ModelSpec(name="model")
    with pytest.raises(ModelError, match=r"two equal multiples of 16, such as \[320, 320\]"):
        rule.check(Resize.edges(64, 96), "rf_detr", spec)
    rule.check(Resize.fixed(320, 320), "rf_detr", spec)
