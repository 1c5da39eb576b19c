"""The names of `adaptertune`, and the modules that its import loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import adaptertune

HEAVY = {"torch", "ray", "optuna", "pandas", "transformers", "pydantic", "duckdb", "typer", "rich", "IPython"}


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import adaptertune, sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & HEAVY
    assert not loaded & {"tuning", "trainables", "analysis", "cluster"}


def test_opening_results_loads_neither_ray_nor_torch() -> None:
    code = "import adaptertune, sys; adaptertune.open, adaptertune.launch, adaptertune.Results"
    shown = "print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {shown}"], capture_output=True, text=True, check=True
    )
    assert not set(done.stdout.split()) & {"torch", "ray", "optuna", "transformers", "IPython"}


@pytest.mark.parametrize("name", adaptertune.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(adaptertune, name) is getattr(adaptertune, name)
    if name != "__version__":
        assert getattr(adaptertune, name).__doc__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(adaptertune.__file__).read_text())
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    imported = {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {*imported, "__version__"} == set(adaptertune.__all__)
    modules = {name: adaptertune._MODULES.get(name, "trainables.errors") for name in imported}
    assert modules == imported
    assert dir(adaptertune) == sorted(adaptertune.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lunch'"):
        adaptertune.lunch  # noqa: B018
