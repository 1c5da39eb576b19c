"""Names of what driver and workers leave for each other in an experiment's folder. No torch, no ray."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

LAST_STATE = "last.ckpt"
"""In a trial's folder: its state at the last save."""
BEST_WEIGHTS = "best.ckpt"
"""In a trial's folder: the weights of its best report."""
SPLITS = "splits.json"
"""Names of the images of each part; beside prepared data too."""
LOG = "log.txt"
"""In a trial's folder: what it wrote."""
HALTED = "halted"
"""In a trial's folder: it has saved its state since `HALT` was asked for."""
CONTROL = "control"
"""A folder: a file `stop` in it ends the sweep, `stop-3` ends trial 3."""
HALT = "halt"
"""A file in `CONTROL`: trials save their state, as the sweep is about to end."""
STOPPED = "stopped.{}"
"""A file in `CONTROL`, by a trial's number: it was stopped, and what comes after is kept by nobody."""
TEST_RESULTS = "test"
"""In a trial's folder: what it did on each test image, once it is scored, and a few pictures."""
EXAMPLES = "examples.json"
"""In `TEST_RESULTS`: the pictures, their images and domains."""
BASELINE_CLAIM = "baseline.claimed"
"""A worker has taken it on itself to measure the untouched model."""


def image_results(trial: Path, domain: str | None = None) -> Path:
    """Where a trial's results by test image lie: of its own domain, or of a shifted one."""
    return trial / TEST_RESULTS / ("images.npz" if domain is None else f"images@{domain}.npz")


def append_to_log(folder: Path, text: str) -> None:
    """Add to a trial's log. A full disk must not hide what is noted, nor end the trial."""
    with suppress(OSError), (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%H:%M:%S')} {text.rstrip()}\n")
