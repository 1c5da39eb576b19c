"""Finished sweeps over data of their own, for tests of what a resume does when these have changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_makers import coco_folder, mask_folder
from edited_records import edit_record
from scripted import Scripted, experiment

from trainables.specs.definitions import BEFORE
from tuning.ledger.ledger import LEDGER
from tuning.run.driver import LaunchResult
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment


def drawn(root: Path) -> dict[str, Any]:
    """Masks, and a domain with masks of its own."""
    return {
        "task": "segmentation",
        "objective": {"metric": "dice"},
        "data": {
            "masks": {"train": mask_folder(root / "own", 8), "classes": ["ground", "cell"]},
            "domains": {"stain": {"masks": mask_folder(root / "stain", 4)}},
        },
    }


def boxed(root: Path) -> dict[str, Any]:
    return {"data": {"coco": {"train": coco_folder(root / "own", 8)}}}


class Begun:
    """Finished sweeps of two trials, each run once; a test gets a copy with data of its own in `job1`."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._made: dict[object, Path] = {}

    def __call__(
        self, to: Path, make: Callable[[Path], dict[str, Any]] = drawn, *, before: bool = False
    ) -> Path:
        """before: recorded with the first definitions."""
        if (make, before) not in self._made:
            self._made[make, before] = self._launched(self._place / f"{make.__name__}-{before}", make, before)
        made = self._made[make, before]
        shutil.copytree(made, to, dirs_exist_ok=True)  # with its times
        return edit_record(to / "out" / "sweep", lambda text: text.replace(str(made), str(to)))

    def _launched(self, at: Path, make: Callable[[Path], dict[str, Any]], before: bool) -> Path:
        parts: dict[str, Any] = {
            "search": {"trials": 2},
            "trial": {"epochs": 2},
            "scoring": {"trials": "none"},
        }
        given = experiment(**parts, **make(at / "job1"))
        if before:
            given = given.model_copy(update={"definitions": BEFORE})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ADAPTERTUNE_CACHE", str(at / "cache"))
            launch_experiment(given, at / "out", trainable=Scripted)
        return at


def resumed(folder: Path, **asked: Any) -> LaunchResult:
    return resume_experiment(folder, trainable=Scripted, **asked)


def moved(tmp_path: Path, *, times: bool = False) -> dict[str, str]:
    """Move the data, with their times or without; returns where from and to."""
    old, new = tmp_path / "job1", tmp_path / "job2"
    if times:
        old.rename(new)
    else:
        shutil.copytree(old, new, copy_function=shutil.copyfile)
        shutil.rmtree(old)
    return {str(old): str(new)}


def recorded(folder: Path) -> bytes:
    return (folder / LEDGER).read_bytes()
