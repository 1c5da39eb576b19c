from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result


def test_domains_shows_metrics_in_domain_and_shifted(run: Callable[..., Result], shifted: Path) -> None:
    out = run("domains", "shifted").stdout
    assert "shifted: dice in domain and shifted" in out
    assert "0.4000 (0.50)" in out
    assert "pretrained baseline" in out
    assert "0.9000" in run("domains", "shifted", "--metric", "loss").stdout
    said = json.loads(run("domains", "shifted", "--format", "json").stdout)
    assert [row["trial"] for row in said["rows"]] == [4, 0, None]
    assert "once a sweep has finished" in run("domains", "digits", code=2).stderr
    assert "there are dice, loss" in run("domains", "shifted", "--metric", "map", code=2).stderr
