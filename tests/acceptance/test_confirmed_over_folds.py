"""`confirm` over folds on a real sweep: each image but those of test judges each trial once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import adaptertune
from data_makers import mask_folder

from tuning.ledger.ledger import read_history

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(900)]


def test_the_best_trials_are_repeated_over_folds(tmp_path: Path) -> None:
    given = {
        "name": "cells",
        "task": "segmentation",
        "objective": {"metric": "dice"},
        "model": {"image_size": [32, 32]},
        "data": {
            "masks": {"train": mask_folder(tmp_path / "data", 16), "classes": ["none", "cell"]},
            "splits": {"train": 0.5, "validation": 0.25, "test": 0.25},
        },
        "trial": {"epochs": 2, "batch_size": 4, "adapter": "lora"},
        "space": {"lora.rank": {"choice": [2, 4]}},
        "search": {"grid": {}},
        "scoring": {"trials": "none"},
        "confirm": {"trials": 2, "folds": 3},
    }
    (tmp_path / "cells.yaml").write_text(json.dumps(given))
    place = {"ADAPTERTUNE_STORAGE": str(tmp_path / "runs"), "ADAPTERTUNE_CACHE": str(tmp_path / "cache")}

    def run(*arguments: str) -> str:
        return adaptertune(tmp_path, *arguments, **place)

    said = run("launch", "cells.yaml")
    assert "3 folds" in said
    folder = tmp_path / "runs" / "cells-confirm"
    trials = read_history(folder).trials
    ran = {(t.params["lora.rank"], t.params["fold"], t.params["seed"]) for t in trials.values()}
    assert ran == {(rank, fold, fold + 1) for rank in (2, 4) for fold in range(3)}
    names = json.loads((folder / "splits.json").read_text())
    held = [name for fold in names["folds"] for name in fold]
    assert len(set(held)) == len(held) == 12
    assert not set(held) & set(names["test"])
    found = json.loads(run("ablation", "cells-confirm", "--format", "json"))
    assert {run["fold"] for run in found["runs"]} == {0, 1, 2}
    last = {number: trial.reports[-1].metrics["dice"] for number, trial in trials.items()}
    assert {run["trial"]: run["validation"] for run in found["runs"]} == last
    assert "confirmed" in run("best", "cells")
    number = next(n for n, trial in trials.items() if trial.params["fold"] == 2)
    run("train", "--from", f"cells-confirm:{number}", "--into", "again")
    again: list[Any] = [
        json.loads(line) for line in (tmp_path / "again" / "reports.jsonl").read_text().splitlines()
    ]
    assert [r["metrics"] for r in again] == [r.metrics for r in trials[number].reports]
