"""Ray's and Optuna's rules in the simulation: their own classes, and models of Optuna's that are fast.

Optuna's pruners go through all trials at each report, which would take days for all orders. The models make
the same decisions: `tests/benchmarks/test_stopping_rules.py` and `--check` compare them with the classes.
"""

from __future__ import annotations

import math
from binascii import crc32
from bisect import insort
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import optuna
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from benchmarks.stopping_rules.simulation import Answer
from tuning.scheduling.threshold import percentile

STUDY = "rules"
"""The name of the study: Optuna's Hyperband draws a trial's bracket by it."""


def _answer(*, stops: bool) -> Answer:
    return Answer.STOPS if stops else Answer.CONTINUES


class NoRest:
    """A rule whose trials never rest, and which does not look at configurations."""

    def starts(self, number: int, configuration: int) -> None:
        """Nothing is remembered."""

    def continues_next(self) -> int | None:
        """No trial rests."""
        return None


# --- Ray --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entrant:
    trial_id: str


class RayAsha(NoRest):
    """Ray Tune's own ASHA with one bracket."""

    def __init__(self, *, epochs: int, factor: float = 3.0, grace: float = 1.0) -> None:
        self._scheduler = AsyncHyperBandScheduler(
            time_attr="epoch", metric="loss", mode="min",
            max_t=epochs, grace_period=grace, reduction_factor=factor, brackets=1,
        )  # fmt: skip

    def starts(self, number: int, configuration: int) -> None:
        """Add the trial to the bracket."""
        self._scheduler.on_trial_add(None, _Entrant(str(number)))

    def reports(self, number: int, epoch: int, loss: float) -> Answer:
        """Ask Ray's scheduler."""
        result: dict[str, float] = {"epoch": epoch, "loss": loss}
        said = self._scheduler.on_trial_result(None, _Entrant(str(number)), result)
        return _answer(stops=said == TrialScheduler.STOP)

    def ends(self, number: int, epoch: int, loss: float) -> None:
        """Complete the trial; a diverged one fails, of which this scheduler takes no note."""
        if not math.isnan(loss):
            self._scheduler.on_trial_complete(None, _Entrant(str(number)), {"epoch": epoch, "loss": loss})


# --- Optuna's own pruners ---------------------------------------------------------------------


class OptunaPruner(NoRest):
    """One of Optuna's pruners in a study."""

    def __init__(self, pruner: optuna.pruners.BasePruner) -> None:
        self._study = optuna.create_study(
            study_name=STUDY, direction="minimize", pruner=pruner, sampler=optuna.samplers.RandomSampler(0)
        )
        self._trials: dict[int, optuna.Trial] = {}

    def starts(self, number: int, configuration: int) -> None:
        """Ask for a trial."""
        self._trials[number] = self._study.ask()

    def reports(self, number: int, epoch: int, loss: float) -> Answer:
        """Report, and ask whether to prune."""
        trial = self._trials[number]
        trial.report(loss, epoch)
        stops = trial.should_prune()
        if stops:
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return _answer(stops=stops)

    def ends(self, number: int, epoch: int, loss: float) -> None:
        """Tell the result; a diverged trial fails."""
        trial = self._trials[number]
        if math.isnan(loss):
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return
        trial.report(loss, epoch)
        self._study.tell(trial, loss)


def optuna_hyperband(*, epochs: int, factor: int = 3) -> OptunaPruner:
    """Optuna's Hyperband, which knows the largest number of epochs."""
    given: dict[str, Any] = {"min_resource": 1, "max_resource": epochs, "reduction_factor": factor}
    return OptunaPruner(optuna.pruners.HyperbandPruner(**given))


def optuna_median() -> OptunaPruner:
    """Optuna's median pruner with its defaults."""
    return OptunaPruner(optuna.pruners.MedianPruner())


# --- models of them ---------------------------------------------------------------------------


class HyperbandModel(NoRest):
    """The decisions of Optuna's Hyperband."""

    def __init__(self, *, epochs: int, factor: int = 3) -> None:
        self._factor = factor
        brackets = math.floor(math.log(epochs, factor)) + 1
        self._budgets = [math.ceil(brackets * factor**s / (s + 1)) for s in reversed(range(brackets))]
        self._values: dict[tuple[int, int], list[float]] = defaultdict(list)
        self._rung: dict[int, int] = defaultdict(int)

    def reports(self, number: int, epoch: int, loss: float) -> Answer:
        """Compare the loss at each rung that the trial reaches."""
        bracket = self._bracket(number)
        while epoch >= self._factor ** (bracket + self._rung[number]):
            values = self._values[bracket, self._rung[number]]
            self._rung[number] += 1
            insort(values, loss)
            if loss > values[max(0, len(values) // self._factor - 1)]:
                return Answer.STOPS
        return Answer.CONTINUES

    def ends(self, number: int, epoch: int, loss: float) -> None:
        """A trial that ended is compared with by what it reported at rungs."""

    def _bracket(self, number: int) -> int:
        drawn = crc32(f"{STUDY}_{number}".encode()) % sum(self._budgets)
        for bracket, budget in enumerate(self._budgets):
            drawn -= budget
            if drawn < 0:
                return bracket
        raise AssertionError(drawn)


class MedianModel(NoRest):
    """The decisions of Optuna's median pruner, which compares with completed trials only."""

    def __init__(self, *, startup: int = 5) -> None:
        self._startup = startup
        self._completed = 0
        self._curves: dict[int, list[float]] = defaultdict(list)
        self._best: dict[int, float] = {}
        self._values: dict[int, list[float]] = defaultdict(list)

    def reports(self, number: int, epoch: int, loss: float) -> Answer:
        """Compare the best loss so far with the median of the completed trials at this epoch."""
        self._curves[number].append(loss)
        self._best[number] = min(loss, self._best.get(number, math.inf))
        values = self._values[epoch]
        if self._completed < self._startup or not values:
            return Answer.CONTINUES
        return _answer(stops=self._best[number] > percentile(values, 50.0))

    def ends(self, number: int, epoch: int, loss: float) -> None:
        """A completed trial is compared with from now on."""
        curve = self._curves.pop(number, [])
        if math.isnan(loss):
            return
        self._completed += 1
        for at, value in enumerate([*curve, loss], start=1):
            insort(self._values[at], value)
