"""Runs a planned ablation: checks it against what has begun, retunes where asked for, then compares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from analysis.ablation import experiment as designed
from analysis.ablation.design import Plan
from analysis.ablation.studies import describe_level
from analysis.query.sweep import Sweep
from trainables.errors import StorageError
from trainables.wording import plural
from tuning.cli.ablations.plan import begun_experiment
from tuning.cli.console import console, failure_lines, print_lines
from tuning.cli.run.run_with_progress import resume_sweep, run_sweep
from tuning.exit_codes import FAILED, INTERRUPTED, PREEMPTED
from tuning.experiment.differences import find_differences
from tuning.experiment.moved_data import with_moved_data
from tuning.experiment.sections.ablation import AblationSpec
from tuning.experiment.spec import Experiment
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import LEDGER, read_history
from tuning.ledger.outcomes import Ending
from tuning.ledger.storage import shell_name
from tuning.messages import say

NOTES = "ablation.notes"


def check_begun(plan: Plan, storage: Path) -> AblationSpec | None:
    """Check, before any work, that the design is a valid experiment and equals the one that has begun.

    Returns the design with the retuned values of a comparison that has begun; None before that.
    Raises ExperimentFileError or StorageError.
    """
    folder = storage / plan.name
    begun = begun_experiment(folder)
    known = _retuned_before(plan, begun, folder) if plan.retune and begun is not None else None
    comparison = designed.comparison_experiment(plan.base, known or plan.spec, plan.name)
    if plan.retune:
        first = _retuning(plan)
        retune_folder = storage / first.name
        if (tuned := begun_experiment(retune_folder)) is not None:
            _refuse_other(tuned, first, retune_folder)
    if begun is not None:
        refuse_other_seeds(begun, comparison, folder)
    return known


def refuse_other_seeds(begun: Experiment, asked: Experiment, folder: Path) -> None:
    """Raise StorageError where `folder` holds another design than the one asked for, or fewer seeds."""
    had, wanted = begun.ablation, asked.ablation
    # The same number of other seeds means another base, which differs in more than that.
    of_seeds = had is not None and wanted is not None and had.folds is None and wanted.folds is None
    if of_seeds and had is not None and wanted is not None and len(had.seeds) != len(wanted.seeds):
        raise StorageError(
            f"{folder.name} has begun with {plural(len(had.seeds), 'seed')}, and --seeds asks for"
            f" {len(wanted.seeds)}. The number of seeds is fixed in advance: seeds that are added"
            " after a result is seen find differences where there are none. Use --name for a new ablation"
        )
    _refuse_other(begun, asked, folder)


def run_plan(plan: Plan, known: AblationSpec | None, storage: Path, address: str | None) -> Path:
    """Retune where asked for, then compare; continue what has begun. Returns the folder.

    known: what `check_begun` returned. A comparison that has begun keeps its values, whether the experiment
    that retuned them still exists or not.
    """
    if plan.retune:
        if known is None:
            tuned = Sweep.at(run_to_end(_retuning(plan), storage, address))
            known = designed.with_retuned_values(tuned, plan.spec, plan.retune)
        plan = replace(plan, spec=known)
        for level in plan.spec.levels:
            print_lines(console(), f"retuned  {plan.spec.factor} {level.name}: {describe_level(level)}")
    return run_to_end(designed.comparison_experiment(plan.base, plan.spec, plan.name), storage, address)


def _retuning(plan: Plan) -> Experiment:
    return designed.retuning_experiment(plan.base, plan.spec, f"{plan.name}-retune", plan.retune, plan.trials)


def _retuned_before(plan: Plan, experiment: Experiment, folder: Path) -> AblationSpec:
    """The design with the retuned values of a comparison that has begun in `folder`.

    Raises StorageError where it was not retuned, or in other settings.
    """
    begun = experiment.ablation
    if begun is None:
        raise StorageError(f"{folder.name} is no designed experiment; choose another name with --name")
    known = designed.with_recorded_values(begun, plan.spec, plan.retune, plan.base)
    if known is None:
        had = ", ".join(dict.fromkeys(n for level in begun.levels for n in level.retuned)) or "nothing"
        raise StorageError(
            f"{folder.name} has begun with {had} retuned, and --retune asks for {', '.join(plan.retune)}."
            f" Ask for the same again, read it with `adaptertune ablation {shell_name(folder)}`,"
            " or choose another name with --name"
        )
    return known


def run_to_end(experiment: Experiment, storage: Path, address: str | None) -> Path:
    """Launch or resume; do nothing where it has ended. Exits where it is interrupted or fails."""
    folder = (storage / experiment.name).absolute()
    if (folder / LEDGER).exists():
        history = read_history(folder)
        _refuse_other(experiment_of(history.header), experiment, folder)
        if history.finished:
            return folder
        result = resume_sweep(folder, trials=None, retry_failed=False, address=address)
    else:
        result = run_sweep(experiment, storage, address)
    print_lines(console(), *failure_lines(Sweep.of(result.history), folder))
    if result.outcome is Ending.INTERRUPTED:
        say(
            f"interrupted; everything that {experiment.name} has recorded is kept. To continue, run the same"
            f" command, or `adaptertune resume {shell_name(folder)}`"
        )
        raise typer.Exit(PREEMPTED if result.preempted else INTERRUPTED)
    if result.no_results:
        say(f"{experiment.name} failed: no trial has a value")
        raise typer.Exit(FAILED)
    return folder


def _refuse_other(begun: Experiment, asked: Experiment, folder: Path) -> None:
    """Raise StorageError where `folder` holds another design than the one asked for."""
    if (folder / LEDGER).exists():  # it may have its data elsewhere since it began
        asked = with_moved_data(asked, read_history(folder).moves)
    # Notes follow from the design; another version may word them differently.
    changed = [found for found in find_differences(begun, asked) if not found.key.startswith(NOTES)]
    if not changed:
        return
    shown = "".join(f"\n  {difference}" for difference in changed[:10])
    raise StorageError(
        f"{folder.name} has begun with another design:{shown}\n"
        f"Ask for the same again, read it with `adaptertune ablation {shell_name(folder)}`,"
        f" choose another name with --name, or remove {folder.absolute()}"
    )
