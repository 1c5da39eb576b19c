"""docs/reference/peft-methods.md has the installed PEFT, and every method and argument of it."""

from __future__ import annotations

import re

import peft
import pytest

from docs.generate_peft_methods import FILE
from docs.peft_variants import Variant, arguments_of, methods, variants
from trainables.adapters.families.passthrough import method_fault, offered_methods
from trainables.adapters.peft_arguments import argument_faults

STALE = "run `make docs-peft`"
WIDTH = 96


@pytest.fixture(scope="module")
def text() -> str:
    return FILE.read_text(encoding="utf-8")


def sections(text: str) -> dict[str, str]:
    return dict(re.findall(r"^### (\w+)\n(.*?)(?=^###|\Z)", text, re.M | re.S))


def test_it_is_of_the_installed_version(text: str) -> None:
    assert f"Every method of PEFT {peft.__version__}," in text, STALE


def test_it_has_every_method(text: str) -> None:
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| (works|refused)", text, re.M)
    assert [name for name, _ in rows] == methods(), STALE
    assert [name for name, how in rows if how == "works"] == offered_methods(), STALE
    assert all((method_fault(name) is None) == (how == "works") for name, how in rows)


def test_it_has_every_argument_and_value(text: str) -> None:
    found = sections(text)
    assert list(found) == offered_methods(), STALE
    for method, part in found.items():
        rows = re.findall(r"^\| `([\w.]+)` \| ", part, re.M)
        assert {row.split(".")[0] for row in rows} == set(arguments_of(method)), STALE
        tried = [v.argument for v in variants() if v.method == method and v.argument is not None]
        assert sorted(row for row in rows if row in tried) == sorted(tried), STALE


def test_it_says_of_each_argument_what_validate_says(text: str) -> None:
    found = sections(text)
    for variant in variants():
        if variant.argument is None:
            continue
        faults = argument_faults(variant.method, variant.arguments, WIDTH)
        row = _row(found[variant.method], variant)
        assert ("refused" in row) or not faults, f"{variant.name}: {STALE}"
        for fault in faults:
            assert fault.removeprefix("peft.arguments.").replace("|", "\\|") in row, (
                f"{variant.name}: {STALE}"
            )


def test_nothing_that_is_accepted_does_nothing(text: str) -> None:
    """The page would say so: a variant without effect has to be refused, with a reason."""
    assert "no effect |" not in text
    for wrong in ("no weight moves", "does not repeat", "does not resume", "cannot be exported"):
        assert wrong not in text


def _row(part: str, variant: Variant) -> str:
    import json

    value = json.dumps(variant.value).replace("|", "\\|")
    start = f"| `{variant.argument}` | `{value}` |"
    (row,) = [line for line in part.splitlines() if line.startswith(start)]
    return row
