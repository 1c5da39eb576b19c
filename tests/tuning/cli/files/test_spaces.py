from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import Result

from search_spaces.catalog import find_shipped


def test_spaces_lists_files_for_launch_and_for_train(run: Callable[..., Result]) -> None:
    sweeps, single = run("spaces").stdout.split("single configurations")
    for name in ("quickstart", "coco_folder", "mask_folder"):
        assert f"  {name} " in sweeps
    assert "  vit_base_pets_lora " in single


@pytest.mark.parametrize("name", ["quickstart", "mask_folder.yaml"])
def test_with_a_name_it_prints_the_file_as_it_is(run: Callable[..., Result], name: str) -> None:
    path = find_shipped(name)
    assert path is not None
    assert run("spaces", name).stdout == path.read_text(encoding="utf-8")


def test_an_unknown_name_is_said_with_the_one_that_was_meant(run: Callable[..., Result]) -> None:
    assert "did you mean 'quickstart'?" in run("spaces", "quikstart", code=2).stderr
    assert "mask_folder" in run("spaces", "zzz", code=2).stderr
    assert "mask_folder" in run("spaces", "../pyproject", code=2).stderr
