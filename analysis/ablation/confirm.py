"""Repeats the best trials of a search over new seeds, as an experiment of its own.

The value that a search found for its best trial is the luckiest of many, so it is too good (the winner's
curse). The best few trials are therefore repeated over paired seeds that none of them had, at full budget,
and compared on test images. Or over the folds of a cross-validation of all images but those of test: each run
has a seed of its own then, too, and is judged on the fold that it did not train on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from analysis.ablation.design import (
    FOLD,
    OF_A_RUN,
    SEED,
    AblationError,
    flatten_settings,
    has_patience,
    of_level,
    ranked_finished,
)
from analysis.ablation.experiment import designed_experiment
from analysis.query.sweep import Sweep, Trial
from trainables.wording import plural
from tuning.experiment.sections.ablation import AblationLevel, AblationSpec, AblationStage
from tuning.experiment.sections.confirm import USUAL_SEEDS, confirm_name
from tuning.experiment.space import SECTION_NAMES, config_hash
from tuning.experiment.spec import Experiment

FACTOR = "trial"
"""What the levels of the design are."""


@dataclass(frozen=True)
class ConfirmPlan:
    """The best trials of a sweep, to be repeated.

    seconds: the training time of all runs, one after the other; None if unknown.
    """

    sweep: Sweep
    spec: AblationSpec
    name: str
    seconds: float | None

    @property
    def runs(self) -> int:
        """The number of trials."""
        return len(self.spec.levels) * len(self.spec.seeds)


def plan_confirm(
    sweep: Sweep,
    *,
    trials: int,
    seeds: int = USUAL_SEEDS,
    folds: int | None = None,
    name: str | None = None,
    begun: AblationSpec | None = None,
) -> ConfirmPlan:
    """The design that repeats the best `trials` finished trials over `seeds` new seeds, or over folds.

    folds: their number; each has a new seed.
    begun: the design of one that has begun; it keeps its trials, even if the search has found better ones.
    Raises AblationError if there is nothing to repeat.
    """
    if sweep.experiment.ablation is not None:
        raise AblationError(
            f"{sweep.name} is a designed experiment, whose runs are repeated already;"
            f" see `adaptertune ablation {sweep.name}`"
        )
    if folds is not None and sweep.experiment.data.gives_validation:
        raise AblationError(
            f"--folds divides the images that are left after test, but the data of {sweep.name} have"
            " validation images of their own; repeat over --seeds"
        )
    ranked = _different(sweep)
    runs = seeds if folds is None else folds
    chosen_seeds = new_seeds(sweep, runs)
    if begun is not None:
        chosen_seeds = begun.seeds if len(begun.seeds) == runs else chosen_seeds
        known = {f"trial {trial.number}": (trial, value) for trial, value in ranked}
        ranked = [known[level.name] for level in begun.levels if level.name in known]
    if not ranked:
        raise AblationError(
            f"{sweep.name} has no finished trial to repeat; see `adaptertune status {sweep.name}`"
        )
    chosen = ranked[:trials]
    levels = tuple(
        AblationLevel(
            name=f"trial {trial.number}",
            settings=of_level({**trial.params, **trial.rates}),
            value=value,
        )
        for trial, value in chosen
    )
    spec = AblationSpec(
        of=sweep.name,
        trial=chosen[0][0].number,
        factor=FACTOR,
        levels=levels,
        reference=levels[0].name,
        seeds=chosen_seeds,
        folds=folds,
        stage=AblationStage.CONFIRM,
        notes=tuple(_notes(sweep, len(chosen), trials, folds)),
    )
    each = [trial.seconds * _epochs(sweep, trial) / trial.ran for trial, _ in chosen if trial.ran]
    seconds = sum(each) * runs if len(each) == len(chosen) else None
    return ConfirmPlan(sweep, spec, name or confirm_name(sweep.name), seconds)


def new_seeds(sweep: Sweep, count: int) -> tuple[int, ...]:
    """`count` seeds that no trial of the sweep had."""
    used = {sweep.experiment.trial_config(dict(trial.params)).seed for trial in sweep.trials}
    found: list[int] = []
    seed = max(used, default=0)
    while len(found) < count:
        seed = (seed + 1) % 2**31
        if seed not in used:
            found.append(seed)
    return tuple(found)


def _different(sweep: Sweep) -> list[tuple[Trial, float]]:
    """Finished trials and their values, best first; of those that differ in the seed alone, the best one."""
    found: dict[str, tuple[Trial, float]] = {}
    for trial, standing in ranked_finished(sweep):
        settings = of_level(trial.params)
        if settings:
            found.setdefault(config_hash(settings), (trial, standing.value))
    return list(found.values())


def _epochs(sweep: Sweep, trial: Trial) -> float:
    return float(sweep.experiment.trial_config(dict(trial.params)).epochs)


def _notes(sweep: Sweep, chosen: int, asked: int, folds: int | None) -> list[str]:
    notes = []
    if chosen < asked:
        notes.append(f"{sweep.name} has {plural(chosen, 'finished trial')}, so {asked} cannot be repeated")
    if has_patience(flatten_settings(sweep.experiment.trial)):
        notes.append("early_stopping is left out, so that all runs of a trial have the same budget")
    if folds is not None:
        notes.append(
            "each run counts with its last report, as its best one would be chosen on images that judge it"
        )
    return notes


def confirm_experiment(plan: ConfirmPlan) -> Experiment:
    """The experiment that runs every chosen trial with every seed or fold, one of these after the other."""
    of = plan.sweep.experiment
    space: dict[str, JsonValue] = {SEED: {"choice": list(plan.spec.seeds)}}
    if plan.spec.folds is not None:
        space = {FOLD: {"choice": list(range(plan.spec.folds))}}
        space[SEED] = [{"choice": [s], "when": {FOLD: n}} for n, s in enumerate(plan.spec.seeds)]
    space |= levels_as_space(plan.spec.levels, of.space.order)
    trial = {
        name: value
        for name, value in flatten_settings(of.trial).items()
        if name not in (*space, *OF_A_RUN) and not has_patience([name])
    }
    return designed_experiment(of, plan.spec, plan.name, trial=trial, space=space, search={"grid": {}})


def levels_as_space(levels: Sequence[AblationLevel], order: Sequence[str]) -> dict[str, JsonValue]:
    """The levels as a search space without any other configuration, in the form of an experiment file.

    order: of the parameters of the search, in which conditions come before what depends on them. Each value
    of a parameter is given under the values of those before it that tell the levels apart, as in a tree
    whose leaves are the levels.
    """
    space: dict[str, JsonValue] = {}
    branches: list[tuple[dict[str, JsonValue], list[AblationLevel]]] = [({}, list(levels))]
    for name in order:
        alternatives: list[JsonValue] = []
        grown: list[tuple[dict[str, JsonValue], list[AblationLevel]]] = []
        for when, group in branches:
            by_value: dict[str, tuple[JsonValue, list[AblationLevel]]] = {}
            for level in group:
                value = level.settings.get(name)
                by_value.setdefault(config_hash({"": value}) if name in level.settings else "", (value, []))[
                    1
                ].append(level)
            with_it = {key: found for key, found in by_value.items() if key}
            if with_it:
                alternatives.append(_alternative([value for value, _ in with_it.values()], when, name))
            splits = len(by_value) > 1
            for key, (value, part) in by_value.items():
                grown.append((when | {name: value} if splits and key else dict(when), part))
        branches = grown
        if alternatives:
            space[name] = alternatives[0] if len(alternatives) == 1 else alternatives
    return space


def _alternative(values: Sequence[JsonValue], when: Mapping[str, JsonValue], name: str) -> JsonValue:
    # A parameter of an adapter's section exists only with that adapter.
    own = name.split(".")[0] in SECTION_NAMES
    conditions = {key: value for key, value in when.items() if not (own and key == "adapter")}
    return {"choice": list(values)} | ({"when": conditions} if conditions else {})
