"""One real step and one evaluation of each configuration: what a sweep will cost, and whether it runs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import partial

from trainables.config import Split, TrialConfig, Workload
from trainables.engine import Engine, peak_memory_mb
from trainables.errors import AdaptertuneError
from trainables.freezing import count_parameters
from trainables.preparation import prepare_workload


@dataclass(frozen=True)
class DryRun:
    """What one configuration cost. Seconds are of a second step, after the first has warmed up."""

    adapter: str
    freezing: str
    parameters: dict[str, int] = field(default_factory=dict)
    step_s: float = math.nan
    evaluate_s: float = math.nan
    peak_mb: float = math.nan
    steps_per_epoch: int = 0
    error: str | None = None


def dry_run(workload: Workload, configs: list[TrialConfig]) -> list[DryRun]:
    """Build each configuration, take real steps, evaluate once. A failing one says why and the rest go on."""
    engine = Engine(workload, prepare_workload(workload, progress=True))
    return [_measure(engine, config) for config in configs]


def _measure(engine: Engine, config: TrialConfig) -> DryRun:
    named = partial(DryRun, adapter=config.adapter.value, freezing=config.mode.value)
    try:
        state = engine.start(config)
        list(engine.advance([state], steps=1))
        started = time.perf_counter()
        if not state.done:
            list(engine.advance([state], steps=1))
        step_s = time.perf_counter() - started
        started = time.perf_counter()
        engine.evaluate(state.model, config, Split.VALIDATION)
        evaluate_s = time.perf_counter() - started
    except AdaptertuneError as error:
        return named(error=str(error))
    except Exception as error:  # a library's own complaint about the configuration is the finding
        return named(error=f"{type(error).__name__}: {error}")
    return named(
        parameters=count_parameters(state.parts, state.config),
        step_s=step_s,
        evaluate_s=evaluate_s,
        peak_mb=peak_memory_mb(engine.device),
        steps_per_epoch=state.pace.steps_per_epoch,
    )
