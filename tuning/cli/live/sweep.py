"""One sweep of the live page: its record, read line by line, as the parts that the page shows."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis.live.follower import Follower, NewRecords
from analysis.live.record import LiveRecord
from analysis.live.rows import points_of, row_of, style_of
from analysis.live.sections import LiveSections
from analysis.live.versions import Versions
from analysis.report.setup import describe_data, describe_search_domain, rungs_of
from analysis.report.training import curves_caption
from trainables.errors import AdaptertuneError, LedgerError
from tuning.cli.board import Board
from tuning.formatting import format_setting
from tuning.ledger.driver_state import DriverState, DriverWatch
from tuning.ledger.records import ExperimentRecord

ALIVE_S = 2.0
"""Seconds between two looks at whether a driver runs."""
SECTIONS_S = 5.0
"""The least seconds between two times that the sections of the report are made."""
SECTIONS_SHARE = 10
"""The least ratio of the time between two of them to the time that making them takes."""


class LiveSweep:
    """The parts of a sweep's page, and what has changed in them. Not for several threads at once.

    anew: a text that changes when the record is another one, so that nothing of before holds.
    trouble: why the record cannot be read further now; empty if it can.
    """

    def __init__(self, folder: Path, number: int, clock: Callable[[], float] = time.monotonic) -> None:
        """number: its place on the page. Raises LedgerError if it has no usable record."""
        self.folder = folder
        self.number = number
        self.trouble = self._broken = ""
        self._clock = clock
        self._follower = Follower(folder)
        self._looked = self._made = self._next = -1e9
        self._watch = DriverWatch(folder)
        self._driver = DriverState.DIED
        self._stale = False
        """Whether the sections are older than the record."""
        self._begin(self._follower.take())

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.folder.name

    def refresh(self) -> None:
        """Read what has come. What goes wrong becomes `trouble`, and what is shown stays."""
        try:
            new = self._follower.take()
            if new.anew:
                self._begin(new)
            else:
                self._observe(new)
            self.trouble = self._broken
        except AdaptertuneError as error:
            self.trouble = str(error)
        self._put()

    def _begin(self, new: NewRecords) -> None:
        header = new.records[0] if new.records else None
        if not isinstance(header, ExperimentRecord):
            raise LedgerError(f"{self.folder} does not begin with the experiment; it cannot be shown")
        record = LiveRecord(self.folder, header)
        self.anew = secrets.token_hex(4)
        self.versions = Versions()
        self._record = record
        self._board = Board(record.experiment)
        self.trouble = self._broken = ""
        self._sections = LiveSections(f"s{self.number}-")
        self._looked = self._next = -1e9
        self._observe(NewRecords(new.records[1:], anew=False))
        self._stale = True
        self._put()

    def _observe(self, new: NewRecords) -> None:
        """Take in further lines, up to one that cannot follow those before it."""
        for record in new.records if not self._broken else ():
            try:
                self._record.observe([record])
            except AdaptertuneError as error:
                self._broken = str(error)
                break
            self._board.observe(record)
        self._stale |= bool(new.records)

    def _put(self) -> None:
        self._look()
        changed = self._record.changed()
        objective = self._record.objective
        rows = {f"trial {trial.number}": row_of(history, trial, objective) for history, trial in changed}
        for history, _ in changed:
            self.versions.draw(history.number, points_of(history, objective.metric))
        self.versions.put({"head": self._head(), "curves": self._curves(), "space": self._space()} | rows)

    def make_sections(self) -> None:
        """Make the sections of the report again, if the record has changed and it is time."""
        began = self._clock()
        if not self._stale or began < self._next:
            return
        self._stale = False
        try:
            self.versions.put(self._sections.parts(self._record.material()))
        except AdaptertuneError as error:
            self._broken = str(error)
        took = self._clock() - began
        self._next = began + max(SECTIONS_S, SECTIONS_SHARE * took)

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked >= ALIVE_S:
            self._looked, self._driver = now, self._watch.state()
        self._board.unknown = self._driver is DriverState.UNKNOWN
        self._board.alive = self._driver.may_run
        self._record.rest(not self._board.alive)

    # --- the parts ------------------------------------------------------------------------------

    def _head(self) -> dict[str, Any]:
        """What is known of the whole sweep. Times are those of the record, in seconds, so that it stays equal
        while nothing comes.
        """
        board, experiment = self._board, self._record.experiment
        now, best = board.seen, board.best
        paused = board.state == "running" and None in self._record.history.paused
        running = board.state == "running" and not paused
        return {
            "name": self.name,
            "trouble": self.trouble,
            "state": "paused" if paused else board.state,
            "about": f"{experiment.task.value.capitalize()}; backbone {experiment.model.name};"
            f" {describe_data(experiment.data)}.",
            "counts": board.states,
            "ended": board.ended,
            "total": board.total,
            "best": None if best is None else {"trial": best.trial, "value": best.value},
            "collapsed": board.best_has_collapsed,
            "images_per_s": board.images_per_s(now) if running else None,
            "left_s": board.left_s(now) if running and board.ended else None,
            "elapsed_s": board.elapsed_s(now),
            "seen": now or self._record.history.header.time,
            "scored": board.scored,
            "prepared": board.prepared is not None,
            "waiting": [
                {"params": dict(added.params), "by": added.by, "of": added.of}
                for added in self._record.history.added
                if self._record.history.trial_of(added.hash) is None
            ],
        }

    def _curves(self) -> dict[str, Any]:
        record, sweep = self._record, self._record.history
        metric = record.objective.metric
        adapters = dict.fromkeys(row.adapter for row in record.trials)
        return {
            "metric": metric,
            "sign": record.objective.direction.sign,
            "rungs": list(rungs_of(record.experiment)),
            "baseline": sweep.baseline.metrics.get(metric) if sweep.baseline is not None else None,
            "floor": self._board.floor,
            "styles": {adapter: style_of(adapter) for adapter in adapters},
            "caption": curves_caption(record.experiment),
        }

    def _space(self) -> list[dict[str, Any]]:
        """The parameters that a configuration of one's own can have, in the order of the file.

        choices: as they are shown and as JSON, if the values are choices.
        """
        found = []
        for name, alternatives in self._record.experiment.space.root.items():
            values = " or ".join(dict.fromkeys(map(describe_search_domain, alternatives)))
            choices: dict[str, str] | None = None
            if all(alternative.choice is not None for alternative in alternatives):
                held = [value for alternative in alternatives for value in alternative.choice or ()]
                choices = {json.dumps(value): format_setting(value) for value in held}
            shown = None if choices is None else [[text, value] for value, text in choices.items()]
            found.append({"name": name, "values": values, "choices": shown})
        return found
