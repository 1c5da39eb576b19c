"""Which trials are best, and what decides it.

The value of a trial is its objective on the validation images under the experiment's rule: that of its
best report or of its last one. By default only trials that ran to their own end are ranked; trials that
were stopped early have trained less. Two options rank these too:

* at=EPOCH: all trials that reached this epoch are ranked by their reports up to it, so that all have the
  same budget.
* early_stopped: all trials are ranked by the value that each has reached; the table shows the epochs
  that each has run.

Failed, diverged and reused trials are never ranked (`tuning.ranking.policy`). Trials that are not ranked
are counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from analysis.errors import NothingToRankError
from analysis.query.floors import Floors, Part
from analysis.query.sweep import UNFINISHED, Objective, Standing, Sweep, Trial
from analysis.ranking.weighed import INFEASIBLE, Weighed
from trainables.specs.workload import Direction, ValueRule
from trainables.wording import counts_in_words, plural
from tuning.experiment.goals import Goals
from tuning.experiment.spec import Experiment
from tuning.ledger.records import ScoredRecord
from tuning.ranking.front import vector_of
from tuning.ranking.order import best_first, sort_key
from tuning.ranking.policy import ANY_BUDGET, FALLBACKS, NOT_COMPARABLE, Policy, asked_policy
from tuning.tables.rows import RUNNING


@dataclass(frozen=True)
class Ranking:
    """Trials, best first, and what decides their order."""

    sweep: str
    objective: Objective
    at: float | None
    ranked: tuple[tuple[Trial, Standing], ...]
    """All ranked trials, or the first few."""
    left_out: Mapping[str, int]
    """Trials that were not ranked, by outcome."""
    scores: Mapping[tuple[str, int], ScoredRecord] = field(default_factory=dict)
    """Metrics on test images by experiment and trial; they do not change the order."""
    early_stopped: bool = False
    """Whether trials are ranked that did not run to their own end."""
    counted: int = 0
    """The number of trials that were ranked."""
    span: tuple[float, float] = (0.0, 0.0)
    """The fewest and the most epochs that a ranked trial has run."""
    several: bool = False
    """Whether the trials are from more than one experiment."""
    chosen_on_test: bool = False
    """Whether the filter reads test metrics, so that these select trials after all."""
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    """The experiments whose trials are ranked, by name."""
    floors: Mapping[str, Floors] = field(default_factory=dict)
    """Their floors, by name."""
    furthest: float = 0.0
    """The most epochs that any trial has run, ranked or not."""
    unfinished: int = 0
    """Those of `left_out` that are recorded as running, although no driver runs."""
    weighed: Weighed | None = None
    """What is weighed besides the metric; None if there is nothing else, or more than one experiment."""

    def floor(self, trial: Trial, part: Part = Part.VALIDATION) -> float | None:
        """The floor of the metric on the images that a trial was measured on."""
        return self.floors.get(trial.sweep, Floors()).at(self.objective.metric, part)

    @property
    def decided_by(self) -> str:
        """The metric that decides which trials have collapsed: the objective of the experiments."""
        experiment = next(iter(self.experiments.values()), None)
        return self.objective.metric if experiment is None else experiment.objective.metric

    @property
    def same_floors(self) -> bool:
        """Whether all trials have the same floors, so that a caption can name them."""
        metric = self.objective.metric
        return len({tuple(each.at(metric, part) for part in Part) for each in self.floors.values()}) < 2

    @property
    def not_ranked(self) -> dict[str, int]:
        """`left_out` as it is shown, see `Trial.shown`."""
        shown = Counter(self.left_out)
        if self.unfinished:
            shown[UNFINISHED] += self.unfinished
            shown[RUNNING] -= self.unfinished
        return {outcome: number for outcome, number in sorted(shown.items()) if number}

    def score(self, trial: Trial, standing: Standing) -> ScoredRecord | None:
        """The test metrics of the weights from the report that gave the trial's value."""
        score = self.scores.get((trial.sweep, trial.number))
        return score if score is not None and score.epoch == standing.epoch else None

    @property
    def caption(self) -> str:
        """A sentence on metric, rule, images and budgets."""
        better = "highest" if self.objective.direction is Direction.MAXIMIZE else "lowest"
        if self.at is not None:
            at = f"{self.at:g}"
            rule = (
                f"{'best report up to' if self.objective.rule is ValueRule.BEST else 'report at'} epoch {at}"
            )
        else:
            rule = "each trial's " + (
                "best report" if self.objective.rule is ValueRule.BEST else "last report"
            )
        text = f"{self.objective.metric} on validation images, {better} first, {rule}"
        if self.chosen_on_test:
            text += "; the filter selects by test metrics, so those of the selected trials are optimistic"
        if self.early_stopped and self.at is None:
            text += "; trials that were stopped early compete"
        if self.at is None and self.span[0] < self.span[1]:
            text += f"; budgets differ: they ran {self.span[0]:g} to {plural(self.span[1], 'epoch')}"
        if self.weighed is not None:
            text += f". {self.weighed.caption(self.objective.metric)}"
        if self.left_out:
            text += ". Not ranked: " + counts_in_words(self.not_ranked)
        return text


