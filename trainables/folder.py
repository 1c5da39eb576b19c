"""Names of what driver and workers leave for each other in an experiment's folder. No torch, no ray."""

from __future__ import annotations

LAST_STATE = "last.ckpt"
"""In a trial's folder: its state at the last save."""
BEST_WEIGHTS = "best.ckpt"
"""In a trial's folder: the weights of its best report."""
LOG = "log.txt"
"""In a trial's folder: what it wrote."""
HALTED = "halted"
"""In a trial's folder: it has saved its state since `HALT` was asked for."""
CONTROL = "control"
"""A folder: a file `stop` in it ends the sweep, `stop-3` ends trial 3."""
HALT = "halt"
"""A file in `CONTROL`: trials save their state, as the sweep is about to end."""
BASELINE_CLAIM = "baseline.claimed"
"""A worker has taken it on itself to measure the untouched model."""
