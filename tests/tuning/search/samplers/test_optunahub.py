"""Samplers of OptunaHub, read from its cache as if they had been downloaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from scripted import experiment

from trainables.errors import ExperimentFileError
from tuning.search.sampler_check import check_sampler
from tuning.search.samplers import optuna_named

REF = "0123456789abcdef0123456789abcdef01234567"
CODE = """
import optuna

class SteadySampler(optuna.samplers.RandomSampler):
    pass
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of downloaded packages of the commit `REF`."""
    monkeypatch.setenv("OPTUNAHUB_CACHE_HOME", str(tmp_path))
    optuna_named._hub_module.cache_clear()
    package = tmp_path / "github.com" / "optuna" / "optunahub-registry" / REF / "package"
    (package / "samplers" / "steady").mkdir(parents=True)
    (package / "samplers" / "steady" / "__init__.py").write_text(CODE)
    return package


def check(**given: Any) -> None:
    named = {"sampler": "SteadySampler", "package": "samplers/steady", "ref": REF} | given
    space = {"learning_rate": {"float": [1e-5, 1e-1], "log": True}}
    check_sampler(experiment(search={"optuna": named, "trials": 12}, space=space))


def test_a_package_of_the_hub_is_built_and_rehearsed(hub: Path) -> None:
    check()
    with pytest.raises(ExperimentFileError, match=r"sampler  must be a sampler of samplers/steady \(Steady"):
        check(sampler="SteadySmapler")
    with pytest.raises(ExperimentFileError, match=r"arguments\.heat  is no argument of SteadySampler"):
        check(arguments={"heat": 3})


def test_a_package_that_cannot_be_loaded_is_a_message(hub: Path) -> None:
    (hub / "samplers" / "broken").mkdir()
    (hub / "samplers" / "broken" / "__init__.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(
        ExperimentFileError, match=r"package  'samplers/broken' of commit 0123456789 cannot be"
    ):
        check(package="samplers/broken")


def test_without_the_package_optunahub_the_way_out_is_said(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optunahub", None)
    with pytest.raises(ExperimentFileError, match=r"package  needs the package optunahub: pip install 'adap"):
        check()


def test_optunas_own_class_of_that_name_is_not_taken(hub: Path) -> None:
    assert not hasattr(optuna.samplers, "SteadySampler")
    with pytest.raises(ExperimentFileError, match=r"got 'RandomSampler'"):
        check(sampler="RandomSampler")
