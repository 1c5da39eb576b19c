from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables.wording import few, nearest_name, plural

ROOT = Path(__file__).parents[2]
PACKAGES = ("adaptertune", "analysis", "cluster", "trainables", "tuning")
COUNTED = ("trials", "epochs", "seeds", "errors", "images", "parameters", "blocks", "steps", "pairs", "rows")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0 trials"),
        (1, "1 trial"),
        (2, "2 trials"),
        (10_000, "10,000 trials"),
        (1.0, "1 trial"),
        (0.5, "0.5 trials"),
    ],
)
def test_a_count_has_its_noun(number: float, said: str) -> None:
    assert plural(number, "trial") == said


def test_a_noun_may_have_a_plural_of_its_own() -> None:
    assert [plural(n, "box", "boxes") for n in (1, 3)] == ["1 box", "3 boxes"]


@pytest.mark.parametrize(("names", "said"), [("", ""), ("ab", "a, b"), ("abcde", "a, b and 3 more")])
def test_a_long_list_is_cut(names: str, said: str) -> None:
    assert few(list(names), 2) == said


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("CAT", ["Cat", "dog"], "Cat"),
        ("background", ["back", "dog"], "back"),
        ("fo", ["fox", "dog"], "fox"),
        ("lab", ["labrador", "laboratory"], None),
        ("", ["cat"], None),
        ("zebra", [], None),
        ("dgo", ["dog", "cat"], None),
    ],
)
def test_the_nearest_name(word: str, known: list[str], meant: str | None) -> None:
    assert nearest_name(word, known) == meant


def test_a_name_may_be_less_alike() -> None:
    assert nearest_name("dgo", ["dog", "cat"], 0.6) == "dog"


def _counts_without_it() -> Iterator[str]:
    """f-strings in which a length is followed by a noun in the plural."""
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                for value, text in zip(node.values, node.values[1:], strict=False):
                    if isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant):
                        counts = ast.unparse(value.value).startswith(("len(", "sum("))
                        if counts and str(text.value).startswith(tuple(f" {noun}" for noun in COUNTED)):
                            yield f"{path.relative_to(ROOT)}:{value.lineno}"


def test_no_message_counts_one_trials() -> None:
    more_than_one = {"analysis/statistics/importance.py"}  # it has raised below MIN_TRIALS
    assert {place.partition(":")[0] for place in _counts_without_it()} <= more_than_one
