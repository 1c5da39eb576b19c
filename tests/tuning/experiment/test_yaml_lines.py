from __future__ import annotations

import pytest

from trainables import yaml_aliases
from tuning.experiment.yaml_lines import dump_yaml as yaml_text
from tuning.experiment.yaml_lines import read_yaml


def test_yaml_is_written_as_it_reads_back() -> None:
    value = {
        "text": ["1e-4", "yes", "null", "a: b", "", "- x", "2020-01-01", "01", "#", "ä", "true"],
        "numbers": [1, 1.5, 1e-05, 1e22, -3, 0.1],
        "rest": {"nothing": None, "truth": True, "empty": {}, "none": [], "nested": [[1, 2], {"a": [3]}]},
    }
    assert read_yaml(yaml_text(value)).value == value


def test_yaml_1_2_numbers_and_words() -> None:
    text = "[1e-4, 1E3, .5, 0x1F, 0o17, 1_000, -2, .inf, yes, on, True, ~, 012]"
    assert read_yaml(text).value == [
        1e-4, 1000.0, 0.5, 31, 15, 1000, -2, float("inf"), "yes", "on", True, None, 12,
    ]  # fmt: skip


def bomb(levels: int, times: int) -> str:
    lines = ["a0: &a0 [x]"]
    for level in range(1, levels):
        aliases = ", ".join([f"*a{level - 1}"] * times)
        lines.append(f"a{level}: &a{level} [{aliases}]")
    return "\n".join(lines)


def test_aliases_of_aliases_that_repeat_values_without_end_are_refused_before_they_are_built() -> None:
    for text in (bomb(400, 9), bomb(12, 3), bomb(30, 2)):
        document = read_yaml(text)
        assert document.value is None
        assert [error.rule for error in document.errors] == [
            "aliases that refer to aliases repeat values more than 100,000 times; write out what is meant"
        ]
    document = read_yaml(bomb(8, 3))
    assert document.errors == []
    assert str(document.value["a7"]).count("x") == 3**7


def test_a_long_list_without_aliases_is_no_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_aliases, "REPEATED", 1000)
    assert len(read_yaml("[" + "1, " * 1200 + "1]").value) == 1201
    assert read_yaml(f"[&a [{'1, ' * 400}1], *a, *a, *a]").value is None


def test_aliases_and_merges() -> None:
    document = read_yaml("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: *x\n")
    assert document.value == {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}, "c": {"p": 1, "q": 2}}
    assert document.where[("a",)] == 1
    assert document.where[("b", "q")] == 2
