from __future__ import annotations

from collections.abc import Callable

from typer.testing import Result


def test_launch_refuses_a_name_that_is_taken_and_a_wrong_parameter(run: Callable[..., Result]) -> None:
    assert "already exists" in run("launch", "quickstart", "--name", "digits", code=2).stderr
    assert "already exists" in run("launch", "quickstart", "--name", "digits", "--detach", code=2).stderr
    assert "no such parameter" in run("launch", "quickstart", "--then-ablate", "x", code=2).stderr
