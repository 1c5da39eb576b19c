"""The ranking of `analysis.ranking.best` by SQL, for large records: only the first few trials are read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.errors import QueryError
from analysis.query.query_errors import explain_sql_error
from analysis.query.sql import Recorded, Source, named_in, opened, rows_of, with_quotes
from analysis.query.sweep import Objective, Standing, Trial, objective_of_metric
from analysis.ranking.best import Ranking, best_of, first_not_empty, reads_test
from analysis.ranking.policy_sql import order_sql, ranked_sql, standings_sql
from analysis.ranking.weighed import INFEASIBLE, Weighed
from trainables.wording import with_full_stop
from tuning.experiment.goals import Goals
from tuning.ledger.driver_state import driver_alive
from tuning.ledger.records import ReportRecord, ScoredRecord
from tuning.ranking.front import vector_of
from tuning.ranking.policy import ANY_BUDGET, asked_policy
from tuning.tables.relations import sql_name, sql_text
from tuning.tables.rows import BROKEN, COUNTED, OBJECTIVES, RUNNING, settings_of

_OF_A_TRIAL = ("trial", "outcome", "params", "ran", "seconds", "stopped_by", "reason")


def rank_by_sql(
    source: Source,
    few: int,
    *,
    metric: str | None = None,
    where: str | None = None,
    at: float | None = None,
    early_stopped: bool = False,
    reports: bool = True,
) -> Ranking:
    """The best `few` of all trials that may be compared, as `analysis.ranking.best.rank` orders them.

    reports: whether these trials hold their reports and metrics, which `best_table` does not need.
    Raises QueryError for an unknown metric, a wrong filter, and experiments with different objectives.
    """
    objective = _objective(source, metric)
    asked = _asked(source, objective, where)
    policy = asked_policy(at, early_stopped=early_stopped)
    if at is not None:
        standings = standings_sql(objective, at, source.columns_of("epochs"))
        asked = (
            f"SELECT t.experiment, t.trial, t.outcome, t.ran, s.value, s.epoch, t.{BROKEN}"
            f" FROM ({asked}) AS t"
            f" LEFT JOIN ({standings}) AS s USING (experiment, trial)"
        )
    run = source.run
    _create(
        source,
        f"CREATE OR REPLACE TEMP TABLE considered AS SELECT *, could AND {BROKEN} IS NULL AS ranked"
        f" FROM (SELECT *, {ranked_sql(policy)} AS could FROM ({asked}))",
        where,
    )
    lost = run(
        f"SELECT experiment, CASE WHEN could THEN '{INFEASIBLE}' ELSE outcome END AS how, count(*)"
        " FROM considered WHERE NOT ranked GROUP BY experiment, how"
    ).fetchall()
    idle = frozenset(each.name for each in source.experiments if not driver_alive(each.folder))
    left_out: Counter[str] = Counter()
    unfinished = 0
    for name, outcome, number in lost:
        left_out[outcome] += number
        unfinished += number if outcome == RUNNING and name in idle else 0
    ((furthest,),) = run("SELECT max(ran) FROM considered").fetchall()
    spans = run("SELECT count(*), min(ran), max(ran) FROM considered WHERE ranked")
    ((counted, least, most),) = spans.fetchall()
    first = run(
        f"SELECT experiment, trial, value, epoch FROM considered WHERE ranked"
        f" ORDER BY {order_sql(policy, objective.direction)} LIMIT {few}"
    ).fetchall()
    intervals = _intervals(source, first, whole=at is None and objective == source.objective)
    trials = {
        key: trial
        for recorded in source.experiments
        for key, trial in _trials(
            source, recorded, [n for name, n, *_ in first if name == recorded.name], reports=reports
        )
    }
    return Ranking(
        source.name,
        objective,
        at,
        tuple(
            (trials[name, n], _standing(trials[name, n], value, epoch, intervals.get((name, n))))
            for name, n, value, epoch in first
        ),
        dict(left_out),
        _scores(source, [(name, n) for name, n, *_ in first]),
        early_stopped,
        counted,
        (least or 0.0, most or 0.0),
        len(source.experiments) > 1,
        reads_test(where),
        experiments={recorded.name: recorded.experiment for recorded in source.experiments},
        floors={recorded.name: recorded.floors for recorded in source.experiments},
        furthest=furthest or 0.0,
        unfinished=unfinished,
        weighed=_weighed(source),
    )


def _weighed(source: Source) -> Weighed | None:
    """See `weighed_in`; the values of all trials that have ended are read, and no reports."""
    if len(source.experiments) > 1:
        return None
    goals = Goals.of(source.experiments[0].experiment)
    if goals.single:
        return None
    columns = [f"{OBJECTIVES}{goal.metric}" for goal in goals.objectives]
    if not goals.several or not set(columns) <= set(source.columns_of("trials")):
        return Weighed(goals)
    named = ", ".join(sql_name(column) for column in columns)
    rows = source.run(
        f"SELECT trial, outcome, {named} FROM trials WHERE {_broken(source)} IS NULL"
    ).fetchall()
    points = []
    for number, outcome, *found in rows:
        values = {g.metric: v for g, v in zip(goals.objectives, found, strict=True) if v is not None}
        points.append((number, vector_of(goals, outcome, values, feasible=True)))
    return Weighed.of(goals, points)


def _broken(source: Source) -> str:
    """The column with broken constraints, which is there only where some are broken."""
    return BROKEN if BROKEN in source.columns_of("trials") else "NULL::VARCHAR"


def best_in(source: Source, metric: str | None = None) -> tuple[Recorded, Trial, Ranking]:
    """The trial that NAME:best means: the first under `tuning.ranking.policy.FALLBACKS`.

    metric: the one that decides, as in NAME:best:METRIC; by default the (first) objective.
    Raises NothingToRankError if no trial can be ranked, and QueryError for an unknown metric.
    """
    ranking = first_not_empty(
        lambda policy: rank_by_sql(
            source, 1, metric=metric, early_stopped=policy == ANY_BUDGET, reports=False
        )
    )
    trial, _ = best_of(ranking)
    return source.recorded(trial.sweep), trial, ranking


def best_number(folder: Path, metric: str | None = None) -> int:
    """The number of the trial that NAME:best means, see `best_in`. Raises LedgerError, too."""
    with opened([folder]) as source:
        return best_in(source, metric)[1].number


def _objective(source: Source, metric: str | None) -> Objective:
    own = source.objective
    source.check_definitions(metric or own.metric)
    if metric is None or metric == own.metric:
        return own
    known = [c.removeprefix("metrics.") for c in source.columns_of("epochs") if c.startswith("metrics.")]
    return objective_of_metric(source.experiments[0].experiment, metric, known)


def _asked(source: Source, objective: Objective, where: str | None) -> str:
    """The trials that pass the filter, with their whole budget's value under `objective`."""
    trials = "trials"
    if objective.metric != source.objective.metric:
        trials = f"({_under(source, objective)})"
    asked = (
        f"SELECT experiment, trial, outcome, ran, value, epoch, {_broken(source)} AS {BROKEN} FROM {trials}"
    )
    return asked if where is None else f"{asked} WHERE ({where}\n)"


