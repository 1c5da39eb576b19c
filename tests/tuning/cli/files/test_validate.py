from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from typer.testing import Result


def test_a_valid_file_is_summarized(run: Callable[..., Result]) -> None:
    out = run("validate", "quickstart").stdout
    assert out.startswith("quickstart: valid. segmentation with ")
    assert "parameters" in out


def test_a_wrong_file_is_a_message(run: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("name: x\ntask: segmentation\nobjective: {metric: dice}\nspcae: {}\n")
    for command in ("validate", "launch", "train"):
        assert "spcae" in run(command, str(file), code=2).stderr
    for command in ("validate", "launch", "train"):
        run(command, str(tmp_path / "absent.yaml"), code=2)
