"""The importance of a sweep's settings, and interactions between them.

Observational, like `analysis.statistics.levels`: the search selected the trials. They are compared at one
budget, by default the epoch that every trial reached. Importance is Optuna's conditional PED-ANOVA: how
much the density of a setting among the best trials differs from its density among all (Watanabe et al.
2023; a setting that exists only under a condition is evaluated over the trials that have it). Its
significance comes from a permutation test, that of interactions from an F-test of two-way models.
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
from analysis.statistics.paired import ALPHA, Array, format_p_value, holm_adjusted
from analysis.tables import Table, percent
from trainables.specs.workload import Direction
from trainables.wording import plural
from tuning.experiment.alternative import as_scalar

if TYPE_CHECKING:
    import optuna

MAX_TRIALS = 500
"""Maximum number of trials that importance is computed from; all would take minutes."""
MIN_TRIALS = 10
"""Minimum number of trials for a result."""
BEST_SHARE = 0.1
"""Share of the trials that count as the best; at least `BEST_TRIALS`."""
BEST_TRIALS = 5
SHUFFLES = 200
BINS = 3
"""Bins of a setting with many numeric values, in a two-way model."""
SPARE = 5
"""Residual degrees of freedom that a two-way model must keep."""


@dataclass(frozen=True)
class Importance:
    """The importance of one setting, as its share of the total."""

    setting: str
    share: float
    """All shares sum to 1, or all are 0."""
    trials: int
    """Trials that have the setting."""
    p: float
    """Of the permutation test, adjusted over the settings (Holm)."""

    @property
    def significant(self) -> bool:
        """Whether the adjusted p is at most `ALPHA`."""
        return self.p <= ALPHA


@dataclass(frozen=True)
class Importances:
    """The importance of all settings, the most important first."""

    sweep: str
    objective: Objective
    epoch: float
    trials: int
    best: int
    """The number of best trials that were compared with all."""
    left_out: int
    """Trials without a value at that epoch, or outside of the space."""
    among: int
    """Trials with a value at that epoch; at most `MAX_TRIALS` of them are used."""
    settings: tuple[Importance, ...]


@dataclass(frozen=True)
class Interaction:
    """The test of whether the effect of one setting depends on another."""

    first: str
    second: str
    trials: int
    p: float
    """Of the F-test, adjusted over all pairs (Holm)."""
    gain: float
    """Share of the variance that the interaction explains beyond both main effects."""

    @property
    def significant(self) -> bool:
        """Whether the adjusted p is at most `ALPHA`."""
        return self.p <= ALPHA


def importances(sweep: Sweep, *, metric: str | None = None, at: float | None = None) -> Importances:
    """Compute the PED-ANOVA importance of the settings that the sweep varies, at equal budget.

    Of more than `MAX_TRIALS` trials with a value, an evenly spread sample is used. at: the epoch; by
    default the one that all trials reached. Raises NothingToRankError for fewer than `MIN_TRIALS`
    trials or values that are all equal, QueryError for an unknown metric.
    """
    objective, epoch, standings, among = _at_equal_budget(sweep, metric, at)
    trials, y = [trial for trial, _ in standings], np.array([value for _, value in standings])
    rows, distributions = _optuna_params(sweep, trials)
    kept = [place for place, row in enumerate(rows) if row is not None]
    if len(kept) < MIN_TRIALS:
        raise _too_few(sweep, len(kept), epoch)
    given = [row for row in rows if row is not None]
    y = y[kept]
    best = min(len(y) - 1, max(BEST_TRIALS, int(np.ceil(BEST_SHARE * len(y)))))
    study = _study(given, distributions)
    seen = _ped_anova(study, y, objective.direction, best)
    names = list(seen)
    rng = np.random.default_rng(0)
    # Enough for Holm's smallest possible p to be below ALPHA.
    shuffles = max(SHUFFLES, round(2 * len(names) / ALPHA))
    by_chance = [_ped_anova(study, rng.permutation(y), objective.direction, best) for _ in range(shuffles)]
    p = holm_adjusted(
        [(1 + sum(draw[name] >= seen[name] for draw in by_chance)) / (1 + shuffles) for name in names]
    )
    total = sum(seen.values())
    having = Counter(name for row in given for name in _setting_names(row))
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
    """Test the interaction of each pair of settings that were tried together often enough, smallest p first.

    A pair is tested on the trials that have both settings. Raises as `importances`.
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
    adjusted = holm_adjusted([one.p for one in found])
    tests = (replace(one, p=p) for one, p in zip(found, adjusted, strict=True))
    return tuple(sorted(tests, key=lambda one: (one.p, -one.gain)))


def _at_equal_budget(
    sweep: Sweep, metric: str | None, at: float | None
) -> tuple[Objective, float, tuple[tuple[Trial, float], ...], int]:
    """The objective, the epoch, the trials that are used with their values, and how many trials have one."""
    objective = sweep.objective_for(metric)
    epoch = at if at is not None else common_epoch(sweep.trials)
    if epoch is None:
        raise NothingToRankError(f"{sweep.name}: no trial has ended yet, so importance cannot be computed")
    values = [
        (trial, standing.value)
        for trial in sweep.trials
        if trial.comparable and (standing := trial.standing_at(objective, epoch)) is not None
    ]
    if len(values) < MIN_TRIALS:
        raise _too_few(sweep, len(values), epoch)
    if np.ptp([value for _, value in values]) == 0:
        raise NothingToRankError(
            f"{sweep.name}: all {len(values)} trials have the same {objective.metric} at epoch {epoch:g},"
            " so no setting made a difference"
        )
    return objective, epoch, spread(values, MAX_TRIALS), len(values)


