from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ablations import sweep_in
from typer.testing import Result


def test_compare_in_every_form(run: Callable[..., Result], storage: Path) -> None:
    sweep_in(storage / "twin")
    out = run("compare", "digits:0", "digits:4").stdout
    assert "dice on validation images at equal epochs" in out
    assert "serial_lora" in out
    assert json.loads(run("compare", "digits", "twin", "--format", "json").stdout)["settings_differ"] == {}
    assert run("compare", "digits:0", "digits:4", "--format", "csv").stdout.startswith("table,row,a,b\n")
    assert (
        "| adapter | lora | serial_lora |"
        in run("compare", "digits:0", "digits:4", "--format", "markdown").stdout
    )
    assert "available: digits" in run("compare", "digits", "digitz", code=2).stderr