def _under(source: Source, objective: Objective) -> str:
    """The view `trials` under another metric: all metrics are those of the report that gives its value."""
    epochs, trials = source.columns_of("epochs"), source.columns_of("trials")
    metrics = [name for name in epochs if name.startswith("metrics.") and name in trials]
    short = [name for name in (m.removeprefix("metrics.") for m in metrics) if name in epochs]
    settings = set(_settings(source))
    replaced = [*metrics, *(name for name in short if name in trials and name not in settings)]
    columns = (f"e.{sql_name(name)} AS {sql_name(name)}" for name in replaced)
    changed = ", ".join(["s.value AS value", "s.epoch AS epoch", *columns])
    return (
        f"SELECT t.* REPLACE ({changed}) FROM trials AS t"
        f" LEFT JOIN ({standings_sql(objective, None, epochs)}) AS s USING (experiment, trial)"
        " LEFT JOIN epochs AS e ON e.experiment = s.experiment AND e.trial = s.trial AND e.epoch = s.epoch"
    )


def _settings(source: Source) -> list[str]:
    measured = {c for c in source.columns_of("trials") if c.startswith(("metrics.", "test."))}
    return [c for c in source.columns_of("trials") if c not in measured and f"metrics.{c}" not in measured]


def _create(source: Source, sql: str, where: str | None) -> None:
    import duckdb

    asked = with_quotes(sql, source.columns_of("trials"))
    for view in named_in(sql):
        source.columns_of(view)
    try:
        statements = source.connection.extract_statements(asked)
        if len(statements) != 1:
            raise QueryError(f"where {where!r} must be one condition; it cannot hold another statement")
        source.run(statements[0].query)
    except duckdb.Error as error:
        said = explain_sql_error(error, where or "", {"trials": source.columns_of("trials")})
        raise QueryError(
            f"where {where!r}: {with_full_stop(said)} A condition is SQL, with text in"
            " single quotes, as in \"adapter = 'lora' AND lora.rank >= 8\""
        ) from error


