"""What `adaptertune ablate` does: plans a designed experiment, runs it, and says what it showed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from pydantic import JsonValue

from analysis.ablation import design as ablation
from analysis.ablation import experiment as designed
from analysis.ablation import studies
from analysis.ablation.design import AblationError, Base, Plan
from analysis.ablation.names import Images, StudyName, Writing
from analysis.ablation.result import (
    AblationResult,
    all_sentences,
    result_csv,
    result_json,
    result_markdown,
    result_of,
    result_tables,
)
from analysis.query.sweep import Sweep
from analysis.tables import Table
from trainables.errors import StorageError
from tuning.cli.commands import launch as commands_launch
from tuning.cli.console import console, failures, lines, print_table
from tuning.experiment.differences import find_differences
from tuning.experiment.sections.ablation import AblationLevel, AblationSpec
from tuning.experiment.spec import Experiment
from tuning.experiment.yaml_lines import read_yaml
from tuning.formatting import duration, json_text
from tuning.ledger.header import experiment_of
from tuning.ledger.history import History
from tuning.ledger.ledger import LEDGER, read_history
from tuning.ledger.storage import shell_name
from tuning.messages import FAILED, INTERRUPTED, PREEMPTED, say

if TYPE_CHECKING:
    from trainables.models.counting import Counter


@dataclass(frozen=True)
class Asked:
    """The command's options."""

    over: str | None = None
    study: StudyName | None = None
    levels: str | None = None
    reference: str | None = None
    seeds: int = 5
    retune: tuple[str, ...] = ()
    trials: int = 8
    equal: bool = False
    """At equal parameters."""
    keep_scale: bool = False
    name: str | None = None
    """Of the new experiment; after source and factor when absent."""

    @property
    def factor(self) -> str:
        """What the experiment is called after: a study, or the one setting that is varied."""
        if (self.over is None) == (self.study is None):
            raise AblationError(
                "ablate takes one of --over SETTING (with --levels) and --study"
                f" {'|'.join(StudyName)}, such as --over lora.rank --levels 4,8,16"
            )
        return self.over if self.over is not None else str(self.study)


def plan(asked: Asked, folder: Path, number: int | None) -> Plan:
    """The design on top of the best finished trial in `folder`, or of trial `number`.

    An ablation that has begun keeps its base, however the search has gone on since.
    Raises AblationError.
    """
    factor = asked.factor
    history = read_history(folder)
    sweep = Sweep.of(history)
    name = asked.name or ablation.default_name(sweep.name, factor)
    begun = _begun(folder.parent, name)
    if number is None and begun is not None:
        number = begun.trial
    base = ablation.choose_base(sweep, number, having=_needed(asked))
    levels = _levels(asked, base, sweep, begun)
    notes: tuple[str, ...] = ()
    if asked.equal or asked.study is StudyName.ADAPTERS:
        ready = asked.study is not None and asked.levels is None
        levels, notes = studies.at_equal_parameters(levels, base, _counter(history, base), leave_out=ready)
    if not levels:
        raise _no_level(asked)
    varied = [*asked.retune, *(setting for level in levels for setting in level.settings)]
    if ablation.has_patience(base.settings) and not ablation.has_patience(varied):
        own = f"early_stopping of trial {base.trial} is left out, so that all runs have the same budget"
        notes = (*notes, own)
    spec = AblationSpec(
        of=sweep.name,
        trial=base.trial,
        factor=factor,
        levels=levels,
        reference=ablation.reference_of(levels, base, asked.reference),
        seeds=ablation.seeds_of(base, asked.seeds),
        notes=notes,
    )
    return Plan(base, spec, asked.retune, asked.trials, name)


def _begun(storage: Path, name: str) -> AblationSpec | None:
    """The design of an ablation that has begun."""
    for folder in (storage / name, storage / f"{name}-retune"):
        experiment = _begun_in(folder)
        if experiment is not None and experiment.ablation is not None:
            return experiment.ablation
    return None


def _begun_in(folder: Path) -> Experiment | None:
    """What a folder holds the record of."""
    return commands_launch.recorded(folder) if (folder / LEDGER).exists() else None


def _no_level(asked: Asked) -> AblationError:
    return AblationError(f"{asked.factor}: the model takes none of the levels; name some with --levels")


def _needed(asked: Asked) -> str | None:
    """What the base must have."""
    if asked.study is not None:
        return studies.NEEDS.get(asked.study)
    if asked.over in ablation.OF_AN_ADAPTER:
        return "adapter"
    return asked.over if asked.over != "adapter" else None


