"""Which configuration to try next: Optuna's samplers over our space, by ask and tell.

A proposal is a function of the trials so far, the seed and the trial's number: each ask builds a new
sampler with its own seed. So a study that is rebuilt from the ledger proposes what the first one would
have proposed. What a sampler of Optuna notes for its later draws is part of the proposal, which the ledger
records before it acts. The study is kept in memory only; the ledger is on disk.

How trials end for Optuna: completed and early-stopped trials are COMPLETE; trials stopped by the scheduler
or the user are PRUNED, with their last report as value; diverged and failed trials are FAIL, which samplers
ignore. NaN never reaches Optuna.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState
from pydantic import JsonValue

from trainables.specs.workload import Direction
from tuning.experiment.goals import Goals
from tuning.experiment.sections.search import SearchSpec
from tuning.experiment.space import Space, config_hash
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.outcomes import Outcome, SearchEndedBy
from tuning.ledger.parent import Parent
from tuning.ledger.records import AddedRecord, SamplerAttributes, WarmStartRecord
from tuning.search.distributions import as_asked
from tuning.search.end_of_search import EndOfSearch
from tuning.search.gapless_storage import GaplessStorage
from tuning.search.proposal import NoProposal, Proposal, propose_again
from tuning.search.resting_trials import RestingTrials
from tuning.search.samplers.counted_trials import EARLIER, ENDED
from tuning.search.samplers.draw import Draw
from tuning.search.samplers.registry import ASKS, NOTING, build_sampler, list_configurations
from tuning.search.told import TOLD, Told, steps_of

MOST_ASKS = 10
"""How often the sampler is asked for a configuration that was not tried yet."""
RANDOM_ASKS = 100
"""How many configurations are drawn at random after those."""
ENUMERABLE = 10_000
"""The largest space in which an untried configuration is searched for by listing all configurations."""

_FIXED = "fixed_params"
"""Optuna's own attribute of trials whose settings are given."""