# --- the first few trials ---------------------------------------------------------------------------


def _trials(
    source: Source, recorded: Recorded, numbers: Sequence[int], *, reports: bool
) -> list[tuple[tuple[str, int], Trial]]:
    if not numbers:
        return []
    idle = not driver_alive(recorded.folder)
    which = f"experiment = {sql_text(recorded.name)} AND trial IN ({', '.join(map(str, numbers))})"
    reported: dict[int, list[ReportRecord]] = {}
    if reports:
        source.columns_of("epochs")
        ordered = f"SELECT * FROM epochs WHERE {which} ORDER BY trial, epoch"
        names, rows = rows_of(source.run(ordered))
        for values in rows:
            report = _report(dict(zip(names, values, strict=True)))
            reported.setdefault(report.trial, []).append(report)
    weighed = [name for name in source.columns_of("trials") if name.startswith(OBJECTIVES)]
    wanted = (*_OF_A_TRIAL, *(f"parameters.{part}" for part in COUNTED), *weighed)
    asked = ", ".join(sql_name(name) for name in wanted)
    names, rows = rows_of(source.run(f"SELECT {asked} FROM trials WHERE {which}"))
    found = []
    for values in rows:
        row = dict(zip(names, values, strict=True))
        params = json.loads(row["params"])
        trial = Trial(
            number=row["trial"],
            outcome=row["outcome"],
            params=params,
            config=settings_of(params, recorded.experiment),
            ran=row["ran"],
            reports=tuple(reported.get(row["trial"], ())),
            parameters={
                part: row[f"parameters.{part}"] for part in COUNTED if row[f"parameters.{part}"] is not None
            },
            seconds=row["seconds"],
            stopped_by=row["stopped_by"],
            reason=row["reason"],
            sweep=recorded.name,
            idle=idle,
            values={n.removeprefix(OBJECTIVES): row[n] for n in weighed if row[n] is not None},
        )
        found.append(((recorded.name, trial.number), trial))
    return found


def _report(row: dict[str, Any]) -> ReportRecord:
    metrics = {
        name.removeprefix("metrics."): value
        for name, value in row.items()
        if name.startswith("metrics.") and value is not None
    }
    plain = {name: value for name, value in row.items() if name in ReportRecord.model_fields}
    if plain.get("lanes") is None:  # only rows of trials in company have them
        plain.pop("lanes", None)
    if (sides := plain.pop("image_size", None)) is not None:
        plain["image_size"] = tuple(int(side) for side in sides.split("x"))
    low, high = (row.get(name) for name in ("above_floor_low", "above_floor_high"))
    interval = None if low is None or high is None else (low, high)
    return ReportRecord(**plain | {"metrics": metrics, "above_floor": interval})


def _intervals(
    source: Source, first: Sequence[tuple[str, int, float, float]], *, whole: bool
) -> dict[tuple[str, int], tuple[float, float]]:
    """The interval above the floor of the report that gives each trial's value, where it has one.

    whole: whether these are the values of the trials' rows, so that the rows of epochs need not be read.
    """
    view = "trials" if whole else "epochs"
    if not first or "above_floor_low" not in source.columns_of(view):
        return {}
    numbers = ", ".join(str(number) for _, number, *_ in first)
    found = source.run(
        f"SELECT experiment, trial, epoch, above_floor_low, above_floor_high FROM {view}"
        f" WHERE trial IN ({numbers}) AND above_floor_low IS NOT NULL"
    ).fetchall()
    wanted = {(name, number): epoch for name, number, _, epoch in first}
    return {
        (name, number): (low, high)
        for name, number, epoch, low, high in found
        if wanted.get((name, number)) == epoch
    }


def _standing(trial: Trial, value: float, epoch: float, above_floor: tuple[float, float] | None) -> Standing:
    report = next((report for report in trial.reports if report.epoch == epoch), None)
    metrics = report.metrics.items() if report is not None else ()
    return Standing(value, epoch, {name: v for name, v in metrics if v is not None}, above_floor)


def _scores(source: Source, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], ScoredRecord]:
    wanted = ", ".join(str(number) for _, number in keys)
    if not wanted:
        return {}
    source.columns_of("all_scores")
    found = source.run(
        f"SELECT experiment, trial, detail FROM all_scores WHERE reason IS NULL AND trial IN ({wanted})"
    ).fetchall()
    return {
        (name, number): ScoredRecord.model_validate_json(detail)
        for name, number, detail in found
        if (name, number) in keys
    }
