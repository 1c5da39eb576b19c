from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from recorded import experiment

from cluster.forked.start import can_fork
from cluster.preloading import Preload
from tuning.run import early_imports
from tuning.run.composition import Composition
from tuning.run.early_imports import FOR_FIT, FOR_GPU_TRIALS, FOR_TRIALS, import_in_background, preload_for


def composition(trainable: type[Any] | None = None, **resources: Any) -> Composition:
    asked: Any = experiment(resources=resources)
    nothing: Any = None
    return Composition(asked, Path(), nothing, trainable, None)


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "workers"),
    [
        ({}, 8, 0, 8),
        ({"cpus": 2.0}, 8, 0, 4),
        ({"concurrent": 3}, 8, 0, 3),
        ({"cpus": 16.0}, 8, 0, 0),
        ({}, 8, 2, 2),
        ({"gpus": 0.5}, 8, 2, 4),
        ({"gpus": 0.0}, 8, 2, 8),
        ({"gpus": 1.0}, 8, 0, 0),
    ],
)
def test_as_many_workers_preload_as_there_are_trials_at_once(
    resources: dict[str, Any], cpus: int, gpus: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_imports, "count_usable_cpus", lambda: cpus)
    monkeypatch.setattr(early_imports, "count_likely_gpus", lambda: gpus)
    asked = preload_for(composition(**resources))
    assert asked.workers == workers
    uses_gpus = resources.get("gpus", "auto") not in (0.0, "auto") or (gpus > 0 and "gpus" not in resources)
    if uses_gpus or not can_fork():
        assert asked.modules == (FOR_GPU_TRIALS if uses_gpus else FOR_TRIALS)
        assert asked.forked == ()
    else:
        assert asked.modules + asked.forked == FOR_TRIALS


def test_without_forks_the_workers_import_everything_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_imports, "can_fork", lambda: False)
    monkeypatch.setattr(early_imports, "count_likely_gpus", lambda: 0)
    asked = preload_for(composition())
    assert (asked.modules, asked.forked) == (FOR_TRIALS, ())


@pytest.mark.slow
@pytest.mark.skipif(not can_fork(), reason="workers are copies on Linux only")
def test_what_is_copied_has_not_imported_ray() -> None:
    code = f"""
import sys, threading
from cluster.preloading import import_modules

import_modules({FOR_TRIALS[1:]!r})
print("ray" in sys.modules, threading.active_count())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1"]


def test_never_more_than_there_are_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_imports, "count_usable_cpus", lambda: 10_000)
    of = composition()
    assert preload_for(of).workers == of.experiment.search.trials


def test_a_trainable_of_the_caller_preloads_nothing() -> None:
    assert preload_for(composition(dict)) == Preload((), 0)


@pytest.mark.parametrize("module", sorted({*FOR_FIT, *FOR_TRIALS, *FOR_GPU_TRIALS}))
def test_every_module_is_there(module: str) -> None:
    assert find_spec(module) is not None


def test_a_module_that_cannot_be_imported_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    import_in_background(["no_such_module", "colorsys"]).join(timeout=300)
    assert "colorsys" in sys.modules
