"""Trains one configuration from start to end, without Ray; and before it those that it began with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from trainables.errors import CheckpointError
from trainables.preparation import prepare_workload
from trainables.run_folder import BEST_WEIGHTS, LAST_STATE
from trainables.specs.heads import HeadSource
from trainables.specs.parent import ParentFile
from trainables.specs.report import Report
from trainables.specs.stage import Stage
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Workload
from trainables.training.begin_from_parent import begin_from_parent
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
    before: Sequence[Stage] = (),
    on_report: Callable[[Report], None],
    on_head: Callable[[HeadSource], None] = lambda head: None,
    on_start: Callable[[TrialState], None] = lambda _: None,
    on_earlier: Callable[[int, Report], None] = lambda stage, report: None,
    advance_with: Callable[[Engine], Advance] = lambda engine: engine.advance,
    threads: int | None = None,
) -> Report:
    """Train `config`; save the state (`last.ckpt`) and the best weights (`best.ckpt`) in `folder`.

    before: what is trained first, one after the other, and not kept.  on_earlier: called with the place of
    such a stage and each of its reports.
    on_head: called before training with the origin of the head.
    on_start: called with the state before the first step.
    advance_with: gives the engine's way to advance; that of a pack repeats a trial of a pack to the bit.
    threads: torch's default if None. With the same number as a sweep's trial, the curve is the same.

    Returns the last report. Raises AdaptertuneError for errors that the user can fix.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    engine = Engine(workload, prepare_workload(workload, progress=True))
    advance = advance_with(engine)
    on_head(engine.task.head_source(before[0].config if before else config))
    state = _begin(engine, config, before, folder / LAST_STATE, advance, on_earlier)
    on_start(state)
    while True:
        for _, report in advance([state]):
            on_report(report)
            if report.outcome != "diverged":
                save_state(state, folder / LAST_STATE)
            if state.improved:
                save_weights(state, folder / BEST_WEIGHTS)
            if state.done:
                return report


def _begin(
    engine: Engine,
    config: TrialConfig,
    before: Sequence[Stage],
    file: Path,
    advance: Advance,
    on_report: Callable[[int, Report], None],
) -> TrialState:
    """The state before the first step of `config`. file: the place for states in between."""
    state = engine.start(before[0].config if before else config)
    for place, stage in enumerate(before):
        epoch = 0.0
        while epoch < stage.until - 1e-9:
            if state.done:
                raise CheckpointError(f"it ended at epoch {epoch:g}, but was continued from {stage.until:g}")
            for _, report in advance([state]):
                on_report(place, report)
                epoch = report.epoch
        (save_state if stage.state else save_weights)(state, file)
        following = before[place + 1].config if place + 1 < len(before) else config
        at = ParentFile(path=str(file), state=stage.state)
        state = begin_from_parent(engine, following, at, number=state.number)
        file.unlink()
    return state
