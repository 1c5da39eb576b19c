from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tuning.checkpoints.trained_adapter import TrainedAdapter


@pytest.mark.parametrize(
    ("name", "title"),
    [("digits:2", "trial 2"), ("digits:best", "trial 0"), ("digits", "trial 0"), ("cells", "one in cells")],
)
def test_export_gets_the_adapter_by_its_name(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, title: str
) -> None:
    given: list[tuple[TrainedAdapter, Path, bool]] = []
    monkeypatch.setattr(
        "tuning.cli.adapters.export.export_adapter",
        lambda found, to, *, merge, **_: given.append((found, to, merge)),
    )
    run("export", name, "--to", str(tmp_path / "out"), "--merge")
    ((found, to, merge),) = given
    assert title in found.title
    assert (to, merge) == (tmp_path / "out", True)


def test_a_trial_without_weights_names_those_that_have_some(run: Callable[..., Result]) -> None:
    for command in (["evaluate"], ["predict", "x.png"], ["export", "--to", "out"]):
        said = run(command[0], "digits:3", *command[1:], code=2).stderr
        assert "trials with weights: 0, 2" in said