def _too_few(sweep: Sweep, trials: int, epoch: float) -> NothingToRankError:
    return NothingToRankError(
        f"{sweep.name}: {plural(trials, 'trial')} with a value at epoch {epoch:g}; importance needs at"
        f" least {MIN_TRIALS}. Run more trials, or choose an epoch that more of them reached"
    )


# --- PED-ANOVA --------------------------------------------------------------------------------


def _optuna_params(
    sweep: Sweep, trials: Sequence[Trial]
) -> tuple[list[dict[str, Any] | None], dict[str, Any]]:
    """The settings of each trial under Optuna's parameter names, and the distributions of these names.

    None for a trial outside of the space, such as a configuration of `search.first`. Lists become text,
    because Optuna's importance looks choices up by their hash.
    """
    from tuning.search.distributions import as_asked, with_scalars

    distributions: dict[str, Any] = {}
    rows: list[dict[str, Any] | None] = []
    for trial in trials:
        params, faults = sweep.experiment.space.locate(trial.params)
        rows.append(None if faults else as_asked(sweep.experiment.space, params, distributions))
    return (
        [row and {name: as_scalar(value) for name, value in row.items()} for row in rows],
        {name: with_scalars(distribution) for name, distribution in distributions.items()},
    )


def _setting_names(names: Iterable[str]) -> set[str]:
    """The settings: Optuna's parameter names without their conditions."""
    return {name.split("@")[0] for name in names}


def _study(rows: Sequence[Mapping[str, Any]], distributions: Mapping[str, Any]) -> optuna.Study:
    """A study of the trials with placeholder values; `_ped_anova` passes the values to use."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns of list choices, which work in memory, as here
        study.add_trials(
            optuna.trial.create_trial(
                params=dict(row), distributions={name: distributions[name] for name in row}, value=0.0
            )
            for row in rows
        )
    return study


def _ped_anova(study: optuna.Study, values: Array, direction: Direction, best: int) -> dict[str, float]:
    """Optuna's importance by setting, not normalised; summed over the setting's conditional domains.

    values: of the study's trials, in their order.
    """
    import optuna

    falling = direction.sign * values
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=best / len(values))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns that lower is better, as it is in `falling`
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
    """p and gain of the interaction; None if the trials cannot separate it from the main effects."""
    import statsmodels.api as sm

    if len(values) <= SPARE or len(set(first)) < 2 or len(set(second)) < 2 or np.ptp(values) == 0:
        return None
    a, b = _dummies(first), _dummies(second)
    cells = np.einsum("ni,nj->nij", a, b).reshape(len(values), -1)
    ones = np.ones((len(values), 1))
    with warnings.catch_warnings():
        # A setting may exist only under the other one: the model is then rank-deficient, which is handled.
        warnings.simplefilter("ignore")
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
    """One row per setting, the most important first."""
    rows = tuple(
        (
            one.setting,
            f"{one.share:.2f}",
            str(one.trials),
            format_p_value(one.p),
            "yes" if one.significant else "no",
        )
        for one in found.settings
    )
    caption = (
        f"observational: the search selected the trials. PED-ANOVA of {found.objective.metric} on"
        f" validation images at epoch {found.epoch:g}: the best {found.best} of"
        f" {plural(found.trials, 'trial')} compared with all;"
        " p: permutation test, Holm-adjusted over the settings"
    )
    if found.left_out:
        caption += f". Excluded: {plural(found.left_out, 'trial')} without a value at that epoch"
    if found.among > MAX_TRIALS:
        caption += f". Computed from {MAX_TRIALS} of {plural(found.among, 'trial')}, evenly sampled"
    return Table(
        f"{found.sweep}: importance for {found.objective.metric} (observational)",
        ("setting", "importance", "trials", "p", "significant"),
        rows,
        caption,
        numeric=(1, 2),
    )


def interaction_table(found: Importances, pairs: Sequence[Interaction]) -> Table:
    """One row per significant interaction, the smallest p first; no row if there is none."""
    rows = tuple(
        (f"{pair.first} × {pair.second}", str(pair.trials), format_p_value(pair.p), percent(pair.gain))
        for pair in pairs
        if pair.significant
    )
    return Table(
        f"{found.sweep}: interactions of settings (observational)",
        ("pair", "trials", "p", "variance explained"),
        rows,
        f"F-test of the interaction in a two-way model of {found.objective.metric} on validation images at"
        f" epoch {found.epoch:g}; p is Holm-adjusted over the {plural(len(pairs), 'pair')} that could be"
        " tested",
        numeric=(1, 2, 3),
    )


def no_interaction(pairs: Sequence[Interaction]) -> str | None:
    """The sentence instead of an empty table; None if a pair is significant or none could be tested."""
    if not pairs or any(pair.significant for pair in pairs):
        return None
    return f"No significant interaction in {plural(len(pairs), 'pair')} of settings."


def importance_json(found: Importances, pairs: Sequence[Interaction]) -> dict[str, JsonValue]:
    """Importance and interactions for JSON; `shown` means significant."""
    return {
        "experiment": found.sweep,
        "metric": found.objective.metric,
        "epoch": found.epoch,
        "trials": found.trials,
        "best": found.best,
        "left_out": found.left_out,
        "among": found.among,
        "observational": True,
        "settings": [{**asdict(one), "shown": one.significant} for one in found.settings],
        "interactions": [{**asdict(pair), "shown": pair.significant} for pair in pairs],
    }
