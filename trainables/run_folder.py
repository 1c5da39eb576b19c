"""The names of the files in an experiment's folder that driver and workers share."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

LAST_STATE = "last.ckpt"
"""In a trial's folder: its state at the last save."""
BEST_WEIGHTS = "best.ckpt"
"""In a trial's folder: the weights of its best report."""
SPLITS = "splits.json"
"""The names of the images in each split; also stored with prepared data."""
LOG = "log.txt"
"""In a trial's folder: its log."""
HALTED = "halted"
"""In a trial's folder: it has saved its state since `HALT` was requested."""
CONTROL = "control"
"""A folder: a file `stop` in it ends the sweep, `stop-3` ends trial 3."""
HALT = "halt"
"""A file in `CONTROL`: trials save their state, as the sweep is about to end."""
STOPPED = "stopped.{}"
"""A file in `CONTROL`, by a trial's number: the trial was stopped, and later reports are discarded."""
PAUSED = "paused.{}"
"""A file in `CONTROL`, by a trial's number: the trial is to save its state and give up its worker."""
TEST_RESULTS = "test"
"""In a trial's folder: its results on each test image, after scoring, and a few pictures."""
EXAMPLES = "examples.json"
"""In `TEST_RESULTS`: the list of pictures, with their images and domains."""
DETAILS = "details.json"
"""In `TEST_RESULTS`: precision by recall, confusion and thresholds, see `trainables.metrics.details`."""
BASELINE_CLAIM = "baseline.claimed"
"""Marks that a worker measures the pretrained baseline; it has the number of the worker's trial."""


def image_results(trial: Path, domain: str | None = None) -> Path:
    """The path of a trial's results by test image: in its own domain, or in a shifted domain."""
    return trial / TEST_RESULTS / ("images.npz" if domain is None else f"images@{domain}.npz")


def append_to_log(folder: Path, text: str) -> None:
    """Add to a trial's log. A full disk raises no error here, so that the trial continues."""
    with suppress(OSError), (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%H:%M:%S')} {text.rstrip()}\n")
