from __future__ import annotations

from collections.abc import Callable

from typer.testing import Result


def test_spaces_lists_files_for_launch_and_for_train(run: Callable[..., Result]) -> None:
    sweeps, single = run("spaces").stdout.split("single configurations")
    for name in ("quickstart", "coco_folder", "mask_folder"):
        assert f"  {name} " in sweeps
    assert "  vit_base_pets_lora " in single
