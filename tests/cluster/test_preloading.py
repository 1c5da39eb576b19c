from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.connect import connect
from cluster.preloading import VARIABLE, Preload, preload_here

UNUSED = ("colorsys", "chunk")
"""Modules that neither Ray nor pytest imports."""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of claims, in a process that may preload."""
    claims = tmp_path / "claims"
    for name, value in Preload(UNUSED[:1], 2).environment(tmp_path, claims).items():
        if name == VARIABLE:
            monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, UNUSED[0], raising=False)
    return claims


def test_ray_is_told_our_module_and_where_to_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/the/user")
    given = Preload(("torch",), 3).environment(tmp_path / "packages", tmp_path / "claims")
    assert given["RAY_preload_python_modules"] == "cluster.preload"
    assert given["PYTHONPATH"].split(os.pathsep) == [str(tmp_path / "packages"), "/of/the/user"]
    assert json.loads(given[VARIABLE]) == {
        "modules": ["torch"],
        "workers": 3,
        "claims": str(tmp_path / "claims"),
    }
    assert (tmp_path / "claims").is_dir()


def test_only_as_many_processes_import_as_there_are_trials_at_once(asked: Path) -> None:
    imported = []
    for _ in range(3):
        sys.modules.pop(UNUSED[0], None)
        preload_here()
        imported.append(UNUSED[0] in sys.modules)
    assert imported == [True, True, False]


def test_nothing_is_imported_unless_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, UNUSED[0], raising=False)
    preload_here()
    assert UNUSED[0] not in sys.modules


@pytest.mark.parametrize("source", ["import no_such_module", "raise RuntimeError('broken')", None])
def test_what_cannot_be_imported_does_not_end_the_worker(
    source: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source is not None:
        (tmp_path / "broken_module.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
    asked = Preload(("broken_module",), 1).environment(tmp_path, tmp_path / "claims")
    monkeypatch.setenv(VARIABLE, asked[VARIABLE])
    preload_here()
    assert len(list((tmp_path / "claims").iterdir())) == 1  # it did try
    assert "broken_module" not in sys.modules


def test_the_module_that_ray_imports_preloads(tmp_path: Path) -> None:
    variables = Preload(("colorsys",), 1).environment(Path.cwd(), tmp_path / "claims")
    code = "import cluster.preload, sys; print('colorsys' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"


def test_rays_idle_workers_import_before_there_is_anything_to_do(tmp_path: Path) -> None:
    import ray

    with connect(None, threads=1, log=tmp_path / "ray.log", preload=Preload(UNUSED[:1], 1)):

        @ray.remote
        class Actor:
            def look(self) -> list[str]:
                import sys

                return [name for name in ("colorsys", "cluster.preload") if name in sys.modules]

        first = Actor.remote()
        second = Actor.remote()
        found = ray.get([first.look.remote(), second.look.remote()])
    # Each of them is asked, and one imports.
    assert sorted(found) == [["cluster.preload"], ["colorsys", "cluster.preload"]]
    assert VARIABLE not in os.environ
