"""docs/fidelity.md and docs/reliability.md name tests that exist, and say where they run."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in ("fidelity", "reliability")}
TEXT = PAGES["fidelity"]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`( \*slow\*)?")
REFERENCES = sorted(
    {(file, test, bool(slow)) for text in PAGES.values() for file, test, slow in NAMED.findall(text)}
)


@cache
def _tests(file: str) -> dict[str, bool]:
    """The tests in a file, and whether each is slow."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    whole = any(
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "pytestmark"
        and "mark.slow" in ast.unparse(node.value)
        for node in tree.body
    )
    return {
        node.name: whole or any("mark.slow" in ast.unparse(d) for d in node.decorator_list)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def _rows(text: str) -> list[str]:
    """The tables' rows, less their heads."""
    lines = text.splitlines()
    return [
        line
        for number, line in enumerate(lines)
        if line.startswith("|") and "---" not in line and "---" not in (lines[number + 1 :] or [""])[0]
    ]


@pytest.mark.parametrize(("file", "test", "slow"), REFERENCES)
def test_every_test_that_is_named_exists(file: str, test: str, slow: bool) -> None:
    assert (ROOT / "tests" / file).is_file(), f"there is no tests/{file}"
    assert test in _tests(file), f"tests/{file} has no {test}; it has {', '.join(_tests(file))}"
    assert _tests(file)[test] == slow, f"{test} is {'not ' if slow else ''}run by make test-slow"


@pytest.mark.parametrize(("page", "least"), [("fidelity", 40), ("reliability", 30)])
def test_every_row_has_a_test(page: str, least: int) -> None:
    rows = _rows(PAGES[page])
    assert len(rows) > least
    for row in rows:
        assert NAMED.search(row), row


@pytest.mark.parametrize("text", PAGES.values(), ids=PAGES)
def test_nothing_named_escapes_the_check(text: str) -> None:
    """A name in another form would not be looked up."""
    assert text.count("::") == len(NAMED.findall(text)) + text.count("`file::function`")


def test_reference_tests_are_all_named() -> None:
    named = {file for file, _, _ in NAMED.findall(TEXT)}
    here = {f"reference/{path.name}" for path in Path(__file__).parent.glob("test_*.py")}
    assert here - named == {"reference/test_fidelity_table.py"}


def test_pictures_are_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert pictures
    assert all((ROOT / "docs" / picture).is_file() for picture in pictures)
