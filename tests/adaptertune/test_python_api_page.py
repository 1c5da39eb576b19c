"""docs/reference/python-api.md: every name is on it, its signatures are correct, its examples run."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from python_sweeps import WRITTEN

import adaptertune
from adaptertune.experiment_input import Overrides
from tuning.experiment.yaml_lines import dump_yaml

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "python-api.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
EXAMPLES = "".join(code for language, code in BLOCK.findall(PAGE) if language == "python")
TEXTS = [code for language, code in BLOCK.findall(PAGE) if language == "text"]


@pytest.mark.parametrize("name", adaptertune.__all__)
def test_every_name_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("name", ["launch", "load", "open", "resume"])
def test_signatures_are_true(name: str) -> None:
    written = next(code for code in TEXTS if code.startswith(f"{name}("))
    asked = inspect.signature(getattr(adaptertune, name))
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in asked.parameters.values()]
    returns = str(asked.return_annotation).rpartition(".")[2]
    shown = str(inspect.Signature(plain))
    assert written.strip() == f"{name}{shown} -> {returns}"


def test_overrides_are_all_named() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| `**overrides`"))
    assert {name for name in Overrides.__annotations__ if f"`{name}`" not in row} == {"trials"}
    assert "`trials=N`" in row


def test_the_methods_of_results_are_true() -> None:
    for name in ("best", "ranking", "query"):
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}("))
        names = list(inspect.signature(getattr(adaptertune.Results, name)).parameters)[1:]
        written = row.split("`")[1].partition("(")[2].rstrip(")").split(", ")
        assert [argument.partition("=")[0] for argument in written if argument != "*"] == names


@pytest.mark.slow
@pytest.mark.usefixtures("users_ray")
def test_the_examples_run_one_after_the_other(
    storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pets.yaml").write_text(dump_yaml({**WRITTEN, "name": "pets"}))
    names: dict[str, Any] = {}
    exec(compile(EXAMPLES, "python-api.md", "exec"), names)
    out = capsys.readouterr().out
    assert next(text for text in TEXTS if text.startswith("pets.yaml")) in out
    assert "an experiment 'pets' already exists" in out
    assert len(names["pets"].trials) == 6
    assert names["both"].names == ("pets", "pets-small")
    assert names["longer"].trial["epochs"] == 4
    assert (storage / "digits").is_dir()
