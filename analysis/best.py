"""Which configuration is best, and by which rule. No ray, no torch.

The value of a trial is its objective on the validation images under the experiment's rule. Trials
that were stopped early have seen less training than the others, so:

* rule `best` (the best report counts): every trial competes with what it reached, because its best
  weights exist whether or not it went on; the table says how far each one came.
* rule `last` (the last report counts): only trials that ran to their own end are ranked, since the
  last report of a stopped trial is one of another budget. The others are counted, not ranked.
* `at=EPOCH`: every trial that came so far is ranked by its reports up to that epoch, so all have
  the same budget.

Failed, diverged and reused trials are never ranked: the first two have no value that holds, the
last repeats another's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from analysis.frames import Objective, Standing, Sweep, Trial
from analysis.query import select
from analysis.scores import scored_json, scored_value
from analysis.tables import Table, budget, count, figure, plural, settings
from trainables.errors import AdaptertuneError
from trainables.workload import Direction, ValueRule
from tuning.ledger import ScoredRecord


class NothingToRankError(AdaptertuneError):
    """No trial has a value yet, or none passes the filter."""


@dataclass(frozen=True)
class Ranking:
    """Trials from the best down, and what the order means."""

    sweep: str
    objective: Objective
    at: float | None
    ranked: tuple[tuple[Trial, Standing], ...]
    left_out: Mapping[str, int]
    """Trials that were not ranked, by outcome."""
    scores: Mapping[int | None, ScoredRecord] = field(default_factory=dict)
    """Figures on test images, which decide nothing here."""

    def score(self, trial: Trial, standing: Standing) -> ScoredRecord | None:
        """Test figures of the very weights that the trial is ranked for."""
        score = self.scores.get(trial.number)
        return score if score is not None and score.epoch == standing.epoch else None

    @property
    def caption(self) -> str:
        """Metric, rule, images and budgets, in words."""
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
        ran = {trial.ran for trial, _ in self.ranked}
        if self.at is None and len(ran) > 1:
            text += f"; budgets differ: they ran {min(ran):g} to {max(ran):g} epochs"
        if self.left_out:
            text += ". Not ranked: " + ", ".join(f"{n} {what}" for what, n in sorted(self.left_out.items()))
        return text


def rank(
    sweep: Sweep,
    *,
    metric: str | None = None,
    where: str | None = None,
    at: float | None = None,
) -> Ranking:
    """All trials that may be compared, best first; ties go to the lower number.

    Raises QueryError for an unknown metric or a wrong filter.
    """
    objective = sweep.objective_for(metric)
    trials: Sequence[Trial] = sweep.trials if where is None else select(sweep.trials, where, objective)
    left_out: Counter[str] = Counter()
    ranked: list[tuple[Trial, Standing]] = []
    for trial in trials:
        standing = trial.standing(objective, at)
        fair = trial.finished or objective.rule is ValueRule.BEST or at is not None
        if standing is None or not fair or not trial.comparable:
            left_out[trial.outcome] += 1
        else:
            ranked.append((trial, standing))
    sign = -1.0 if objective.direction is Direction.MAXIMIZE else 1.0
    ranked.sort(key=lambda pair: (sign * pair[1].value, pair[0].number))
    return Ranking(sweep.name, objective, at, tuple(ranked), dict(left_out), sweep.scores)


def best_of(ranking: Ranking) -> tuple[Trial, Standing]:
    """The first. Raises NothingToRankError, which says why there is none and what to do."""
    if ranking.ranked:
        return ranking.ranked[0]
    if ranking.left_out:
        counts = ", ".join(f"{n} {what}" for what, n in sorted(ranking.left_out.items()))
        way_out = (
            "see `adaptertune status`"
            if ranking.objective.rule is ValueRule.BEST
            else "wait for a trial to finish, or rank all at one budget with --at EPOCH"
        )
        raise NothingToRankError(f"{ranking.sweep}: no trial can be ranked ({counts}); {way_out}")
    raise NothingToRankError(
        f"{ranking.sweep}: no trial to rank; none has started, or none passes the filter"
    )


def best_table(ranking: Ranking, top: int) -> Table:
    """The first `top` as a table, with their test figure where one of them has it."""
    metric = ranking.objective.metric
    tested = {
        trial.number: scored_value(score, metric)
        for trial, standing in ranking.ranked[:top]
        if (score := ranking.score(trial, standing)) is not None
    }
    rows = tuple(
        (
            str(place),
            str(trial.number),
            figure(standing.value),
            *((figure(tested.get(trial.number)),) if tested else ()),
            f"{standing.epoch:g}",
            budget(trial.ran, trial.epochs),
            trial.outcome,
            count(trial.trainable),
            settings(trial.params),
        )
        for place, (trial, standing) in enumerate(ranking.ranked[:top], start=1)
    )
    test = (f"test {metric}",) if tested else ()
    columns = ("", "trial", metric, *test, "at epoch", "ran", "outcome", "trainable", "settings")
    shown, total = min(top, len(ranking.ranked)), len(ranking.ranked)
    title = f"{ranking.sweep}: best {shown} of {plural(total, 'trial')}"
    caption = ranking.caption
    if tested:
        caption += ". Picked on validation images; test: other images, with the weights of that epoch"
    return Table(title, columns, rows, caption, numeric=(*range(4 + len(test)), 6 + len(test)))


def best_json(ranking: Ranking, top: int) -> dict[str, JsonValue]:
    """The first `top` for programs, with everything that the order rests on."""
    return {
        "experiment": ranking.sweep,
        "metric": ranking.objective.metric,
        "mode": ranking.objective.direction.value,
        "value_rule": ranking.objective.rule.value,
        "at_epoch": ranking.at,
        "measured_on": "validation",
        "ranked": len(ranking.ranked),
        "not_ranked": dict(ranking.left_out),
        "trials": [
            {
                "rank": place,
                "trial": trial.number,
                "value": standing.value,
                "epoch": standing.epoch,
                "ran_epochs": trial.ran,
                "of_epochs": trial.epochs,
                "outcome": trial.outcome,
                "params": dict(trial.params),
                "config": dict(trial.config),
                "metrics": dict(standing.metrics),
                "test": None if (score := ranking.score(trial, standing)) is None else scored_json(score),
                "parameters": dict(trial.parameters),
                "seconds": trial.seconds,
            }
            for place, (trial, standing) in enumerate(ranking.ranked[:top], start=1)
        ],
    }
