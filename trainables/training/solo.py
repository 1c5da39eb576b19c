"""Trains one configuration from start to end, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from trainables.preparation import prepare_workload
from trainables.run_folder import BEST_WEIGHTS, LAST_STATE
from trainables.specs.heads import HeadSource
from trainables.specs.report import Report
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Workload
from trainables.training.checkpoint import save_state, save_weights
from trainables.training.engine import Engine
from trainables.training.state import TrialState

Advance = Callable[[Sequence[TrialState]], Iterator[tuple[TrialState, Report]]]
"""Advances states to their next report, as `Engine.advance` does."""


def train_solo(
    workload: Workload,
    config: TrialConfig,
    *,
    folder: Path,
    on_report: Callable[[Report], None],
    on_head: Callable[[HeadSource], None] = lambda head: None,
    on_start: Callable[[TrialState], None] = lambda _: None,
    advance_with: Callable[[Engine], Advance] = lambda engine: engine.advance,
    threads: int | None = None,
) -> Report:
    """Train `config`; save the state (`last.ckpt`) and the best weights (`best.ckpt`) in `folder`.

    on_head: called before training with the origin of the head.
    on_start: called with the state before the first step.
    advance_with: gives the engine's way to advance; that of a pack repeats a trial of a pack to the bit.
    threads: torch's default if None. With the same number as a sweep's trial, the curve is the same.

    Returns the last report. Raises AdaptertuneError for errors that the user can fix.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    engine = Engine(workload, prepare_workload(workload, progress=True))
    state = engine.start(config)
    on_head(engine.task.head_source(state.config))
    on_start(state)
    advance = advance_with(engine)
    while True:
        for _, report in advance([state]):
            on_report(report)
            if report.outcome != "diverged":
                save_state(state, folder / LAST_STATE)
            if state.improved:
                save_weights(state, folder / BEST_WEIGHTS)
            if state.done:
                return report
