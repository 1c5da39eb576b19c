from __future__ import annotations

from tuning.experiment.checks.draft import Draft
from tuning.experiment.checks.sections import check_parts


def test_a_draft_without_parts_has_no_errors() -> None:
    assert list(check_parts(Draft())) == []
