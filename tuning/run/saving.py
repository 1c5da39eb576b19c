"""Lets running trials save their state when a sweep is interrupted."""

from __future__ import annotations

import time

from trainables.run_folder import CONTROL, HALT, HALTED
from tuning.ledger.storage import trial_folder
from tuning.run.composition import Composition

SAVE_WITHIN_S = 10.0
"""How long trials may take to save their state."""


def save_running(of: Composition) -> None:
    """Let running trials save their state before they end; wait for them at most `SAVE_WITHIN_S`."""
    if of.trainable is not None:
        return
    waiting = {trial_folder(of.folder, number) for number in of.recorder.unfinished()}
    for folder in waiting:  # of a driver that was taken over as it ended
        (folder / HALTED).unlink(missing_ok=True)
    (of.folder / CONTROL / HALT).parent.mkdir(exist_ok=True)
    (of.folder / CONTROL / HALT).touch()
    deadline = time.monotonic() + SAVE_WITHIN_S
    while waiting and time.monotonic() < deadline:
        time.sleep(0.1)
        waiting = {folder for folder in waiting if folder.is_dir() and not (folder / HALTED).exists()}
    if of.recorder.superseded():  # meanwhile: the files are the other driver's now
        return
    for number in of.recorder.unfinished():
        (trial_folder(of.folder, number) / HALTED).unlink(missing_ok=True)
    (of.folder / CONTROL / HALT).unlink(missing_ok=True)