class Study:
    """Proposes configurations and learns from their results.

    goals: what is weighed; without them one objective, whose direction is `direction`.
    """

    def __init__(
        self,
        space: Space,
        search: SearchSpec,
        *,
        name: str,
        direction: Direction,
        trials: int | None,
        goals: Goals | None = None,
        history: History | None = None,
        earlier: Sequence[WarmStartRecord] = (),
        resting: RestingTrials | None = None,
        paused: Callable[[], Collection[int | None]] = frozenset,
        end: EndOfSearch | None = None,
        asks: int | None = None,
        random_asks: int = RANDOM_ASKS,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._search = search
        self._trials = trials
        self._resting = resting
        self._paused = paused
        self._end = end
        self._asks = asks or ASKS.get(search.algorithm, MOST_ASKS)
        self._random_asks = random_asks
        self._size = space.size()
        self._listed = list_configurations(search, space)
        self._storage = GaplessStorage()
        self._told = Told(goals or Goals.one(direction))
        self.optuna = optuna.create_study(
            storage=self._storage,
            study_name=name,
            directions=self._told.directions,
            sampler=RandomSampler(seed=search.seed),
        )
        self._notes = search.algorithm in NOTING and not self._unreplayable
        self._noted: dict[str, JsonValue] = {}
        self._kept: BaseSampler | None = None
        self._spare: int | None = None
        self._ends = 0
        self._asked: dict[int, optuna.Trial] = {}
        self._tried: dict[str, int] = {}
        self._children: dict[str, int] = {}
        """Trials that begin with another one, by the hash of configuration and parent."""
        self._reported: dict[int, int] = {}
        self._results: dict[int, bool] = {}
        self._distributions: dict[str, BaseDistribution] = {}
        self._next = 0
        self._unfinished: dict[int, TrialHistory] = {}
        self._added = list(history.added) if history else []
        for record in earlier:
            self._learn(record)
        if history is not None:
            self._remember_all(history)
        self._fixed = self._fixed_params()

    # --- asking -------------------------------------------------------------------------------

    def propose(self) -> Proposal | NoProposal:
        """Return the next configuration to try."""
        paused = self._paused()
        if None in paused:
            return NoProposal.FINISHED
        if waiting := [number for number in self._unfinished if number not in paused]:
            trial = self._unfinished.pop(min(waiting))
            return propose_again(trial)
        while self._added:
            added = self._added.pop(0)
            if added.hash not in self._tried and added.hash not in self._children:
                return self._take(*self._ask_for(added.params), added=added)
        ended = None if self._end is None else self._end.reached()
        if ended is SearchEndedBy.EPOCHS:  # for trials that rest, too
            return NoProposal.FINISHED
        if (rested := self._rested(none_left=False)) is not None:
            return rested
        found = NoProposal.FINISHED if ended is not None else self._propose_new()
        if isinstance(found, Proposal) or self._resting is None:
            return found
        if (rested := self._rested(none_left=True)) is not None:
            return rested
        # It may not wait for the result of a trial that rests while no other runs.
        waits = found is NoProposal.WAIT and len(self._asked) > len(self._resting)
        return NoProposal.WAIT if waits else NoProposal.FINISHED

    def _rested(self, *, none_left: bool) -> Proposal | None:
        """A trial that rested and continues."""
        trial = None if self._resting is None else self._resting.take(none_left=none_left)
        return None if trial is None else propose_again(trial)

    def _propose_new(self) -> Proposal | NoProposal:
        if self._trials is not None and self._next >= self._trials:
            return NoProposal.FINISHED
        for params in self._fixed:  # an iterator: each is considered once
            if config_hash(params) not in self._tried:
                return self._take(*self._ask_for(params))
        if self._listed is not None or self._exhausted():
            return NoProposal.FINISHED
        return self._sample()

    @property
    def continues(self) -> bool:
        """Whether trials wait that may run, or configurations of users."""
        return bool(self._added or self._unfinished.keys() - self._paused())

    @property
    def left(self) -> int | None:
        """How many trials are still to be proposed; None if their number is not limited."""
        new = [] if self._trials is None else [self._trials - self._next]
        new += [] if self._size is None else [self._size - len(self._tried)]
        rest = 0 if self._resting is None else len(self._resting)
        return max(0, min(new)) + len(self._unfinished) + rest if new else None

    def add(self, record: AddedRecord) -> None:
        """Propose a user's configuration before any other new one, as one more trial."""
        self._added.append(record)
        if self._trials is not None:
            self._trials += 1

    def propose_again(self, trial: TrialHistory) -> None:
        """Propose a trial again, under its own number, before any new one: it has lost its worker."""
        self._unfinished[trial.number] = trial

    def _sample(self) -> Proposal | NoProposal:
        number, before = self._next, self._attributes()
        for attempt in range(self._asks + self._random_asks):
            trial, params = self._ask(self._sampler(number, attempt))
            if config_hash(params) not in self._tried:
                return self._take(trial, params)
            if attempt == self._asks - 1 and (untried := self._untried(number)) is not None:
                self._discard(trial)
                return self._take(*self._ask_for(untried))
            self._discard(trial)
        repeated = self._tried[config_hash(params)]
        if repeated not in self._results:
            # It may be asked any number of times before that trial ends, so nothing is left of this time.
            self._storage.restore_attributes(self.optuna._study_id, before)
            return NoProposal.WAIT
        self._next += 1
        return Proposal(
            number, params, config_hash(params), reuses=repeated, sampler=self._what_was_noted(None)
        )

    def _ask(self, sampler: BaseSampler) -> tuple[optuna.Trial, dict[str, JsonValue]]:
        self.optuna.sampler, self._spare = sampler, None
        trial = self.optuna.ask()
        return trial, self._space.suggest(trial)

    def _ask_for(self, params: Mapping[str, JsonValue]) -> tuple[optuna.Trial, dict[str, JsonValue]]:
        given = as_asked(self._space, params, self._distributions)
        if self._spare is None:
            self.optuna.enqueue_trial(given)
        else:  # it would be asked for first
            self._storage.set_trial_system_attr(self._spare, _FIXED, given)
        return self._ask(RandomSampler(seed=self._search.seed))

    def _take(
        self, trial: optuna.Trial, params: Mapping[str, JsonValue], *, added: AddedRecord | None = None
    ) -> Proposal:
        number, self._next = self._next, self._next + 1
        parent = None if added is None else added.parent
        key = config_hash(params) if added is None else added.hash
        self._asked[number] = trial
        self._note_as_tried(number, key, parent)
        return Proposal(number, dict(params), key, sampler=self._what_was_noted(trial), parent=parent)

    def _note_as_tried(self, number: int, key: str, parent: Parent | None) -> None:
        """A configuration that began with another trial's weights is still to be tried without them."""
        (self._tried if parent is None else self._children).setdefault(key, number)

    def _discard(self, trial: optuna.Trial) -> None:
        # A trial that stays RUNNING would repel the sampler from the best region.
        self._storage.recycle(trial._trial_id)
        self._spare = trial._trial_id

    def _attributes(self) -> dict[str, JsonValue]:
        return dict(self._storage.get_study_system_attrs(self.optuna._study_id))

    def _what_was_noted(self, trial: optuna.Trial | None) -> SamplerAttributes | None:
        """What the sampler noted of this trial, and what is new of the study."""
        if not self._notes:
            return None
        now = self._attributes()
        new = {key: value for key, value in now.items() if self._noted.get(key) != value}
        self._noted = now
        own = {} if trial is None else self._storage.get_trial_system_attrs(trial._trial_id)
        own = {key: value for key, value in own.items() if key != _FIXED}
        return SamplerAttributes(trial=own, study=new) if own or new else None

    @property
    def _unreplayable(self) -> bool:
        return self._search.optuna is not None and not self._search.optuna.replayable

    def _sampler(self, number: int, attempt: int) -> BaseSampler:
        seed = int(np.random.SeedSequence([self._search.seed, number, attempt]).generate_state(1)[0])
        if attempt >= self._asks:
            return RandomSampler(seed=seed)
        if self._kept is not None:
            return self._kept
        sampler = build_sampler(self._search, Draw(seed, self.optuna, self._space, self._search.seed))
        if self._unreplayable:  # it may remember what it drew
            self._kept = sampler
        return sampler

    def _fixed_params(self) -> Iterator[dict[str, JsonValue]]:
        for params in self._search.first:
            yield self._space.locate(params)[0]
        yield from self._listed or ()

    def _exhausted(self) -> bool:
        return self._size is not None and len(self._tried) >= self._size

    def _untried(self, number: int) -> dict[str, JsonValue] | None:
        if self._size is None or self._size > ENUMERABLE:
            return None
        left = [params for params in self._space.grid() if config_hash(params) not in self._tried]
        if not left:
            return None
        return left[np.random.default_rng([self._search.seed, number]).integers(len(left))]

    # --- telling ------------------------------------------------------------------------------

    def report(self, number: int, epoch: float, value: float) -> None:
        """Report a running objective, once for each of Optuna's steps, which are thousandths of an epoch."""
        step = round(epoch * 1000)
        if self._told.several:  # Optuna takes no intermediate values then
            return
        if math.isfinite(value) and number in self._asked and step > self._reported.get(number, -1):
            self._asked[number].report(value, step=step)
            self._reported[number] = step

    def tell(
        self,
        number: int,
        outcome: Outcome,
        value: float | None,
        reason: str | None = None,
        *,
        values: Mapping[str, float] | None = None,
    ) -> None:
        """Tell Optuna how a trial ended. values: see `EndedRecord`."""
        self._results[number] = value is not None
        self._unfinished.pop(number, None)
        trial = self._asked.pop(number, None)
        state = TOLD.get(outcome)
        if trial is None or state is None:
            return
        trial.set_user_attr("trial", number)
        trial.set_user_attr(ENDED, self._ends)
        self._ends += 1
        if reason is not None:
            trial.set_user_attr("reason", reason)
        end = self._told.of(state, value, values or {})
        for name, violation in end.constraints.items():
            trial.set_constraint(name, violation)
        for name, attribute in end.attributes.items():
            trial.set_user_attr(name, attribute)
        if end.state is TrialState.COMPLETE:
            self.optuna.tell(trial, end.values, state=end.state)
        else:
            self.optuna.tell(trial, state=end.state)

    def _learn(self, record: WarmStartRecord) -> None:
        """Add trials of another experiment for the sampler. They have no number and are not counted."""
        for trial in record.taken:
            given = as_asked(self._space, trial.params, self._distributions)
            end = self._told.of(TOLD[trial.outcome], trial.value, trial.values)
            pruned = end.state is TrialState.PRUNED and not self._told.several
            self.optuna.add_trial(
                optuna.trial.create_trial(
                    state=end.state,
                    values=[trial.value] if pruned else end.values,
                    params=given,
                    distributions={name: self._distributions[name] for name in given},
                    intermediate_values={round(trial.epoch * 1000): trial.value} if pruned else {},
                    user_attrs={EARLIER: f"{record.experiment}:{trial.trial}", **end.attributes},
                    constraints=end.constraints,
                )
            )

    def _remember_all(self, history: History) -> None:
        over = [number for number in history.ends if history.trials[number].over]
        ended = [number for number in over if history.trials[number].outcome in TOLD]
        ends = {number: place for place, number in enumerate(ended)}
        self._ends = len(ends)
        for trial in sorted(history.trials.values(), key=lambda t: t.number):
            self._remember(trial, ends.get(trial.number, 0))
        if self._notes:
            self._noted = dict(history.sampler)
            self._storage.restore_attributes(self.optuna._study_id, dict(history.sampler))

    def _remember(self, trial: TrialHistory, end: int) -> None:
        self._next = max(self._next, trial.number + 1)
        if trial.outcome is Outcome.REUSED:
            return
        self._note_as_tried(trial.number, trial.hash, trial.parent)
        if trial.outcome is not None and trial.over:
            self._results[trial.number] = trial.told_value is not None
            self.optuna.add_trial(self._over(trial, TOLD[trial.outcome], end))
            return
        asked, _ = self._ask_for(trial.params)
        self._asked[trial.number] = asked
        for key, value in self._attributes_of(trial).items():
            self._storage.set_trial_system_attr(asked._trial_id, key, value)
        for report in trial.reports:
            if report.objective is not None:
                self.report(trial.number, report.epoch, report.objective)
        if trial.outcome is not Outcome.RESTING:
            self._unfinished[trial.number] = trial

    def _attributes_of(self, trial: TrialHistory) -> dict[str, JsonValue]:
        return dict(trial.attributes) if self._notes else {}

    def _over(self, trial: TrialHistory, state: TrialState, end: int) -> optuna.trial.FrozenTrial:
        """Build an ended trial, equal to what asking, reporting and telling would have left in Optuna."""
        given = as_asked(self._space, trial.params, self._distributions)
        steps = {} if self._told.several else steps_of(trial)
        ended = self._told.of(state, trial.told_value, trial.ended.values if trial.ended is not None else {})
        if ended.state is TrialState.PRUNED and steps:
            ended = replace(ended, values=[steps[max(steps)]])
        return optuna.trial.create_trial(
            state=ended.state,
            values=ended.values,
            params=given,
            distributions={name: self._distributions[name] for name in given},
            intermediate_values=steps,
            user_attrs={"trial": trial.number, ENDED: end, **ended.attributes},
            system_attrs=self._attributes_of(trial),
            constraints=ended.constraints,
        )
