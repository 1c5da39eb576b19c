"""Rehearses a search with invented results, to see whether a study that is built again proposes the same."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from tuning.experiment.goals import Goals
from tuning.experiment.sections.search import SearchSpec
from tuning.experiment.space import Space
from tuning.ledger.history import History
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import RECORDS, EndedRecord, ExperimentRecord, Record, ReportRecord
from tuning.search.proposal import Proposal
from tuning.search.study import Study

TRIALS = 100
"""The trials of a rehearsal, however many the search has: a resume may add some."""
CUTS = 6
"""At how many points the ledger is cut off."""
FOLLOWING = 3
"""How many proposals are compared after a cut."""
AT_ONCE = 3
_HEADER = ExperimentRecord(name="rehearsal", file="", experiment={})
_ENDS = (
    *[Outcome.COMPLETED] * 5,
    Outcome.EARLY_STOPPED,
    Outcome.PRUNED,
    Outcome.PRUNED,
    Outcome.STOPPED,
    Outcome.FAILED,
)


def first_difference(space: Space, search: SearchSpec, goals: Goals) -> int | None:
    """Return the number of the first trial that a resumed search would propose differently; None without one.

    About seven in ten trials have a value. `search.from` is left out: the other experiments may be elsewhere.
    """

    def built(history: History | None = None) -> Study:
        return Study(
            space,
            search,
            name="rehearsal",
            direction=goals.first.direction,
            trials=TRIALS,
            goals=goals,
            history=history,
        )

    whole = _Rehearsal(built(), goals).run()
    # As they are read from a file, not as they are in memory.
    lines = [RECORDS.validate_json(record.model_dump_json(by_alias=True)) for record in whole.records]
    for cut in {len(lines) * place // CUTS for place in range(1, CUTS)}:
        rest = _Rehearsal(built(History.of(_HEADER, lines[:cut])), goals, lines[:cut]).run(FOLLOWING)
        for number, params in sorted(rest.proposals.items()):
            if whole.proposals[number] != params:
                return number
    return None


class _Rehearsal:
    """Trials side by side. What happens next is a function of the ledger's length alone."""

    def __init__(self, study: Study, goals: Goals, records: Iterable[Record] = ()) -> None:
        self._study = study
        self._metrics = () if goals.single else goals.metrics
        self.records = list(records)
        self._history = History.of(_HEADER, self.records)
        self.proposals: dict[int, Mapping[str, JsonValue]] = {}

    def run(self, proposals: int | None = None) -> _Rehearsal:
        """Run to the end, or until so many new trials were proposed."""
        while (live := self._start()) and (proposals is None or len(self.proposals) < proposals):
            self._advance(random.Random(len(self.records)), live)
        return self

    def _start(self) -> list[int]:
        live = [number for number, trial in self._history.trials.items() if trial.outcome is None]
        while len(live) < AT_ONCE and isinstance(proposal := self._study.propose(), Proposal):
            if proposal.again:
                continue
            number = proposal.number
            self.proposals[number] = proposal.params
            self._record(proposal.started())
            if proposal.reuses is None:
                live.append(number)
            else:
                self._record(EndedRecord(trial=number, outcome=Outcome.REUSED, of=proposal.reuses))
        return live

    def _advance(self, draw: random.Random, live: list[int]) -> None:
        trial = self._history.trials[draw.choice(live)]
        epoch = trial.epoch + 1.0
        if epoch == 1.0 or draw.random() < 0.5:
            value = draw.random()
            self._study.report(trial.number, epoch, value)
            self._record(ReportRecord(trial=trial.number, epoch=epoch, step=int(epoch), objective=value))
            return
        outcome = draw.choice(_ENDS)
        final = None if outcome is Outcome.FAILED else trial.value
        values = {metric: draw.random() for metric in self._metrics}
        self._record(EndedRecord(trial=trial.number, outcome=outcome, value=final, values=values))
        self._study.tell(trial.number, outcome, final, values=values)

    def _record(self, record: Record) -> None:
        self.records.append(record)
        self._history = self._history.with_record(record)
