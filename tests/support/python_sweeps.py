"""Sweeps launched by `adaptertune.launch`, whose trials replay curves."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from scripted import Scripted, prepared_in

import tuning.run.launch
import tuning.run.resume

WRITTEN: dict[str, Any] = {
    "name": "sweep",
    "task": "detection",
    "objective": {"metric": "map"},
    "trial": {"epochs": 3},
    "space": {"learning_rate": {"float": [1e-5, 1e-1], "log": True}, "lora": {"rank": {"choice": [4, 8]}}},
    "search": {"trials": 3},
    "scoring": {"trials": "none"},
}
"""The content of an experiment file."""

_LAUNCH, _RESUME = tuning.run.launch.launch_experiment, tuning.run.resume.resume_experiment


def use(patch: Any, data: Path, trainable: type[Any] = Scripted) -> None:
    """Replace the trainable of trials.

    patch: has `setattr`, like pytest's `monkeypatch`.  data: a folder that is created here.
    """
    prepared = prepared_in(data, faults=[])
    given: dict[str, Any] = {"trainable": trainable, "prepare": lambda _: prepared}
    patch.setattr(tuning.run.launch, "launch_experiment", functools.partial(_LAUNCH, **given))
    patch.setattr(tuning.run.resume, "resume_experiment", functools.partial(_RESUME, **given))
