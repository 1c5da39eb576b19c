"""Plans the designed experiment that the options of `ablate` ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from analysis.ablation import design, studies
from analysis.ablation.design import AblationError, Base, Plan
from analysis.ablation.study_names import StudyName
from analysis.query.sweep import Sweep
from trainables.specs.definitions import Definitions
from tuning.experiment.sections.ablation import AblationLevel, AblationSpec
from tuning.experiment.spec import Experiment
from tuning.experiment.yaml_lines import read_yaml
from tuning.ledger.header import experiment_of
from tuning.ledger.history import History
from tuning.ledger.ledger import LEDGER, read_history

if TYPE_CHECKING:
    from trainables.models.counting import Counter


@dataclass(frozen=True)
class AblateOptions:
    """The options of `ablate`."""

    over: str | None = None
    study: StudyName | None = None
    levels: str | None = None
    reference: str | None = None
    seeds: int = 5
    retune: tuple[str, ...] = ()
    trials: int = 8
    at_equal_parameters: bool = False
    keep_scale: bool = False
    name: str | None = None
    """The name of the new experiment; NAME-ablate-FACTOR when None."""

    @property
    def factor(self) -> str:
        """What is varied: a study, or one setting."""
        if (self.over is None) == (self.study is None):
            raise AblationError(
                "ablate takes one of --over SETTING (with --levels) and --study"
                f" {'|'.join(StudyName)}, such as --over lora.rank --levels 4,8,16"
            )
        return self.over if self.over is not None else str(self.study)


def plan_ablation(options: AblateOptions, folder: Path, number: int | None) -> Plan:
    """The design on top of the best finished trial in `folder`, or of trial `number`.

    An ablation that has begun keeps its base, even if the search has found a better trial since.
    Raises AblationError.
    """
    factor = options.factor
    history = read_history(folder)
    sweep = Sweep.of(history)
    name = options.name or design.default_name(sweep.name, factor)
    begun = _begun_design(folder.parent, name)
    if number is None and begun is not None:
        number = begun.trial
    base = design.choose_base(sweep, number, having=_needed(options))
    levels = _levels(options, base, sweep, begun)
    notes: tuple[str, ...] = ()
    if options.at_equal_parameters or options.study is StudyName.ADAPTERS:
        predefined = options.study is not None and options.levels is None
        levels, notes = studies.at_equal_parameters(
            levels, base, _counter(history, base), leave_out=predefined
        )
    if not levels:
        raise _no_level(options)
    varied = [*options.retune, *(setting for level in levels for setting in level.settings)]
    if design.has_patience(base.settings) and not design.has_patience(varied):
        left_out = f"early_stopping of trial {base.trial} is left out, so that all runs have the same budget"
        notes = (*notes, left_out)
    if (said := _other_definition(base)) is not None:
        notes = (*notes, said)
    spec = AblationSpec(
        of=sweep.name,
        trial=base.trial,
        factor=factor,
        levels=levels,
        reference=design.reference_of(levels, base, options.reference),
        seeds=design.seeds_of(base, options.seeds),
        notes=notes,
    )
    return Plan(base, spec, options.retune, options.trials, name)


def _other_definition(base: design.Base) -> str | None:
    """How runs of the ablation are measured otherwise than the trial they vary; None if they are not."""
    workload = base.experiment.workload
    metric, main = workload.objective.metric, workload.task.facts.main_metric
    why = Definitions().differs(metric, workload.definitions, main=main)
    if why is None:
        return None
    return f"values of {metric} cannot be compared with those of trial {base.trial}: {why}"


def begun_experiment(folder: Path) -> Experiment | None:
    """The experiment that is recorded in `folder`; None if there is none."""
    return experiment_of(read_history(folder).header) if (folder / LEDGER).exists() else None


def _begun_design(storage: Path, name: str) -> AblationSpec | None:
    """The design of an ablation that has begun."""
    for folder in (storage / name, storage / f"{name}-retune"):
        experiment = begun_experiment(folder)
        if experiment is not None and experiment.ablation is not None:
            return experiment.ablation
    return None


def _no_level(options: AblateOptions) -> AblationError:
    return AblationError(
        f"{options.factor}: the model takes none of the levels; name other levels with --levels"
    )


def _needed(options: AblateOptions) -> str | None:
    """What the base must have."""
    if options.study is not None:
        return studies.NEEDS.get(options.study)
    if options.over in design.OF_AN_ADAPTER:
        return "adapter"
    return options.over if options.over != "adapter" else None


def _levels(
    options: AblateOptions, base: Base, sweep: Sweep, begun: AblationSpec | None
) -> tuple[AblationLevel, ...]:
    # Over freezing: each mode with an adapter or without, as it needs.
    study = StudyName.FREEZING if options.over == "freezing" else options.study
    varied = "targets" if study is StudyName.TARGETS else options.over
    given = list(parse_levels(options.levels or "", varied))
    if study is not None:
        levels = studies.levels_of(study, base, sweep, given, begun)
    else:
        assert options.over is not None
        levels = design.levels_over(options.over, given)
    if options.over == "adapter":
        levels = studies.families_of(levels, base, sweep, begun)
    if not levels:
        raise _no_level(options)
    if options.keep_scale:
        factor = next(iter(levels[0].settings))
        levels = design.with_scale(base, factor, levels)
    return levels


def parse_levels(text: str, name: str | None) -> Iterator[JsonValue]:
    """`4,8,16` or `[0,5],[6,11]` as values; `query+value,mlp` as lists of roles. Raises AblationError."""
    for part in re.split(r",(?![^\[{]*[\]}])", text) if text.strip() else ():
        level = part.strip()
        if name == "targets" and not level.startswith("["):
            yield [role.strip() for role in level.split("+")]
            continue
        read = read_yaml(level, where="--levels")
        if read.errors or not level:
            raise AblationError(f"--levels {text}: '{level}' is not a value; write them as 4,8,16")
        yield read.value


def _counter(history: History, base: Base) -> studies.Count:
    """Counts parameters by building models; the backbone is loaded with the first one."""

    @cache
    def counter() -> Counter:
        from trainables.models.counting import Counter  # torch

        classes = history.prepared.classes if history.prepared is not None else ()
        return Counter(base.experiment.workload, classes)

    return lambda config: counter().adapter(config)
