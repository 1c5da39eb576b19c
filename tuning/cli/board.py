"""The progress of a sweep at one moment: trials by state, the best so far, time left.

A board reads records one by one, from a running sweep or from the ledger. Its only clocks are the times of
the records and the time that is passed to its methods.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.query.floors import COLLAPSED, Floors, collapsed_caption
from analysis.ranking.weighed import Weighed, format_value
from trainables.errors import AdaptertuneError
from trainables.specs.workload import ValueRule
from trainables.wording import plural
from tuning.experiment.goals import Goals
from tuning.experiment.spec import Experiment
from tuning.formatting import duration, format_settings
from tuning.ledger.history import History, TrialHistory, settings_with
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import (
    AddedRecord,
    ClosedRecord,
    EndedRecord,
    ExperimentRecord,
    PreparedRecord,
    ReportRecord,
    ResumedRecord,
    SearchEndedRecord,
    StartedRecord,
    UnsavedRecord,
)
from tuning.ranking.best_so_far import BestSoFar, BestTrial
from tuning.ranking.front import vector_of
from tuning.ranking.standing import Objective, standing

WINDOW_S = 60.0
"""The throughput is measured over this many seconds."""
SHOWN = 12
"""The most running trials in the table."""
FRONT = 5
"""The most trials of a front that are shown."""


class Board:
    """The progress of a sweep at one moment."""

    def __init__(self, experiment: Experiment, *, alive: bool = True, unknown: bool = False) -> None:
        workload = experiment.workload
        self.name = experiment.name
        self.alive = alive
        """Whether a driver runs, or may run; without one, time ends at the last record."""
        self.unknown = unknown
        """Whether it cannot be seen from here if one runs."""
        self.metric = workload.objective.metric
        self.total = experiment.trials_asked
        self.budget = experiment.search.epochs
        """The epochs that all trials together may run, if that is limited."""
        self._experiment = experiment
        self._last_only = workload.objective.value is ValueRule.LAST
        self._history = History(ExperimentRecord(name=experiment.name, file="", experiment={}))
        self._epochs: dict[int, float] = {}
        self._goals = Goals.of(experiment)
        self._best_so_far = BestSoFar(workload.direction, workload.objective.value)
        self._samples: deque[tuple[float, int]] = deque()
        self._unsaved: dict[int, str] = {}
        self._began: float | None = None
        self._seen = 0.0

    # --- reading ------------------------------------------------------------------------------

    def observe(self, record: Any) -> None:
        """Read the next record."""
        if isinstance(record, ExperimentRecord):
            return
        self._history = self._history.with_read(record)
        if isinstance(record, StartedRecord | ReportRecord | EndedRecord):
            self._best_so_far.observe(self.trials[record.trial], self.trials.values())
        if isinstance(record, ResumedRecord):
            self._resume(record)
        if isinstance(record, AddedRecord) and self.total is not None:
            self.total = self._at_most(self.total + 1)
        self._seen = max(self._seen, record.time)
        if isinstance(record, StartedRecord):
            self._epochs[record.trial] = self._asked(record)
            self._began = record.time if self._began is None else self._began
        elif isinstance(record, UnsavedRecord):
            self._unsaved[record.trial] = record.reason
        elif isinstance(record, EndedRecord):
            self._unsaved.pop(record.trial, None)
        elif isinstance(record, ReportRecord):
            self._samples.append((record.time, record.samples))
            # The list becomes empty if the clock was set back by more than that.
            while self._samples and self._samples[0][0] < self._seen - 2 * WINDOW_S:
                self._samples.popleft()

    def _resume(self, record: ResumedRecord) -> None:
        """The time without a driver does not count."""
        self._unsaved.clear()
        if self._began is not None:
            self._began += max(0.0, record.time - self._seen)
        if record.trials is not None:
            self.total = self._at_most(record.trials)
        if record.epochs is not None:
            self.budget = record.epochs

    def _at_most(self, trials: int) -> int:
        """The number of trials, or that of all configurations if there are not so many."""
        size = self._experiment.space.size()
        return trials if size is None else min(trials, size)

    def _asked(self, record: StartedRecord) -> float:
        try:
            return float(self._experiment.trial_config(settings_with(record.params, record.parent)).epochs)
        except AdaptertuneError:
            return float(self._experiment.max_epochs)

    # --- what is known -------------------------------------------------------------------------------

    @property
    def trials(self) -> dict[int, TrialHistory]:
        """The trials so far."""
        return self._history.trials

    @property
    def closed(self) -> ClosedRecord | None:
        """How the driver ended, if it has."""
        return self._history.closed

    @property
    def search_ended(self) -> SearchEndedRecord | None:
        """Why nothing more is proposed, if not for the number of trials."""
        return self._history.search_ended

    @property
    def prepared(self) -> PreparedRecord | None:
        """The record of the prepared data."""
        return self._history.prepared

    @property
    def seen(self) -> float:
        """The time of the last record."""
        return self._seen

    @property
    def baseline(self) -> float | None:
        """The value of the pretrained baseline."""
        return self._history.baseline.metrics.get(self.metric) if self._history.baseline else None

    @property
    def state(self) -> str:
        """`running`, `finished`, `interrupted`, `failed`, `died`, or `unknown`."""
        if self.closed is not None:
            return str(self.closed.reason)
        if self.unknown:
            return "unknown"
        return "running" if self.alive else "died"

    @property
    def states(self) -> dict[str, int]:
        """The number of trials by outcome; else they are `running`, or `unfinished` if no driver runs."""
        without = "running" if self.alive else "unfinished"
        found: dict[str, int] = {}
        for trial in self.trials.values():
            state = str(trial.outcome or without)
            found[state] = found.get(state, 0) + 1
        if self.total is not None and self.total > len(self.trials) and self.search_ended is None:
            found["waiting" if self.alive else "not started"] = self.total - len(self.trials)
        return found

    @property
    def ended(self) -> int:
        """The number of trials that have ended for good."""
        return sum(trial.over for trial in self.trials.values())

    @property
    def running(self) -> list[TrialHistory]:
        """The trials that have started and not ended."""
        return [trial for trial in self.trials.values() if trial.ended is None]

    @property
    def best(self) -> BestTrial | None:
        """The best trial so far. Under rule `last`, only trials that ran to their own end compete."""
        return self._best_so_far.best

    @property
    def weighed(self) -> Weighed | None:
        """With several objectives or constraints: the front of the trials that ran to their own end."""
        goals = self._goals
        if goals.single:
            return None
        ended = ((t, t.ended.values) for t in self.trials.values() if t.ended is not None)
        points = ((t.number, vector_of(goals, t.outcome, v, feasible=t.feasible)) for t, v in ended)
        return Weighed.of(goals, points)

    @property
    def infeasible(self) -> int:
        """The number of trials that ended with a broken constraint."""
        return sum(not trial.feasible for trial in self.trials.values())

    @property
    def floor(self) -> float | None:
        """What the best constant predictor reaches on the validation images; None without a floor."""
        return Floors.of(self._experiment.workload, self._history.prepared).at(self.metric)

    @property
    def best_has_collapsed(self) -> bool:
        """Whether the best trial so far is no better than a constant predictor."""
        best = self.best
        if best is None:
            return False
        found = standing(self.trials[best.trial].reports, Objective.of(self._experiment.workload))
        return found is not None and bool(found.collapsed)

    @property
    def scored(self) -> tuple[int, int] | None:
        """How many trials are scored on test images, and of how many; None before scoring begins."""
        begun = self._history.scoring
        if begun is None:
            return None
        return sum(number in self._history.scores for number in begun.trials), len(begun.trials)

    def epochs(self, number: int) -> float:
        """The number of epochs that a trial was asked to run."""
        return self._epochs.get(number, 0.0)

    def images_per_s(self, now: float) -> float | None:
        """Training images per second, of all trials together, over the last minute of the ledger."""
        end = min(now, self._seen + WINDOW_S)
        if self._began is None or end <= self._began:
            return None
        start = max(self._began, end - WINDOW_S)
        seen = sum(samples for at, samples in self._samples if start < at <= end)
        return seen / (end - start) if seen else None

    def elapsed_s(self, now: float) -> float:
        """Seconds from the start of the first trial until now or the end."""
        if self._began is None:
            return 0.0
        return max(0.0, (now if self.alive and self.closed is None else self._seen) - self._began)

    def left_s(self, now: float) -> float | None:
        """Seconds to the end at the speed so far; a trial is expected to run as long as ended ones did."""
        done = sum(trial.epoch for trial in self.trials.values() if trial.outcome is not Outcome.REUSED)
        if (self.total is None and self.budget is None) or done <= 0 or self._over:
            return None
        ended = [
            t.epoch for t in self.trials.values() if t.ended is not None and t.outcome is not Outcome.REUSED
        ]
        usual = sum(ended) / len(ended) if ended else float(self._experiment.max_epochs)
        running = 0.0
        for trial in self.running:
            whole = self.epochs(trial.number)
            running += max(0.0, (min(usual, whole) if trial.epoch < usual else whole) - trial.epoch)
        new = [0.0] if self.search_ended is not None else []
        new += [] if self.total is None else [(self.total - len(self.trials)) * usual]
        new += [] if self.budget is None else [self.budget - self._history.epochs_run - running]
        return (max(0.0, min(new)) + running) * self.elapsed_s(now) / done

    @property
    def _over(self) -> bool:
        return self.closed is not None or not self.alive

    def _epochs_run(self) -> str:
        return f"{self._history.epochs_run:g} of {self.budget} epochs run"

    def _scoring(self) -> str:
        done, of = self.scored or (0, 0)
        if done == of:
            return "timing the scored trials"
        return f"scoring {done + 1} of {of} on test images"

    # --- what is shown ------------------------------------------------------------------------------

    def summary(self, now: float) -> str:
        """One line: the progress, the best, the speed."""
        total = f" of {self.total}" if self.total and self.search_ended is None else ""
        parts = [f"{self.ended}{total} trials ended"]
        if self.budget is not None:
            parts.append(self._epochs_run())
        parts += [f"{n} {s}" for s, n in self.states.items() if s in ("running", "failed", "diverged")]
        if (best := self.best) is not None:
            lost = f", {COLLAPSED}" if self.best_has_collapsed else ""
            parts.append(f"best {self.metric} {best.value:.4f} (trial {best.trial}{lost})")
        if (weighed := self.weighed) is not None and weighed.goals.several:
            parts.append(f"{plural(len(weighed.front), 'trial')} on the front")
        if self.scored is not None and not self._over:
            parts.append(self._scoring())
        elif not self._over:
            if (pace := self.images_per_s(now)) is not None:
                parts.append(f"{pace:.0f} images/s")
            if (left := self.left_s(now)) is not None and self.ended:
                parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def view(self, now: float, *, most: int = SHOWN) -> RenderableType:
        """The whole table."""
        head = Table.grid(padding=(0, 2))
        head.add_column(style="bold")
        head.add_column()
        head.add_row("trials", "  ".join(f"{n} {state}" for state, n in self.states.items()) or "none yet")
        if self.budget is not None:
            head.add_row("budget", self._epochs_run())
        if self.search_ended is not None:
            head.add_row("search", Text(f"has ended: {self.search_ended.reason}"))
        best = self.best
        rule = "last report" if self._last_only else "best report"
        head.add_row(
            f"best {self.metric}",
            "–" if best is None else f"{best.value:.4f}  trial {best.trial}  (validation, {rule})",
        )
        if best is not None and self.best_has_collapsed:
            head.add_row("", Text(collapsed_caption(self.metric)))
        if (weighed := self.weighed) is not None:
            self._add_weighed(head, weighed)
        if (floor := self.floor) is not None:
            head.add_row("floor", f"{floor:.4f}  what the best constant predictor reaches")
        if self.baseline is not None:
            head.add_row("baseline", f"{self.baseline:.4f}  the pretrained model before training")
        pace, left = self.images_per_s(now), self.left_s(now)
        speed = [f"{duration(self.elapsed_s(now))} so far"]
        if self._over:
            speed.append(self.state)
        elif None in self._history.paused:
            speed.append("paused")
        elif self.scored is not None:
            speed.append(self._scoring())
        elif pace is not None:
            speed += [f"{pace:.0f} images/s", f"about {duration(left)} left" if left is not None else ""]
        head.add_row("time", "  ".join(part for part in speed if part))
        for number, reason in self._unsaved.items():
            head.add_row("not saved", Text(f"trial {number} continues without saving: {reason}"))
        title = Text(f"{self.name}", style="bold")
        if not self.running or self._over:
            return Group(title, head)
        return Group(title, head, self._running_table(most))

    def _add_weighed(self, head: Table, weighed: Weighed) -> None:
        """The trials of the front, each with its values, and how many broke a constraint."""
        goals = weighed.goals
        for place, number in enumerate(weighed.front[:FRONT]):
            ended = self.trials[number].ended
            values = {} if ended is None else ended.values
            shown = "  ".join(
                f"{g.metric} {format_value(g.metric, values[g.metric])}" for g in goals.objectives
            )
            head.add_row("" if place else "front", f"trial {number}  {shown}")
        if (more := len(weighed.front) - FRONT) > 0:
            head.add_row("", f"… and {more} more: adaptertune pareto")
        if goals.constraints:
            bounds = ", ".join(f"{name} {bound}" for name, bound in goals.constraints.items())
            head.add_row("constraints", f"{bounds}  {plural(self.infeasible, 'trial')} outside")

    def _running_table(self, most: int) -> Table:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for column in ("trial", "epoch", self.metric):
            table.add_column(column, justify="right")
        table.add_column("settings", overflow="ellipsis", no_wrap=True)
        for trial in self.running[:most]:
            value = trial.value
            table.add_row(
                str(trial.number),
                f"{trial.epoch:g}/{self.epochs(trial.number):g}",
                "–" if value is None else f"{value:.4f}",
                Text(format_settings(trial.params, self._experiment.scaled_rates(trial.params))),
            )
        if len(self.running) > most:
            table.add_row("", "", "", f"… and {len(self.running) - most} more")
        return table
