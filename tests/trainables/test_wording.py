from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables.wording import counts_in_words, few, nearest_name, plural, with_full_stop

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


def test_counts_stand_in_the_order_given() -> None:
    assert counts_in_words({"train": 6, "validation": 0, "test": 1}) == "6 train, 0 validation, 1 test"
    assert counts_in_words({}) == ""


def test_a_sentence_ends_with_one_sign() -> None:
    assert [with_full_stop(text) for text in ("a", "a.", "a?")] == ["a.", "a.", "a?"]


def test_a_list_shows_a_few_and_that_there_are_more() -> None:
    names = ["a", "b", "c"]
    assert few(names) == few(names, 3) == few(names, 3, counted=True) == "a, b, c"
    assert few(names, 2) == "a, b …"
    assert few(names, 1, counted=True) == "a and 2 more"
    assert few(names, 2, joint=" or ") == "a or b …"
    assert few([]) == ""


@pytest.mark.parametrize(("names", "said"), [("", ""), ("ab", "a, b"), ("abcde", "a, b and 3 more")])
def test_a_long_list_is_cut(names: str, said: str) -> None:
    assert few(list(names), 2, counted=True) == said


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
