from __future__ import annotations

from typing import Any

import pytest

from cluster.manifests.units import Duration, Memory, parse_duration, parse_memory


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("4h", 14_400, "4h"),
        ("90min", 5_400, "1h 30min"),
        ("1d 12h", 129_600, "1d 12h"),
        ("2d1h30min15s", 178_215, "2d 1h 30min 15s"),
        ("45s", 45, "45s"),
    ],
)
def test_a_duration_has_units(text: str, seconds: int, shown: str) -> None:
    assert parse_duration(text) == Duration(seconds)
    assert str(Duration(seconds)) == shown
    assert parse_duration(shown) == Duration(seconds)


@pytest.mark.parametrize(
    "value", [4, 4.5, True, None, "", "4", "4:00:00", "0h", "-1h", "1h 1d", "4 hours", "4H"]
)
def test_other_durations_are_refused_with_the_value(value: Any) -> None:
    with pytest.raises(ValueError, match="units d, h, min and s, such as 4h") as caught:
        parse_duration(value)
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "mebibytes", "shown"),
    [
        ("64GiB", 65_536, "64GiB"),
        ("512MiB", 512, "512MiB"),
        ("1 TiB", 1_048_576, "1024GiB"),
        ("1536MiB", 1_536, "1536MiB"),
    ],
)
def test_memory_has_a_binary_unit(text: str, mebibytes: int, shown: str) -> None:
    assert parse_memory(text) == Memory(mebibytes)
    assert str(Memory(mebibytes)) == shown
    assert parse_memory(shown) == Memory(mebibytes)


@pytest.mark.parametrize("value", [64, "64", "64GB", "64G", "1.5GiB", "0GiB", "-1GiB", "gib", None])
def test_other_amounts_of_memory_are_refused_with_the_value(value: Any) -> None:
    with pytest.raises(ValueError, match="unit MiB, GiB or TiB, such as 64GiB") as caught:
        parse_memory(value)
    assert str(value) in str(caught.value)
