"""Run steps and one evaluation of each configuration to check that it runs and to measure its cost."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from trainables.data.prepared import open_prepared
from trainables.errors import reason_of
from trainables.library_messages import collected_messages
from trainables.metrics.objective_value import check_objective
from trainables.models.freezing import count_parameters
from trainables.preparation import prepare_workload
from trainables.specs.adapters import Freezing
from trainables.specs.trial import Precision, TrialConfig
from trainables.specs.workload import Workload
from trainables.training.engine import Engine
from trainables.training.gradient_audit import grouped
from trainables.training.peak_memory import peak_memory_mb
from trainables.training.state import TrialState


@dataclass(frozen=True)
class DryRun:
    """The measured cost of one configuration. The time is that of the faster of two steps.

    still: parameters that are set to train but have no gradient, by name; `parameters` does not count them.
    fp32_step_s: the time of a step in fp32, of a configuration with bf16 on a CPU.
    """

    adapter: str
    freezing: str
    parameters: dict[str, int] = field(default_factory=dict)
    still: tuple[str, ...] = ()
    step_s: float = math.nan
    fp32_step_s: float = math.nan
    evaluate_s: float = math.nan
    peak_mb: float = math.nan
    steps_per_epoch: int = 0
    error: str | None = None
    messages: tuple[str, ...] = ()
    """What libraries warned of and printed meanwhile."""


def dry_run_configs(workload: Workload, configs: list[TrialConfig], *, threads: int = 1) -> list[DryRun]:
    """Build each configuration, run steps, evaluate once; one that fails has its reason in its result.

    Raises DataError if the objective can have no value on the validation images.

    threads: the number that each trial of the sweep will have.
    """
    torch.set_num_threads(threads)
    prepared = prepare_workload(workload, progress=True)
    check_objective(open_prepared(prepared), workload)
    engine = Engine(workload.at_size(), prepared)  # at the size that costs most
    runs = []
    for config in configs:
        with collected_messages() as messages:
            run = _measure(engine, config)
        runs.append(replace(run, messages=tuple(messages)))
    return runs


def _at_its_costliest(config: TrialConfig) -> TrialConfig:
    """The configuration with the backbone training from the start, even if it would only later."""
    if config.mode is not Freezing.UNFREEZE_AT:
        return config
    return config.model_copy(update={"freezing": Freezing.UNFROZEN, "unfreeze_epoch": None})


def _measure(engine: Engine, config: TrialConfig) -> DryRun:
    named = partial(DryRun, adapter=config.adapter.value, freezing=config.mode.value)
    try:
        state = engine.start(_at_its_costliest(config))
        step_s = _step_s(engine, state)
        started = time.perf_counter()
        engine.validate(state.model, config)
        evaluate_s = time.perf_counter() - started
        fp32_step_s = math.nan
        if config.precision is Precision.BF16 and engine.device.type == "cpu":
            fp32_step_s = _step_s(
                engine, engine.start(config.model_copy(update={"precision": Precision.FP32}))
            )
    except Exception as error:  # an error of a library about the configuration is a finding too
        return named(error=reason_of(error))
    return named(
        parameters=count_parameters(state.parts, state.config, still=state.still),
        still=tuple(grouped(state.still)),
        step_s=step_s,
        fp32_step_s=fp32_step_s,
        evaluate_s=evaluate_s,
        peak_mb=peak_memory_mb(engine.device),
        steps_per_epoch=state.pace.steps_per_epoch,
    )


def _step_s(engine: Engine, state: TrialState) -> float:
    return min(engine.timed_step(state) for _ in range(2)) if state.config.epochs else 0.0
