"""The card names the packages that an exported adapter needs besides torch, transformers and PEFT."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from exporting import trained

from tests.trainables.adapters.families.test_passthrough import SMALL
from trainables.adapters.families.passthrough import offered_methods
from trainables.export.card import PACKAGES
from trainables.export.card_facts import Card
from trainables.export.write import export_model
from trainables.specs.workload import Task

WITHOUT = """
import importlib.util, json, sys
from dataclasses import replace
from pathlib import Path

ABSENT = {absent!r}


class Hides:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in ABSENT else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)


sys.meta_path[:] = [Hides(finder) for finder in sys.meta_path]
errors = {{}}
for folder in json.loads(Path(sys.argv[1]).read_text()):
    spec = importlib.util.spec_from_file_location("use", Path(folder) / "use.py")
    use = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(use)
    try:
        use.load(folder)
    except Exception as error:
        errors[folder] = repr(error)
print("ERRORS" + json.dumps(errors))
"""
ABSENT = ("sklearn", "scipy", "pandas", "pyarrow", "datasets", "statsmodels", "matplotlib", "optuna", "ray")
"""Packages that are installed with adaptertune, and not by PEFT."""
IMPORTED_AS = {"scikit-learn": "sklearn"}


def load_without(absent: tuple[str, ...], folders: list[Path], scratch: Path) -> dict[str, str]:
    """The error of each folder that does not load where these packages are absent, by its name."""
    script, asked = scratch / "script.py", scratch / "asked.json"
    script.write_text(WITHOUT.format(absent=absent), encoding="utf-8")
    asked.write_text(json.dumps([str(folder) for folder in folders]), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-I", str(script), str(asked)]
    done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    errors = json.loads(done.stdout.split("ERRORS")[1])
    return {Path(folder).name: error for folder, error in errors.items()}


def exported(method: str, root: Path, *, merge: bool = False) -> Path:
    peft = {"method": method, "arguments": SMALL.get(method, {})}
    model = trained(Task.SEGMENTATION, {"adapter": "peft", "peft": peft})
    folder = root / (f"{method}-merged" if merge else method)
    export_model(model, folder, merge=merge, card=Card(method))
    return folder


def check(folders: list[Path], scratch: Path) -> None:
    errors = load_without(ABSENT, folders, scratch)
    assert set(errors) == set(PACKAGES) & {folder.name for folder in folders}
    for folder in folders:
        text = (folder / "README.md").read_text()
        needed = PACKAGES.get(folder.name, ())
        for package in needed:
            assert f"does not load without {package}:" in text
            assert IMPORTED_AS[package] in errors[folder.name] or package in errors[folder.name]
        assert ("does not load without" in text) == bool(needed)


@pytest.mark.slow
def test_an_adapter_that_needs_another_package_says_so(tmp_path: Path) -> None:
    check([exported("ADAMSS", tmp_path), exported("ADAMSS", tmp_path, merge=True)], tmp_path)


@pytest.mark.slow
def test_every_other_method_loads_with_peft_alone(tmp_path: Path) -> None:
    check([exported(method, tmp_path) for method in offered_methods()], tmp_path)


def test_code_from_the_hub_is_asked_for_in_the_card(tmp_path: Path) -> None:
    model = trained(Task.SEGMENTATION, {"adapter": "lora"})
    for trusts, says in ((True, "load(trust_remote_code=True)"), (False, "load()  #")):
        spec = model.workload.model.model_copy(update={"trust_remote_code": trusts})
        workload = model.workload.model_copy(update={"model": spec})
        export_model(replace(model, workload=workload), tmp_path / str(trusts), merge=False, card=Card("x"))
        assert says in (tmp_path / str(trusts) / "README.md").read_text()
