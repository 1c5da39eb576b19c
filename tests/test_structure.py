"""The packages as a whole: import cycles, the size of folders, what an `__init__.py` holds."""

from __future__ import annotations

from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("adaptertune", "analysis", "tuning", "trainables", "search_spaces", "cluster")
MOST_MODULES = 27
"""The most modules in one folder."""


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Our modules that each module imports, also inside functions and for type checking."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_the_graph_holds_lazy_and_type_checking_imports(imports: dict[str, set[str]]) -> None:
    assert len(imports) == len(modules())
    assert "ray" not in imports  # only ours
    assert "tuning.search.study" in imports["tuning.run.driver"]  # inside a function


def test_no_module_imports_itself_on_any_way(imports: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " <- ".join(error.args[1]))


def test_the_cycle_test_can_fail(imports: dict[str, set[str]]) -> None:
    module, known = next((m, i) for m, i in imports.items() if i)
    back = {**imports, next(iter(known)): {*imports[next(iter(known))], module}}
    with pytest.raises(CycleError):
        TopologicalSorter(back).prepare()


def test_no_folder_is_too_large_to_look_through() -> None:
    sizes = Counter(path.parent for path in modules() if path.name != "__init__.py")
    assert max(sizes.values()) <= MOST_MODULES, sizes.most_common(3)


def test_an_init_holds_a_docstring_and_no_definitions() -> None:
    for path in modules():
        if path.name == "__init__.py" and path.parent.name not in ("adaptertune", "analysis", "backbones"):
            assert len(path.read_text().strip().splitlines()) == 1, path
