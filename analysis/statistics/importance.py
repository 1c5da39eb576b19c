"""Which settings a sweep's good trials owe their place to, and which of them act together. No ray, no torch.

Observational, like `analysis.statistics.levels`: the search chose the trials. They are compared at one
budget, by default the one that every trial reached. Importance is Optuna's conditional PED-ANOVA: how much
the density of a setting among the best trials differs from that among all (Watanabe et al. 2023; a
setting that exists only under others counts by the trials that have it). What chance alone gives is
found by handing the values out anew; interactions by an F-test of two-way models.
"""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import JsonValue

from analysis.errors import NothingToRankError
from analysis.query.sweep import Objective, Sweep, Trial, spread
from analysis.ranking.by_adapter import common_epoch
from analysis.statistics.levels import level_names
from analysis.statistics.paired import ALPHA, Array, holm, p_value
from analysis.tables import Table, percent, plural
from trainables.specs.workload import Direction
from tuning.experiment.space import scalar

if TYPE_CHECKING:
    import optuna

WEIGHED = 500
"""Trials that importance is worked out from, where there are more; all would take minutes."""
FEWEST = 10
"""Trials below which nothing is said."""
BEST_SHARE = 0.1
"""Of the trials, those whose settings are held against the rest; of few trials at least `BEST_TRIALS`."""
BEST_TRIALS = 5
SHUFFLES = 200
BINS = 3
"""Of a setting with many numbers, in a two-way model."""
SPARE = 5
"""Trials that a two-way model must leave beyond its cells."""


@dataclass(frozen=True)
class Importance:
    """One setting's share of what separates the best trials from the others."""

    setting: str
    share: float
    """All shares sum to 1, or are 0."""
    trials: int
    """Trials that have the setting."""
    p: float
    """How often values handed out at random give as much, adjusted over the settings (Holm)."""

    @property
    def shown(self) -> bool:
        """Whether it is more than chance gives."""
        return self.p <= ALPHA


@dataclass(frozen=True)
class Importances:
    """All settings, the most important first."""

    sweep: str
    objective: Objective
    epoch: float
    trials: int
    best: int
    """Trials that were held against the others."""
    left_out: int
    """Trials without a value at that epoch, or outside of the space."""
    among: int
    """Trials with a value there; of more than `WEIGHED` so many are weighed."""
    settings: tuple[Importance, ...]


@dataclass(frozen=True)
class Interaction:
    """Whether one setting's effect depends on another, beyond the sum of both."""

    first: str
    second: str
    trials: int
    p: float
    """Of the F-test, adjusted over all pairs (Holm)."""
    gain: float
    """Share of the values' variance that the interaction explains beyond the sum."""

    @property
    def shown(self) -> bool:
        """Whether it is more than chance gives."""
        return self.p <= ALPHA


def importances(sweep: Sweep, *, metric: str | None = None, at: float | None = None) -> Importances:
    """PED-ANOVA importance of the settings that the sweep varies, at equal budget.

    Of more than `WEIGHED` trials with a value so many are weighed, spread evenly over them. at: the
    epoch; that which all trials reached when absent. Raises NothingToRankError for fewer than
    `FEWEST` trials or values that are all the same, QueryError for an unknown metric.
    """
    objective, epoch, standings, among = _at_equal_budget(sweep, metric, at)
    trials, y = [trial for trial, _ in standings], np.array([value for _, value in standings])
    rows, distributions = _asked(sweep, trials)
    kept = [place for place, row in enumerate(rows) if row is not None]
    if len(kept) < FEWEST:
        raise _too_few(sweep, len(kept), epoch)
    given = [row for row in rows if row is not None]
    y = y[kept]
    best = min(len(y) - 1, max(BEST_TRIALS, int(np.ceil(BEST_SHARE * len(y)))))
    study = _study(given, distributions)
    seen = _ped_anova(study, y, objective.direction, best)
    names = list(seen)
    rng = np.random.default_rng(0)
    # Enough of them that Holm's smallest p stays under ALPHA.
    shuffles = max(SHUFFLES, round(2 * len(names) / ALPHA))
    by_chance = [_ped_anova(study, rng.permutation(y), objective.direction, best) for _ in range(shuffles)]
    p = holm([(1 + sum(draw[name] >= seen[name] for draw in by_chance)) / (1 + shuffles) for name in names])
    total = sum(seen.values())
    having = Counter(name for row in given for name in _plain(row))
    found = [
        Importance(name, seen[name] / total if total > 0 else 0.0, having[name], p[place])
        for place, name in enumerate(names)
    ]
    left = len(sweep.trials) - among + len(trials) - len(kept)
    found.sort(key=lambda one: (-one.share, one.setting))
    return Importances(sweep.name, objective, epoch, len(y), best, left, among, tuple(found))


