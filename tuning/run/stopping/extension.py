"""What `resume --trials` and `--epochs` change of a search, and whether it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from trainables.errors import StorageError
from trainables.wording import plural
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.outcomes import SearchEndedBy


@dataclass(frozen=True)
class Extension:
    """What a user asks for beyond what is recorded.

    trials, epochs: the number of trials and the budget of epochs from now on, if they are to change.
    """

    experiment: Experiment
    history: History
    trials: int | None = None
    epochs: int | None = None

    @classmethod
    def of(cls, experiment: Experiment, history: History, *, trials: int | None, epochs: int | None) -> Self:
        """The extension. Raises StorageError if more is recorded than it allows, or if it has no meaning."""
        there, ran = len(history.trials), history.epochs_run
        if trials is not None and trials < there:
            raise StorageError(
                f"{history.name} has {plural(there, 'trial')} already, so the total number of trials must be"
                f" at least that, got {trials}"
            )
        if trials is not None and trials > there and experiment.scheduler.pbt is not None:
            raise StorageError(
                f"{history.name} trains a population (scheduler.pbt), whose size is that of its launch;"
                f" `adaptertune add` tries one more configuration"
            )
        if epochs is not None and experiment.search.epochs is None:
            raise StorageError(
                f"{history.name} has no budget of epochs that could change: it was launched without"
                " search.epochs; --trials N (in Python trials=N) changes the number of its trials"
            )
        if epochs is not None and epochs < ran:
            raise StorageError(
                f"{history.name} has run {plural(ran, 'epoch')} already, so its budget must be at least that,"
                f" got {epochs}"
            )
        return cls(experiment, history, trials, epochs)

    @property
    def asked(self) -> bool:
        """Whether anything is to change."""
        return self.trials is not None or self.epochs is not None

    @property
    def goes_on(self) -> bool:
        """Whether a finished search proposes more with it."""
        search, there, ran = self.experiment.search, len(self.history.trials), self.history.epochs_run
        # A search that stopped by itself has not proposed what it was asked for.
        before = (0, 0) if self._stopped_by_itself else (search.trials or 0, search.epochs or 0)
        more_trials = self.trials is not None and self.trials > max(there, before[0])
        more_epochs = self.epochs is not None and self.epochs > max(ran, before[1])
        trials_left = more_trials or search.trials is None or search.trials > there
        epochs_left = more_epochs or search.epochs is None or search.epochs > ran
        return (more_trials or more_epochs) and trials_left and epochs_left

    @property
    def why_finished(self) -> str:
        """That the search is finished, and what ended it."""
        ended = self.history.search_ended
        because = "" if ended is None else f": {ended.reason}"
        return f"{self.history.name} is finished, with {plural(len(self.history.trials), 'trial')}{because}"

    @property
    def way_on(self) -> str:
        """The option that adds more, as the end of a command, in Python as well."""
        ended = self.history.search_ended
        if ended is not None and ended.by is SearchEndedBy.EPOCHS:
            return "--epochs N` (in Python epochs=N) adds more"
        return "--trials N` (in Python trials=N) adds more"

    @property
    def told(self) -> str | None:
        """What to say of a search that had stopped by itself and goes on; None if it does not."""
        ended, stop = self.history.search_ended, self.experiment.search.stop
        if ended is None or stop is None or not self._stopped_by_itself or not self.goes_on:
            return None
        return (
            f"the search had stopped by itself: {ended.reason}. It goes on, and may stop again once"
            f" {plural(stop.waits_for, 'more trial')} have ended"
        )

    @property
    def _stopped_by_itself(self) -> bool:
        ended = self.history.search_ended
        return ended is not None and ended.by is not SearchEndedBy.EPOCHS
