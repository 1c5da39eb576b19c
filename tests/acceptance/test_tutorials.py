"""The tutorials' notebooks, executed from the first cell to the last."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import adaptertune

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
NAMES = ("first-sweep", "your-own-data")
MISSING = [name for name in ("nbclient", "nbformat", "ipykernel") if importlib.util.find_spec(name) is None]


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((TUTORIALS / f"{name}.ipynb").read_text(encoding="utf-8"))
    return found


def text_of(name: str) -> str:
    return "\n".join("".join(cell["source"]) for cell in read(name)["cells"])


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_without_outputs_and_without_places(name: str) -> None:
    cells = read(name)["cells"]
    assert [cell["id"] for cell in cells] == [f"cell-{i:02d}" for i in range(1, len(cells) + 1)]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert str(Path.home()) not in text_of(name)


@pytest.mark.skipif(not (TUTORIALS.parent / "index.md").exists(), reason="the other pages are not here")
@pytest.mark.parametrize("name", NAMES)
def test_a_notebooks_links_lead_somewhere(name: str) -> None:
    targets = [part.split(")")[0].split("#")[0] for part in text_of(name).split("](")[1:]]
    assert targets
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (TUTORIALS / target).exists()] == []


def execute(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The notebook's code cells with their outputs, executed in `folder`."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.delenv("ADAPTERTUNE_STORAGE", raising=False)
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(folder / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
    notebook = nbformat.read(TUTORIALS / f"{name}.ipynb", as_version=4)
    given: dict[str, Any] = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=given).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    warned = [out.text for cell in cells for out in cell.outputs if out.get("name") == "stderr"]
    assert warned == []
    return cells


def cell_of(cells: list[Any], source: str) -> Any:
    (found,) = [cell for cell in cells if source in cell.source]
    return found


def assert_live_table(cell: Any, *expected: str) -> None:
    """Assert that there is one output, which was updated to the end."""
    (output,) = cell.outputs
    assert output.output_type == "display_data"
    for text in expected:
        assert text in output.data["text/html"]
        assert text in output.data["text/plain"]


needs_jupyter = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed")


@pytest.mark.slow
@pytest.mark.timeout(2400)
@needs_jupyter
def test_the_first_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = execute("first-sweep", tmp_path, monkeypatch)
    assert_live_table(cell_of(cells, 'launch("first.yaml")'), "finished", "best dice")
    (shown,) = next(cell for cell in cells if cell.source == "first").outputs
    assert "best configuration" in shown.data["text/html"]
    assert shown.data["text/plain"].startswith("Results('first': finished, 8 trials")
    first = adaptertune.open(tmp_path / "experiments" / "first")
    assert (first.state, len(first.trials)) == ("finished", 10)
    best = first.best(k=1).iloc[0]
    assert best["value"] > 0.5
    assert best["test.dice"] > 0.5
    assert adaptertune.open(tmp_path / "experiments" / "first-lora").state == "finished"
    logits = cell_of(cells, "logits.shape").outputs[-1]
    assert logits.data["text/plain"] == "torch.Size([1, 11, 64, 64])"
    error = cell_of(cells, "ExperimentFileError").outputs[0].text
    assert "trial.epoch " in error
    assert "space.lora.rank.choice" in error
    assert "noise:2" in "".join(out.text for out in cell_of(cells, "evaluate").outputs)


@pytest.mark.exhaustive
@pytest.mark.timeout(2400)
@needs_jupyter
def test_your_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = execute("your-own-data", tmp_path, monkeypatch)
    assert "missing_file" in cell_of(cells, "DataError").outputs[-1].text
    assert_live_table(cell_of(cells, "results = adaptertune.launch(cells)"), "finished", "best dice")
    found = adaptertune.open(tmp_path / "experiments" / "cells")
    assert found.best(k=1).iloc[0]["test.dice"] > 0.6
    assert (
        "by adapter and freezing" in cell_of(cells, "adaptertune.launch(boxes)").outputs[-1].data["text/html"]
    )
    assert adaptertune.open(tmp_path / "experiments" / "boxes").state == "finished"
    assert {file.suffix for file in (tmp_path / "drawn").iterdir()} == {".png", ".json"}
    assert "image/png" in cell_of(cells, "Image.open").outputs[0].data
    assert sys.executable not in text_of("your-own-data")
