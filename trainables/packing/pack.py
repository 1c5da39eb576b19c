"""Advances the trials of a worker: those of one group together, all others one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainables.specs.report import Report
from trainables.training.engine import Engine
from trainables.training.state import TrialState


class PackEngine:
    """An engine whose trials take their steps together where they can; see `group_of`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def advance(
        self, states: Sequence[TrialState], *, steps: int | None = None
    ) -> Iterator[tuple[TrialState, Report | Exception]]:
        """Advance every state to its next report, or by `steps` optimizer steps if that comes first.

        States may join and leave between two calls; what a trial computes does not depend on the others.
        If the step of one state fails, its error comes in place of a report, and the others go on.
        """
        running = [state for state in states if not state.done]
        taken = 0
        while running and (steps is None or taken < steps):
            taken += 1
            for state in list(running):
                for found in self._alone(state):
                    running.remove(state)
                    yield state, found

    def _alone(self, state: TrialState) -> list[Report | Exception]:
        try:
            return [report for _, report in self._engine.advance([state], steps=1)]
        except Exception as error:
            return [error]
