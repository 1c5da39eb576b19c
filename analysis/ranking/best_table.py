"""The best trials as a table, as JSON and as flat rows: what `adaptertune best` prints."""

from __future__ import annotations

from dataclasses import replace

from pydantic import JsonValue

from analysis.query.floors import COLLAPSED, Floors, Part, collapsed_caption
from analysis.query.sweep import Scalar, Standing, Trial
from analysis.ranking.best import Ranking
from analysis.ranking.scored_metrics import scored_json, scored_value
from analysis.ranking.weighed import format_value
from analysis.tables import Table, format_budget, format_count, format_metric
from trainables.specs.definition_words import definitions_in_words
from trainables.specs.workload import ValueRule
from trainables.wording import plural
from tuning.formatting import format_settings
from tuning.tables.rows import DRAWN, OBJECTIVES


def best_table(ranking: Ranking, top: int) -> Table:
    """The first `top` trials as a table, with a column for the test metric if one of them has it."""
    metric = ranking.objective.metric
    first = ranking.ranked[:top]
    beside = () if ranking.weighed is None else ranking.weighed.shown_beside(metric)
    tested = {
        (trial.sweep, trial.number): scored_value(score, metric)
        for trial, standing in first
        if (score := ranking.score(trial, standing)) is not None
    }
    apart = not ranking.same_floors
    rows = tuple(
        (
            str(place),
            *((trial.sweep,) if ranking.several else ()),
            str(trial.number),
            format_metric(standing.value),
            *((format_metric(ranking.floor(trial)),) if apart else ()),
            *((format_metric(tested.get((trial.sweep, trial.number))),) if tested else ()),
            *(format_value(name, trial.values.get(name)) for name in beside),
            f"{standing.epoch:g}",
            format_budget(trial.ran, trial.epochs),
            outcome_in_words(trial, standing),
            format_count(trial.trainable),
            format_settings(trial.params, trial.rates),
        )
        for place, (trial, standing) in enumerate(first, start=1)
    )
    test = (f"test {metric}",) if tested else ()
    names = ("experiment",) if ranking.several else ()
    floor = ("floor",) if apart else ()
    columns = (
        "", *names, "trial", metric, *floor, *test, *beside, "at epoch", "ran", "outcome", "trainable",
        "settings",
    )  # fmt: skip
    title = f"{ranking.sweep}: best {min(top, ranking.counted)} of {plural(ranking.counted, 'trial')}"
    caption = ranking.caption
    if tested:
        picked = "Picked by test metrics too" if ranking.chosen_on_test else "Picked on validation images"
        caption += f". {picked}; test: other images, with the weights of that epoch"
    if not apart and first:
        parts = (Part.VALIDATION, Part.TEST) if tested else (Part.VALIDATION,)
        floors = ranking.floors.get(first[0][0].sweep, Floors())
        caption += f". {said}" if (said := floors.caption(metric, *parts)) else ""
    elif apart:
        caption += ". floor: what the best constant predictor reaches on the same validation images"
    if any(standing.collapsed for _, standing in first):
        caption += f". {collapsed_caption(ranking.decided_by)}"
    numeric = ("", "trial", metric, *floor, *test, *beside, "at epoch", "ran", "trainable")
    return Table(title, columns, rows, caption, numeric=tuple(columns.index(name) for name in numeric))


def outcome_in_words(trial: Trial, standing: Standing) -> str:
    """How a trial ended, and whether it has collapsed: `completed, collapsed`."""
    return f"{trial.shown}, {COLLAPSED}" if standing.collapsed else trial.shown


def best_json(ranking: Ranking, top: int) -> dict[str, JsonValue]:
    """The first `top` trials for programs, with everything that decides the order."""
    return {
        "experiment": ranking.sweep,
        "metric": ranking.objective.metric,
        "mode": ranking.objective.direction.value,
        "value_rule": ranking.objective.rule.value,
        "at_epoch": ranking.at,
        "measured_on": "validation",
        "definitions": {
            name: dict(definitions_in_words(each.workload.definitions, each.task))
            for name, each in ranking.experiments.items()
        },
        "filtered_on_test": ranking.chosen_on_test,
        "early_stopped_compete": ranking.early_stopped,
        **({} if ranking.weighed is None else ranking.weighed.as_json()),
        "ranked": ranking.counted,
        "not_ranked": dict[str, JsonValue](ranking.not_ranked),
        "trials": [
            {
                "rank": place,
                "experiment": trial.sweep,
                "trial": trial.number,
                "value": standing.value,
                "floor": ranking.floor(trial),
                "above_floor": None if standing.above_floor is None else list(standing.above_floor),
                "collapsed": standing.collapsed,
                "epoch": standing.epoch,
                **_by_rule(ranking, trial),
                "ran_epochs": trial.ran,
                "of_epochs": trial.epochs,
                "outcome": trial.shown,
                "params": dict(trial.params),
                "config": dict(trial.config),
                "metrics": dict(standing.metrics),
                "test": None if (score := ranking.score(trial, standing)) is None else scored_json(score),
                "test_floor": ranking.floor(trial, Part.TEST),
                "parameters": dict(trial.parameters),
                **({"values": dict(trial.values)} if trial.values else {}),
                "seconds": trial.seconds,
            }
            for place, (trial, standing) in enumerate(ranking.ranked[:top], start=1)
        ],
    }


def best_rows(ranking: Ranking, top: int) -> list[dict[str, Scalar]]:
    """The first `top` trials as flat rows, for CSV, Parquet and data frames.

    value, epoch: what decides the order.  best…, last…: of the whole trial.  at_budget: the value by --at.
    """
    rows = []
    for place, (trial, standing) in enumerate(ranking.ranked[:top], start=1):
        row: dict[str, Scalar] = {
            "rank": place,
            "experiment": trial.sweep,
            "trial": trial.number,
            "outcome": trial.shown,
            "metric": ranking.objective.metric,
            "value": standing.value,
            "epoch": standing.epoch,
            **_by_rule(ranking, trial),
            "floor": ranking.floor(trial),
            "collapsed": standing.collapsed,
            "at_budget": None if ranking.at is None else standing.value,
            "budget": ranking.at,
            "ran": trial.ran,
            "seconds": trial.seconds,
        }
        row |= {f"parameters.{part}": number for part, number in trial.parameters.items()}
        row |= {f"metrics.{name}": value for name, value in standing.metrics.items()}
        row |= {f"{OBJECTIVES}{name}": value for name, value in trial.values.items()}
        row |= {f"{DRAWN}{name}": trial.params[name] for name in trial.rates}  # type: ignore[misc]
        if ranking.weighed is not None and ranking.weighed.goals.several:
            row["front"] = trial.number in ranking.weighed.front
        if (score := ranking.score(trial, standing)) is not None:
            row |= {f"test.{name}": value for name, value in score.metrics.items()}
            for domain, metrics in score.domains.items():
                row |= {f"test.{name}@{domain}": value for name, value in metrics.items()}
        rows.append(row | {name: value for name, value in trial.config.items() if name not in row})
    return rows


def _by_rule(ranking: Ranking, trial: Trial) -> dict[str, float | None]:
    """The values of the best and of the last report, whatever the rule of the ranking."""
    found: dict[str, float | None] = {}
    for rule in (ValueRule.BEST, ValueRule.LAST):
        standing = trial.standing(replace(ranking.objective, rule=rule))
        found[rule.value] = standing.value if standing else None
        found[f"{rule.value}_epoch"] = standing.epoch if standing else None
    return found