def interactions(
    sweep: Sweep, *, metric: str | None = None, at: float | None = None
) -> tuple[Interaction, ...]:
    """Every pair of settings whose levels were tried together often enough, the smallest p first.

    Of a pair only trials that have both. Raises as `importances`.
    """
    _, _, standings, _ = _at_equal_budget(sweep, metric, at)
    found = []
    for first, second in itertools.combinations(sweep.varied(), 2):
        both = [
            (trial, value)
            for trial, value in standings
            if trial.config.get(first) is not None and trial.config.get(second) is not None
        ]
        tested = _two_way(
            level_names([trial.config[first] for trial, _ in both], many=BINS, bins=BINS),
            level_names([trial.config[second] for trial, _ in both], many=BINS, bins=BINS),
            np.array([value for _, value in both]),
        )
        if tested is not None:
            found.append(Interaction(first, second, len(both), *tested))
    adjusted = holm([one.p for one in found])
    judged = (replace(one, p=p) for one, p in zip(found, adjusted, strict=True))
    return tuple(sorted(judged, key=lambda one: (one.p, -one.gain)))


def _at_equal_budget(
    sweep: Sweep, metric: str | None, at: float | None
) -> tuple[Objective, float, tuple[tuple[Trial, float], ...], int]:
    """The objective, the epoch, the trials that are weighed with their values, and of how many."""
    objective = sweep.objective_for(metric)
    epoch = at if at is not None else common_epoch(sweep.trials)
    if epoch is None:
        raise NothingToRankError(f"{sweep.name}: no trial has ended yet, so no setting can be weighed")
    values = [
        (trial, standing.value)
        for trial in sweep.trials
        if trial.comparable and (standing := trial.standing(objective, epoch)) is not None
    ]
    if len(values) < FEWEST:
        raise _too_few(sweep, len(values), epoch)
    if np.ptp([value for _, value in values]) == 0:
        raise NothingToRankError(
            f"{sweep.name}: all {len(values)} trials have the same {objective.metric} at epoch {epoch:g},"
            " so no setting made a difference"
        )
    return objective, epoch, spread(values, WEIGHED), len(values)


def _too_few(sweep: Sweep, trials: int, epoch: float) -> NothingToRankError:
    return NothingToRankError(
        f"{sweep.name}: {plural(trials, 'trial')} with a value at epoch {epoch:g}; weighing settings takes"
        f" {FEWEST}. Run more trials, or ask at an epoch that more of them reached"
    )


# --- PED-ANOVA --------------------------------------------------------------------------------


def _asked(sweep: Sweep, trials: Sequence[Trial]) -> tuple[list[dict[str, Any] | None], dict[str, Any]]:
    """Each trial's settings by the names that Optuna was asked for, and those names' distributions.

    None for one outside of the space, such as a configuration of `search.first`. Lists are text, as
    Optuna's importance looks choices up by their hash.
    """
    from tuning.search.distributions import as_asked, with_scalars

    distributions: dict[str, Any] = {}
    rows: list[dict[str, Any] | None] = []
    for trial in trials:
        params, faults = sweep.experiment.space.locate(trial.params)
        rows.append(None if faults else as_asked(sweep.experiment.space, params, distributions))
    return (
        [row and {name: scalar(value) for name, value in row.items()} for row in rows],
        {name: with_scalars(distribution) for name, distribution in distributions.items()},
    )


def _plain(names: Iterable[str]) -> set[str]:
    """Settings: the names without the conditions under which they were asked for."""
    return {name.split("@")[0] for name in names}