def _levels(asked: Asked, base: Base, sweep: Sweep, begun: AblationSpec | None) -> tuple[AblationLevel, ...]:
    # Over freezing: each mode with an adapter or without, as it needs.
    study = StudyName.FREEZING if asked.over == "freezing" else asked.study
    varied = "targets" if study is StudyName.TARGETS else asked.over
    given = list(values_of(asked.levels or "", varied))
    if study is not None:
        levels = studies.levels_of(study, base, sweep, given, begun)
    else:
        assert asked.over is not None
        levels = ablation.levels_over(asked.over, given)
    if asked.over == "adapter":
        levels = studies.families_of(levels, base, sweep, begun)
    if not levels:
        raise _no_level(asked)
    if asked.keep_scale:
        factor = next(iter(levels[0].settings))
        levels = ablation.with_scale(base, factor, levels)
    return levels


def values_of(text: str, name: str | None) -> Iterator[JsonValue]:
    """`4,8,16` or `[0,5],[6,11]` as values; `query+value,mlp` as lists of roles. Raises AblationError."""
    for part in re.split(r",(?![^\[{]*[\]}])", text) if text.strip() else ():
        word = part.strip()
        if name == "targets" and not word.startswith("["):
            yield [role.strip() for role in word.split("+")]
            continue
        read = read_yaml(word, where="--levels")
        if read.errors or not word:
            raise AblationError(f"--levels {text}: '{word}' is no value; write them as 4,8,16")
        yield read.value


def _counter(history: History, base: Base) -> studies.Count:
    """Counts by building models; the backbone is loaded with the first one."""

    @cache
    def counter() -> Counter:
        from trainables.models.counting import Counter

        classes = history.prepared.classes if history.prepared is not None else ()
        return Counter(base.experiment.workload, classes)

    return lambda config: counter().adapter(config)


# --- running ----------------------------------------------------------------------------------


def show_plan(planned: Plan) -> None:
    """The levels, how many trials that makes, what they will cost, and what to know of the design."""
    spec, base = planned.spec, planned.base
    rows = tuple(
        (level.name + (" (reference)" if level.name == spec.reference else ""), studies.describe_level(level))
        for level in spec.levels
    )
    objective = base.experiment.objective.metric
    value = "" if base.value is None else f", {objective} {base.value:.4f} on validation images"
    seeds = ", ".join(map(str, spec.seeds))
    caption = f"all else as trial {base.trial} of {spec.of}{value}; seeds {seeds}"
    print_table(console(), Table(f"{planned.name}: the plan", (spec.factor, "settings"), rows, caption))
    count = f"{planned.runs} of {base.config.epochs} epochs, without early stopping by a scheduler"
    if planned.retune:
        count = f"up to {planned.retuning_runs} to retune {', '.join(planned.retune)}, then {count}"
    cost = ""
    if planned.seconds is not None and base.seconds is not None:
        cost = (
            f"about {duration(planned.seconds)} of training in all, one after the other"
            f" (trial {base.trial} took {duration(base.seconds)})"
        )
    lines(console(), f"trials  {count}", *((f"time    {cost}",) if cost else ()))
    lines(console(), *(f"note    {note}" for note in (*spec.notes, *ablation.warnings_of(planned))))


def run(planned: Plan, known: AblationSpec | None, storage: Path, address: str | None) -> Path:
    """Retunes where that is asked for, then compares; takes up what has begun. Gives the folder.

    known: what `check` gave. A comparison that has begun keeps the values that it was given, whether its
    retuning is there or not.
    """
    if planned.retune:
        if known is None:
            tuned = Sweep.at(_to_its_end(_retuning(planned), storage, address))
            known = designed.with_retuned_values(tuned, planned.spec, planned.retune)
        planned = replace(planned, spec=known)
        for level in planned.spec.levels:
            lines(console(), f"retuned  {planned.spec.factor} {level.name}: {studies.describe_level(level)}")
    return _to_its_end(
        designed.comparison_experiment(planned.base, planned.spec, planned.name), storage, address
    )


def _retuning(planned: Plan) -> Experiment:
    name = f"{planned.name}-retune"
    return designed.retuning_experiment(planned.base, planned.spec, name, planned.retune, planned.trials)