def reads_test(where: str | None) -> bool:
    """Whether a filter reads metrics on test images; text in single quotes does not count."""
    return where is not None and re.search(r"\btest\.", re.sub(r"'[^']*'", "''", where)) is not None


def rank(
    sweep: Sweep,
    *,
    metric: str | None = None,
    at: float | None = None,
    early_stopped: bool = False,
) -> Ranking:
    """All trials that may be compared, best first; of equal trials the lower number comes first.

    Raises QueryError for an unknown metric.
    """
    objective = sweep.objective_for(metric)
    policy = asked_policy(at, early_stopped=early_stopped)
    ranked = rank_trials(sweep.trials, objective, policy)
    numbers = {trial.number for trial, _ in ranked}
    ran = [trial.ran for trial, _ in ranked]
    return Ranking(
        sweep.name,
        objective,
        at,
        ranked,
        dict(Counter(_left_out_as(t, objective, policy) for t in sweep.trials if t.number not in numbers)),
        {(sweep.name, n): score for n, score in sweep.scores.items() if n is not None},
        early_stopped,
        len(ranked),
        (min(ran, default=0.0), max(ran, default=0.0)),
        experiments={sweep.name: sweep.experiment},
        floors={sweep.name: sweep.floors},
        furthest=max((trial.ran for trial in sweep.trials), default=0.0),
        unfinished=sum(t.shown == UNFINISHED for t in sweep.trials if t.number not in numbers),
        weighed=weighed_in(sweep),
    )


def weighed_in(sweep: Sweep) -> Weighed | None:
    """What an experiment weighs, with its front; None if that is one objective without constraints."""
    goals = Goals.of(sweep.experiment)
    if goals.single:
        return None
    return Weighed.of(
        goals, ((t.number, vector_of(goals, t.outcome, t.values, feasible=t.feasible)) for t in sweep.trials)
    )


def _left_out_as(trial: Trial, objective: Objective, policy: Policy) -> str:
    """As what a trial that is not ranked is counted: its outcome, or that its constraints are to blame."""
    entry = trial.entry(trial.standing(objective, policy.budget))
    would = sort_key(policy, objective.direction)(entry._replace(feasible=True)) is not None
    return INFEASIBLE if would else trial.outcome


def rank_trials(
    trials: Iterable[Trial], objective: Objective, policy: Policy
) -> tuple[tuple[Trial, Standing], ...]:
    """The trials that the policy ranks, best first, and the standing of each under the objective."""
    compared = [(trial, trial.standing(objective, policy.budget)) for trial in trials]
    ordered = best_first(compared, lambda pair: pair[0].entry(pair[1]), policy, objective.direction)
    return tuple((trial, standing) for trial, standing in ordered if standing is not None)


def finished_first(sweep: Sweep) -> Ranking:
    """The ranking of the finished trials; of all comparable trials if none has finished."""
    return first_not_empty(lambda policy: rank(sweep, early_stopped=policy == ANY_BUDGET))


def first_not_empty(rank_under: Callable[[Policy], Ranking]) -> Ranking:
    """The ranking under the first of `FALLBACKS` that ranks any trial; an empty one if none does."""
    for policy in FALLBACKS:
        ranking = rank_under(policy)
        if ranking.ranked:
            break
    return ranking


def best_of(ranking: Ranking) -> tuple[Trial, Standing]:
    """The best trial. Raises NothingToRankError, with the reason and what to do, if none is ranked."""
    if ranking.ranked:
        return ranking.ranked[0]
    if not ranking.left_out:
        raise NothingToRankError(
            f"{ranking.sweep}: no trial to rank; none has started, or none passes the filter"
        )
    counts = counts_in_words(ranking.not_ranked)
    if INFEASIBLE in ranking.left_out:
        reason = "that could be ranked keeps the constraints"
        way_out = "see what each one reached with `adaptertune query`, or launch with wider bounds"
    elif ranking.at is not None and ranking.furthest < ranking.at:
        reason = f"has reached epoch {ranking.at:g}"
        way_out = (
            f"the furthest has run {plural(ranking.furthest, 'epoch')}: rank them at epoch"
            f" {ranking.furthest:g} or an earlier one"
            if ranking.furthest
            else "none has a report yet"
        )
    elif ranking.at is not None:
        reason, way_out = "can be ranked", "see `adaptertune status`, or rank them at an earlier epoch"
    elif ranking.early_stopped or ranking.left_out.keys() <= NOT_COMPARABLE:
        reason, way_out = "can be ranked", "see `adaptertune status`"
    else:
        reason = "has run to its own end"
        first = "continue with `adaptertune resume`" if ranking.unfinished else "wait for one"
        way_out = (
            f"{first}, rank all at one budget (--at EPOCH, in Python at=EPOCH), or include trials that were"
            " stopped early (--early-stopped, in Python early_stopped=True)"
        )
    raise NothingToRankError(f"{ranking.sweep}: no trial {reason} ({counts}); {way_out}")
