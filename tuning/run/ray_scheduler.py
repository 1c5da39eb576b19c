"""Ray Tune's scheduler over our stopping rule: takes the reports of trials, and ends those that must end.

`tuning.run.results` says what becomes of a result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.recorder import Halt, Recorder
from tuning.run.control import Control
from tuning.run.ray_memory import forget_ended
from tuning.run.ray_searcher import NotKept
from tuning.run.results import Results
from tuning.search.study import Study


class ControlledScheduler(NotKept, FIFOScheduler):  # type: ignore[misc]
    """A scheduler that obeys requests to stop in each round of Ray's loop.

    each_round: called in each round.
    """

    def __init__(
        self, results: Results, control: Control, each_round: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__()
        self._results = results
        self._control = control
        self._each_round = each_round
        self.controller: Any = None

    def stop(self, tune_controller: Any, number: int) -> None:
        """Stop a trial that runs: the user asks for it."""
        raise NotImplementedError

    def pause(self, tune_controller: Any, number: int) -> None:
        """Take the worker of a trial that runs away, until the user lets it continue."""
        raise NotImplementedError

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial was stopped before it ran; nothing to do."""

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Choose nothing: Ray starts pending trials in order. Called in each round of Ray's loop."""
        if self.controller is None:
            _keep_one_snapshot(tune_controller._tune_controller)  # private; checked against Ray 2.60
        self.controller = tune_controller
        self.obey(tune_controller)
        forget_ended(tune_controller._tune_controller)

    def obey(self, tune_controller: Any) -> None:
        """Carry out what is asked. tune_controller: Ray's; None if no trial runs."""
        for number in self._control.requests():
            if number is None:
                raise Halt(Ending.INTERRUPTED)
            if self._results.at_rest(number):
                self._results.stop(number)
            elif tune_controller is not None:
                self.stop(tune_controller, number)
        self._each_round()
        for number in self._results.to_pause():
            if self._results.rests(number):
                self._results.pause(number)
            elif tune_controller is not None:
                self.pause(tune_controller, number)


class RecordingScheduler(ControlledScheduler):
    """One of Ray's trials is one of ours: records each report, and asks the rule whether the trial continues.

    retries: times that a trial starts again after its worker died.  each_round: see `ControlledScheduler`.

    A trial's failure is part of its result; a worker's death is reported through `on_trial_error`. Ray
    passes the result of a trial that is done only to `on_trial_complete`.
    """

    def __init__(
        self,
        results: Results,
        recorder: Recorder,
        study: Study,
        control: Control,
        *,
        retries: int = 0,
        each_round: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(results, control, each_round)
        self._recorder = recorder
        self._study = study
        self._retries = retries
        self._deaths: Counter[int] = Counter()

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker died: the study proposes its trial again, unless that has used up its retries.

        Ray's own retries lose a trial if its worker dies while the trial is swapped in.
        """
        self._control.require_ray()  # otherwise Ray's death would count as this trial's failure
        number = trial.config["trial"]
        if self._results.lacks_baseline:
            self._control.release_baseline([number])
        if self._results.ended(number):
            return
        self._deaths[number] += 1
        if self._deaths[number] > self._retries:
            self._results.end(number, Outcome.FAILED, death_reason(trial))
        elif self._results.is_paused(number):
            self._results.pause(number)
        else:
            self._study.propose_again(self._recorder.trial(number))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """A report of a trial that is not done."""
        ended = self._results.take(trial.config["trial"], result)
        return str(TrialScheduler.STOP if ended else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> None:
        """The last report of a trial that is done, or the end of a trial that was stopped."""
        number = trial.config["trial"]
        if not self._results.ended(number):
            self._results.take(number, result)

    def stop(self, tune_controller: Any, number: int) -> None:
        """Stop a trial, if it runs. Its worker notices within a second."""
        if (trial := self._live(tune_controller, number)) is not None:
            self._control.mark_stopped(number)
            self._results.stop(number)
            _end(tune_controller, trial)

    def pause(self, tune_controller: Any, number: int) -> None:
        """Take the worker of a trial away, if it runs; it saves the trial first, within a second."""
        if (trial := self._live(tune_controller, number)) is not None:
            self._control.mark_paused(number)
            self._results.pause(number)
            _end(tune_controller, trial)

    def _live(self, tune_controller: Any, number: int) -> Any:
        """Ray's trial of a trial that runs; None if it does not."""
        if (number not in self._recorder.history.trials) or self._results.ended(number):
            return None
        return next((t for t in tune_controller.get_live_trials() if t.config["trial"] == number), None)


def _end(tune_controller: Any, trial: Any) -> None:
    """End one of Ray's trials. Ray's `fit` fails at its end if one has no folder as it never ran."""
    trial.init_local_path()
    tune_controller.stop_trial(trial)


def _keep_one_snapshot(controller: Any) -> None:
    """Let Ray write one snapshot, which it requires to exist at its end; its last one takes 70 KB a trial."""
    save, saved = controller.checkpoint, False

    def checkpoint(force: bool = False, wait: bool = False) -> None:
        nonlocal saved
        if not saved:
            saved = True
            save(force=True, wait=True)

    controller.checkpoint = checkpoint


def death_reason(trial: Any) -> str:
    """Return in one line why Ray gave up a trial.

    Ray's own `get_error` reads from the sweep's storage, to which nothing is synchronised.
    """
    pickled, text = trial.pickled_error_file, trial.error_file  # private; checked against Ray 2.60
    error = cloudpickle.loads(Path(pickled).read_bytes()) if pickled and Path(pickled).exists() else None
    message = str(error) if error is not None else ""
    if error is None and text and Path(text).exists():
        message = Path(text).read_text()
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines or (isinstance(error, RayActorError) and not isinstance(error, ActorDiedError)):
        return "its worker process died"
    if isinstance(error, OutOfMemoryError):
        return "its worker process was killed: the machine ran out of memory"
    if isinstance(error, ActorDiedError) and "creation task" not in lines[0]:
        return "its worker process died: it was killed, or it crashed outside of Python"
    return lines[-1]