def check(planned: Plan, storage: Path) -> AblationSpec | None:
    """Whether the design is a sound experiment, and the one that has begun if one has: before any work.

    Gives the design with the values that were retuned for a comparison which has begun; None before that.
    Raises ExperimentFileError or StorageError.
    """
    folder = storage / planned.name
    begun = _begun_in(folder)
    known = _retuned_before(planned, begun, folder) if planned.retune and begun is not None else None
    whole = designed.comparison_experiment(planned.base, known or planned.spec, planned.name)
    if planned.retune:
        first = _retuning(planned)
        place = storage / first.name
        if (tuned := _begun_in(place)) is not None:
            _refuse_other(tuned, first, place)
    if begun is not None:
        # Other seeds of the same number are those of another base, and differ in more than that.
        if begun.ablation is not None and len(begun.ablation.seeds) != len(planned.spec.seeds):
            raise StorageError(
                f"{folder.name} has begun with {len(begun.ablation.seeds)} seeds, and --seeds asks for"
                f" {len(planned.spec.seeds)}. How many are run is settled beforehand: seeds that are added"
                " once a result is seen find differences where there are none. Use --name for a new one"
            )
        _refuse_other(begun, whole, folder)
    return known


def _retuned_before(planned: Plan, experiment: Experiment, folder: Path) -> AblationSpec:
    """The design with the values that a comparison which has begun, in `folder`, was given.

    Raises StorageError where it was not retuned, or in other settings.
    """
    begun = experiment.ablation
    if begun is None:
        raise StorageError(f"{folder.name} is no designed experiment; give this one another name with --name")
    known = designed.with_recorded_values(begun, planned.spec, planned.retune, planned.base)
    if known is None:
        had = ", ".join(dict.fromkeys(n for level in begun.levels for n in level.retuned)) or "nothing"
        raise StorageError(
            f"{folder.name} has begun with {had} retuned, and --retune asks for"
            f" {', '.join(planned.retune)}. Ask for the same again, read it with `adaptertune ablation"
            f" {shell_name(folder)}`, or give this one another name with --name"
        )
    return known


def _to_its_end(experiment: Experiment, storage: Path, address: str | None) -> Path:
    """Launches, or goes on, or leaves as it is what has ended. Exits where it is interrupted or fails."""
    folder = (storage / experiment.name).absolute()
    if (folder / LEDGER).exists():
        history = read_history(folder)
        _refuse_other(experiment_of(history.header), experiment, folder)
        if history.finished:
            return folder
        result = commands_launch.go_on(folder, trials=None, retry_failed=False, address=address)
    else:
        result = commands_launch.run(experiment, storage, address)
    lines(console(), *failures(Sweep.of(result.history), folder))
    if result.outcome == "interrupted":
        say(
            f"interrupted; what {experiment.name} has recorded is kept, and the same command goes on,"
            f" as does `adaptertune resume {shell_name(folder)}`"
        )
        raise typer.Exit(PREEMPTED if result.preempted else INTERRUPTED)
    if result.no_results:
        say(f"{experiment.name} failed: no trial has a value")
        raise typer.Exit(FAILED)
    return folder


def _refuse_other(begun: Experiment, asked: Experiment, folder: Path) -> None:
    """Raises StorageError where what `folder` holds is another design than the one asked for."""
    changed = find_differences(begun, asked)
    if not changed:
        return
    shown = "".join(f"\n  {difference}" for difference in changed[:10])
    raise StorageError(
        f"{folder.name} has begun with another design:{shown}\n"
        f"Ask for the same again, read it with `adaptertune ablation {shell_name(folder)}`,"
        f" give this one another name with --name, or remove {folder.absolute()}"
    )


# --- the result -------------------------------------------------------------------------------


def show_result(folder: Path, images: Images | None, writing: Writing) -> None:
    """What a designed experiment showed. Raises AblationError where `folder` holds none."""

    result = result_of(Sweep.at(folder), images)
    match writing:
        case Writing.JSON:
            typer.echo(json_text(result_json(result, folder)))
        case Writing.CSV:
            typer.echo(result_csv(result), nl=False)
        case Writing.MARKDOWN:
            typer.echo(result_markdown(result, folder), nl=False)
        case Writing.TABLE:
            print_result(result, folder)


def print_result(result: AblationResult, folder: Path) -> None:
    """The tables and what they say, on screen."""
    out = console()
    for table in result_tables(result):
        print_table(out, table)
    lines(out, *all_sentences(result, folder))
    lost = sum(run.outcome in ("failed", "diverged") for run in result.runs)
    if lost:
        again = f"`adaptertune resume {shell_name(folder)} --retry-failed` starts those that failed once more"
        lines(out, f"{lost} failed or diverged; {again}")
