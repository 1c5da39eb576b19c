from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from trainables import library_imports
from trainables.library_imports import deferred, models_listed_once, without_prefix

UNUSED = {
    "scipy.optimize": "only the loss of detectors calls a function of it",
    "scipy.linalg": "comes with scipy.optimize",
    "scipy.stats": "only the analysis uses it",
    "sklearn": "its digits are read from their file",
    "datasets": "only a hub data set is read with it, by the driver",
    "torchvision": "images are resized with Pillow",
    "matplotlib": "only reports draw charts",
    "hotcoco": "only the first evaluation of a detector needs it",
    "optuna": "the driver proposes",
    "duckdb": "only questions about results use it",
    "typer": "only the command line uses it",
    "tuning": "belongs to the driver",
    "analysis": "belongs to the questions about results",
}
"""Modules that a worker does not import until its first step, with the reason."""


def _fresh(code: str) -> list[str]:
    """The lines that a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_worker_imports_only_what_its_first_trial_needs() -> None:
    from tuning.run.early_imports import FOR_TRIALS

    names = ", ".join(FOR_TRIALS)
    (line,) = _fresh(f"import ray, {names}, sys; print(*sys.modules)")
    loaded = set(line.split())
    assert {"torch", "transformers", "peft", "ray.tune", *FOR_TRIALS} <= loaded
    assert sorted(loaded & UNUSED.keys()) == []


def test_a_worker_asks_for_no_gpu_while_it_imports() -> None:
    code = """
import ray, torch
asked = []
for name in ("is_available", "device_count", "init", "_lazy_init", "current_device", "get_device_properties"):
    setattr(torch.cuda, name, lambda *_, name=name: asked.append(name))
from tuning.run.early_imports import FOR_GPU_TRIALS
for name in FOR_GPU_TRIALS:
    __import__(name)
print(asked)
"""
    assert _fresh(code) == ["[]"]


@pytest.mark.slow
def test_the_deferred_function_of_the_loss_is_scipys() -> None:
    code = """
import trainables.library_imports, sys
from transformers.loss import loss_for_object_detection as loss
before = "scipy.optimize" in sys.modules
rows, columns = loss.linear_sum_assignment([[4, 1, 3], [2, 0, 5], [3, 2, 2]])
import scipy.optimize
same = scipy.optimize.linear_sum_assignment([[4, 1, 3], [2, 0, 5], [3, 2, 2]])
print(before, list(columns) == list(same[1]), type(scipy.optimize).__name__)
from scipy.optimize import minimize
print(minimize.__module__)
"""
    assert _fresh(code) == ["False True module", "scipy.optimize._minimize"]


@pytest.mark.slow
def test_transformers_has_the_same_models_as_after_a_plain_import() -> None:
    code = """
import sys, transformers.models as models
print(*sorted(models._modules))
print(*sorted(f"{name}={module}" for name, module in models._class_to_module.items()))
print(*sorted(models._object_missing_backend))
"""
    assert _fresh("import trainables.library_imports\n" + code) == _fresh(code)


def test_the_structure_of_the_models_is_that_of_the_second_reading() -> None:
    from transformers import models
    from transformers.utils.import_utils import define_import_structure

    file = str(models.__file__)
    whole = define_import_structure(Path(file).parent, prefix="models")
    assert without_prefix(whole, "models.") == define_import_structure(file)
    with models_listed_once():
        from transformers.utils import import_utils

        assert import_utils.define_import_structure(file) == define_import_structure(file)
        other = Path(file).parent / "vit"
        assert import_utils.define_import_structure(other) == define_import_structure(other)
    assert import_utils.define_import_structure is define_import_structure


def test_another_transformers_lists_its_models_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import models
    from transformers.utils import import_utils

    def listed(path: Any) -> str:
        return "its own"

    monkeypatch.setattr(import_utils, "define_import_structure", listed)
    with models_listed_once():
        assert import_utils.define_import_structure(str(models.__file__)) == "its own"
    monkeypatch.delattr(import_utils, "define_import_structure")
    with models_listed_once():
        assert not hasattr(import_utils, "define_import_structure")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package `far_away` with a function, a value and a submodule."""
    folder = tmp_path / "far_away"
    folder.mkdir()
    (folder / "__init__.py").write_text("VALUE = 3\n\ndef double(x):\n    return 2 * x\n")
    (folder / "part.py").write_text("from far_away import VALUE\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("far_away", "far_away.part"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "far_away"


def _is_real(name: str) -> bool:
    module = sys.modules.get(name)
    return isinstance(module, ModuleType) and not isinstance(module, library_imports._Deferred)


def test_a_deferred_function_imports_its_module_when_it_is_called(package: str) -> None:
    with deferred(package, "double"):
        from far_away import double  # type: ignore[import-not-found]

        assert not _is_real(package)
    assert package not in sys.modules
    assert double(4) == 8
    assert _is_real(package)


@pytest.mark.parametrize(
    "statement", ["from far_away import VALUE", "import far_away; far_away.VALUE", "import far_away.part"]
)
def test_any_other_use_of_the_module_imports_it_at_once(statement: str, package: str) -> None:
    with deferred(package, "double"):
        exec(statement)
    assert _is_real(package)
    with deferred(package, "double"):  # nothing to do
        assert _is_real(package)


def test_a_name_that_the_module_lacks_is_the_usual_error(package: str) -> None:
    with deferred(package), pytest.raises(ImportError, match="cannot import name 'triple'"):
        exec("from far_away import triple")


@pytest.mark.parametrize("name", ["no_such_package", "no_such_package.part"])
def test_a_module_that_is_not_installed_is_not_deferred(name: str) -> None:
    with deferred(name):
        assert name not in sys.modules
        assert importlib.util.find_spec("no_such_package") is None


def test_it_is_imported_once_for_all_of_its_functions(package: str) -> None:
    with deferred(package, "double"):
        from far_away import double
    assert double(1) == 2
    first = sys.modules[package]
    assert double(np.ones(2)).tolist() == [2.0, 2.0]
    assert sys.modules[package] is first