def _study(rows: Sequence[Mapping[str, Any]], distributions: Mapping[str, Any]) -> optuna.Study:
    """Trials without a value that counts: those come with each question."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lists as choices are for studies in memory only, as this one is
        study.add_trials(
            optuna.trial.create_trial(
                params=dict(row), distributions={name: distributions[name] for name in row}, value=0.0
            )
            for row in rows
        )
    return study


def _ped_anova(study: optuna.Study, values: Array, direction: Direction, best: int) -> dict[str, float]:
    """Optuna's importance by setting, not normalised; the sum over its domains under different conditions.

    values: of the study's trials, in their order.
    """
    import optuna

    falling = direction.sign * values
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=best / len(values))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that less is better, as it is in `falling`
        raw = optuna.importance.get_param_importances(
            study, evaluator=evaluator, target=lambda trial: float(falling[trial.number]), normalize=False
        )
    sums: dict[str, float] = {}
    for name, value in raw.items():
        plain = name.split("@")[0]
        sums[plain] = sums.get(plain, 0.0) + float(value)
    return sums


# --- interactions -----------------------------------------------------------------------------


def _two_way(first: Sequence[str], second: Sequence[str], values: Array) -> tuple[float, float] | None:
    """p and gain of the interaction; None where the trials do not tell it from the sum of both effects."""
    import statsmodels.api as sm

    if len(values) <= SPARE or len(set(first)) < 2 or len(set(second)) < 2 or np.ptp(values) == 0:
        return None
    a, b = _dummies(first), _dummies(second)
    cells = np.einsum("ni,nj->nij", a, b).reshape(len(values), -1)
    ones = np.ones((len(values), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one setting may exist under the other alone: its rank counts
        plain = sm.OLS(values, np.hstack([ones, a[:, 1:], b[:, 1:]])).fit()
        whole = sm.OLS(values, cells[:, cells.any(axis=0)]).fit()
    if whole.df_resid < SPARE or whole.df_resid >= plain.df_resid or whole.ssr <= 1e-12 * plain.ssr:
        return None
    _, p, _ = whole.compare_f_test(plain)
    gain = (plain.ssr - whole.ssr) / float(((values - values.mean()) ** 2).sum())
    return float(p), float(gain)


def _dummies(names: Sequence[str]) -> Array:
    levels = list(dict.fromkeys(names))
    return np.array([[name == level for level in levels] for name in names], np.float64)


# --- tables -----------------------------------------------------------------------------------


def importance_table(found: Importances) -> Table:
    """One row a setting, the most important first."""
    rows = tuple(
        (one.setting, f"{one.share:.2f}", str(one.trials), p_value(one.p), "yes" if one.shown else "no")
        for one in found.settings
    )
    caption = (
        f"observational: the search chose the trials. PED-ANOVA of {found.objective.metric} on"
        f" validation images at epoch {found.epoch:g}: the best {found.best} of"
        f" {plural(found.trials, 'trial')} against all;"
        " p: how often values handed out at random give as much (Holm over the settings)"
    )
    if found.left_out:
        caption += f". {plural(found.left_out, 'trial')} without a value there left out"
    if found.among > WEIGHED:
        caption += f". {WEIGHED} of {found.among:,} trials, spread evenly"
    return Table(
        f"{found.sweep}: importance for {found.objective.metric} (observational)",
        ("setting", "importance", "trials", "p", "more than chance"),
        rows,
        caption,
        numeric=(1, 2),
    )


def interaction_table(found: Importances, pairs: Sequence[Interaction]) -> Table:
    """One row for each pair that is shown to act together, the surest first; empty where none is."""
    rows = tuple(
        (f"{pair.first} × {pair.second}", str(pair.trials), p_value(pair.p), percent(pair.gain))
        for pair in pairs
        if pair.shown
    )
    return Table(
        f"{found.sweep}: settings that act together (observational)",
        ("pair", "trials", "p", "variance explained"),
        rows,
        f"F-test of the interaction in a two-way model of {found.objective.metric} on validation images"
        f" at epoch {found.epoch:g}; of {plural(len(pairs), 'pair')} that could be tested (Holm over them)",
        numeric=(1, 2, 3),
    )


def no_interaction(pairs: Sequence[Interaction]) -> str | None:
    """The sentence that stands for an empty table; None where a pair is shown, or none could be tested."""
    if not pairs or any(pair.shown for pair in pairs):
        return None
    return f"Of {plural(len(pairs), 'pair')} of settings none is shown to act together."


def importance_json(found: Importances, pairs: Sequence[Interaction]) -> dict[str, JsonValue]:
    """The same for programs; `shown` says whether it is more than chance gives."""
    return {
        "experiment": found.sweep,
        "metric": found.objective.metric,
        "epoch": found.epoch,
        "trials": found.trials,
        "best": found.best,
        "left_out": found.left_out,
        "among": found.among,
        "observational": True,
        "settings": [{**asdict(one), "shown": one.shown} for one in found.settings],
        "interactions": [{**asdict(pair), "shown": pair.shown} for pair in pairs],
    }
