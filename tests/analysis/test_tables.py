from __future__ import annotations

import pytest
from pydantic import JsonValue

from analysis.tables import format_budget, format_count, format_metric
from trainables.wording import plural
from tuning.formatting import format_setting, format_settings


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (0.00123456, "0.001235"),
        (8, "8"),
        ("lora", "lora"),
        (["query", "mlp"], "query,mlp"),
    ],
)
def test_a_setting_is_short(value: JsonValue, text: str) -> None:
    assert format_setting(value) == text


def test_cells() -> None:
    assert format_metric(0.75) == "0.7500"
    assert format_metric(None) == format_count(None) == "–"
    assert format_count(1234567) == "1,234,567"
    assert format_budget(1.5, 6.0) == "1.5 of 6"
    assert (plural(1, "trial"), plural(2, "trial")) == ("1 trial", "2 trials")
    assert format_settings({"adapter": "lora", "lora.rank": 8}) == "adapter=lora  lora.rank=8"
