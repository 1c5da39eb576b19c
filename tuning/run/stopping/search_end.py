"""The end of a search before its number of trials: decided from the record alone, and recorded first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tuning.experiment.sections.search_stop import TerminatorSpec
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.outcomes import RAN_TO_END, Outcome, SearchEndedBy
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import SearchEndedRecord
from tuning.ranking.order import recorded_entry, sort_key
from tuning.ranking.policy import live_policy

TRIED = frozenset({*RAN_TO_END, Outcome.PRUNED, Outcome.STOPPED, Outcome.DIVERGED})
"""Outcomes of trials that say something about their configurations: a machine that fails says nothing."""

Found = tuple[SearchEndedBy, str]


class SearchEnd:
    """An `EndOfSearch`. The study asks before each proposal.

    Trials that run go to their end: what they have trained would be lost otherwise.
    """

    def __init__(self, experiment: Experiment, recorder: Recorder) -> None:
        self._experiment = experiment
        self._recorder = recorder
        self._looked = 0
        """How many trials had ended when it was last asked whether the search is to stop by itself."""

    def reached(self) -> SearchEndedBy | None:
        """Why the search has ended. Records it when it is found out."""
        history = self._recorder.history
        if history.search_ended is None and (found := self._found(history)) is not None:
            by, reason = found
            self._recorder.record(
                SearchEndedRecord(by=by, reason=reason, trials=len(history.trials), epochs=history.epochs_run)
            )
        ended = self._recorder.history.search_ended
        return None if ended is None else ended.by

    def _found(self, history: History) -> Found | None:
        search = self._experiment.search
        if search.epochs is not None and (ran := history.epochs_run) >= search.epochs:
            return SearchEndedBy.EPOCHS, f"the budget of {search.epochs} epochs is used up ({ran:g} were run)"
        stop, number = search.stop, len(history.ends)
        if stop is None or number == self._looked:
            return None
        self._looked = number
        ended = [trial for n in history.ends if (trial := history.trials[n]).outcome in TRIED]
        if stop.terminator is not None:
            return self._little_is_left(stop.terminator, ended, since=history.extended_at)
        assert stop.after is not None
        return self._without_gain(stop.after, stop.gain or 0.0, ended, since=history.extended_at)

    def _without_gain(
        self, after: int, gain: float, ended: Sequence[TrialHistory], *, since: int
    ) -> Found | None:
        """Whether the last `after` trials to end have brought no gain. since: the first trial that counts."""
        if _new(ended, since) < after or len(ended) <= after:
            return None
        best = self._best()
        before, now = best(ended[:-after]), best(ended)
        if before is None or now is None or abs(now - before) > gain:
            return None
        metric = self._experiment.objective.metric
        reason = f"no gain above {gain:g} in the last {after} trials (best {metric} {now:.4f}"
        return SearchEndedBy.GAIN, f"{reason}, {before:.4f} before)"

    def _little_is_left(
        self, spec: TerminatorSpec, ended: Sequence[TrialHistory], *, since: int
    ) -> Found | None:
        """Whether the regret is below what is worth more trials."""
        of, whole = self._experiment, [trial for trial in ended if trial.outcome in RAN_TO_END]
        valued = [trial for trial in whole if trial.value is not None and math.isfinite(trial.value)]
        if _new(valued, since) < spec.trials:
            return None
        from tuning.search.regret_bound import regret_bound  # torch

        left = regret_bound(of.space, valued, of.workload.direction, seed=of.search.seed)
        if left > spec.gain:
            return None
        return (
            SearchEndedBy.TERMINATOR,
            f"at most {left:.3g} is left to gain by Optuna's regret bound, and search.stop.terminator.gain is"
            f" {spec.gain:g}",
        )

    def _best(self) -> Callable[[Sequence[TrialHistory]], float | None]:
        """The value of the best of some trials, as the live table has it."""
        workload = self._experiment.workload
        key_of = sort_key(live_policy(workload.objective.value), workload.direction)

        def best(trials: Sequence[TrialHistory]) -> float | None:
            ranked = [(key, t.value) for t in trials if (key := key_of(recorded_entry(t))) is not None]
            return min(ranked)[1] if ranked else None

        return best


def _new(trials: Sequence[TrialHistory], since: int) -> int:
    return sum(trial.number >= since for trial in trials)
