"""Which trial runs in which pack: gives packs what the study proposes, and takes back what died with a pack.

A pack is a trial of Ray Tune with a worker process; what it trains changes while it runs.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cluster.capacity import Capacity, Needs
from trainables.errors import AdaptertuneError
from trainables.packing.group import group_of
from trainables.run_folder import CONTROL
from trainables.specs.pack import PackedTrial, Packing, room_of
from trainables.specs.trial import TrialConfig
from tuning.ledger.outcomes import AT_REST, Outcome
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import ReportRecord
from tuning.run.packs.decided import to_record
from tuning.run.packs.limits import Limits, free_lanes, trials_at_once
from tuning.run.packs.order_file import OrderFile
from tuning.run.room.worker_needs import reserving
from tuning.search.proposal import NoProposal, Proposal, propose_again
from tuning.search.study import Study

DEATHS_IN_COMPANY = 2
"""After so many deaths of its packs a trial runs alone, so that the one at fault shows itself."""


class Configure(Protocol):
    """Makes the jobs of packs and of their trials; see `tuning.run.proposed_jobs.ConfigurePacks`."""

    def pack(self, number: int, orders: Path) -> dict[str, Any]:
        """The configuration of a pack for Ray."""
        ...

    def trial(self, proposal: Proposal, joined: int | None) -> PackedTrial:
        """The trial of a proposal. Raises AdaptertuneError for one that cannot be tried."""
        ...


@dataclass
class Pack:
    """A pack that runs.

    room: how many trials it takes at most.  alone: whether it takes no second one.  clock: the step at which
    its trials are, but for those that catch up.  needs: what its worker reserves.  groups: its live trials,
    and which others each of them can take its steps with.
    """

    number: int
    orders: OrderFile
    room: int
    needs: Needs
    alone: bool = False
    clock: int = 0
    groups: dict[int, str | None] = field(default_factory=dict)


class Packs:
    """The packs of a sweep.

    places: how many packs fit on the cluster now.  folder: the experiment's folder.
    """

    def __init__(
        self,
        study: Study,
        recorder: Recorder,
        *,
        configure: Configure,
        places: Capacity,
        limits: Limits,
        folder: Path,
    ) -> None:
        self._study = study
        self._recorder = recorder
        self._configure = configure
        self._places = places
        self._limits = limits
        # Workers of an earlier driver may still live; they must not read the orders of this one.
        self._orders = folder / CONTROL / f"orders.{uuid.uuid4().hex[:8]}"
        self._packs: dict[int, Pack] = {}
        self._opened = 0
        self._held: list[Proposal] = []
        """Proposals of trials that are to run alone."""
        self._deaths: Counter[int] = Counter()
        self._clock = 0
        for trial in recorder.history.trials.values():
            self._follow(trial.joined, trial.reports[-1] if trial.reports else None)

    # --- asking -----------------------------------------------------------------------------------

    @property
    def live(self) -> int:
        """The number of packs that run."""
        return len(self._packs)

    def members(self, pack: int) -> list[int]:
        """The live trials of a pack."""
        return sorted(self._packs[pack].groups) if pack in self._packs else []

    def pack_of(self, trial: int) -> int | None:
        """The pack that a live trial is in."""
        return next((pack.number for pack in self._packs.values() if trial in pack.groups), None)

    # --- packs come and go ------------------------------------------------------------------------

    def full(self) -> bool:
        """Whether no further pack is to be opened now."""
        needs = [pack.needs for pack in self._packs.values()]
        return self._places.full(needs) or self._running() >= self.at_once()

    def open(self) -> dict[str, Any] | None:
        """A new pack with its first trials, as the configuration for Ray; None if no trial is left."""
        entry, alone = None, True
        while entry is None and self._held:
            entry = self._entry(self._held.pop(0))
        if entry is None:
            entry, alone = self._next_entry(), False
        if entry is None:
            return None
        number, self._opened = self._opened, self._opened + 1
        path = self._orders.with_name(f"{self._orders.name}.{number}")
        needs = self._places.needs
        pack = Pack(number, OrderFile(path), 1 if alone else self._room_at_first(), needs, alone=alone)
        pack.clock = self._clock if self._single() else 0
        self._packs[number] = pack
        self._give(pack, entry)
        self.refill()
        self.write()
        return reserving(self._configure.pack(number, path), needs)

    def close(self, pack: int) -> list[int]:
        """Forget a pack; returns the trials that were in it."""
        gone = self._packs.pop(pack, None)
        if gone is None:
            return []
        gone.orders.remove()
        return sorted(gone.groups)

    def again(self, number: int, *, alone: bool) -> None:
        """Run a trial again, as its pack died. alone: at once without company; else after a second time."""
        self._deaths[number] += DEATHS_IN_COMPANY if alone else 1
        trial = self._recorder.trial(number)
        if self._deaths[number] >= DEATHS_IN_COMPANY:
            self._held.append(propose_again(trial))
        else:
            self._study.propose_again(trial)

    # --- what packs say ---------------------------------------------------------------------------

    def heard(self, pack: int, *, room: int, read: int, clock: int, packing: Iterable[Packing] = ()) -> None:
        """Take what a pack says of itself; see `PackResult`. Records what is new."""
        for each in packing:
            new = to_record(self._recorder.history.packing.get(each.group), each)
            if new is not None:
                self._recorder.record(new)
        known = self._packs[pack]
        known.room = 1 if known.alone else room
        known.orders.acknowledge(read)
        known.clock = max(known.clock, clock)
        if self._single() and not known.alone:
            self._clock = known.clock

    def left(self, number: int, *, tell: bool, save: bool = False) -> None:
        """A trial has ended, or waits. tell: whether its pack does not know yet.  save: it will continue."""
        pack = self.pack_of(number)
        if pack is None:
            return
        del self._packs[pack].groups[number]
        if tell:
            self._packs[pack].orders.leave(number, save=save)

    def refill(self) -> None:
        """Give proposals to packs that have room, as long as there are some."""
        while (room := self._room()) and (entry := self._next_entry()) is not None:
            self._give(self._best_pack(entry.config, room), entry)

    def write(self) -> None:
        """Write the orders that are new. Raises Halt if the disk cannot be written."""
        for pack in self._packs.values():
            pack.orders.write()

    # --- choosing ---------------------------------------------------------------------------------

    def _running(self) -> int:
        """The trials that count for those at once: all if the user limits their number."""
        counted = self._current() if self._limits.concurrent is None else self._packs.values()
        return sum(len(pack.groups) for pack in counted)

    def _current(self) -> list[Pack]:
        """The packs whose worker reserves what one does that starts now; the others get no more trials."""
        return [pack for pack in self._packs.values() if pack.needs == self._places.needs]

    def at_once(self) -> int:
        """How many trials run at once, by what is known of the workers now."""
        left = self._study.left
        if left is not None:
            left += self._running() + len(self._held)
        return trials_at_once(self._limits, packs=self._places(), lanes=self._lanes(), left=left)

    def _lanes(self) -> int:
        return max((pack.room for pack in self._packs.values()), default=self._room_at_first())

    def _room_at_first(self) -> int:
        """How many trials a new pack takes, by what is recorded."""
        recorded = self._recorder.history.packing.values()
        return room_of((record.lanes for record in recorded), self._limits.lanes)

    def _free(self, pack: Pack) -> int:
        """How many more trials a pack takes."""
        if pack.alone or pack.needs != self._places.needs:
            return 0
        sizes = [len(other.groups) for other in self._current() if other is not pack]
        return free_lanes(
            self.at_once(), packs=self._places(), lanes=pack.room, size=len(pack.groups), others=sizes
        )

    def _room(self) -> dict[int, int]:
        """How many more trials each pack takes; those that are full, or all that is allowed, are left out."""
        if self._running() + len(self._held) >= self.at_once():
            return {}
        return {pack.number: free for pack in self._packs.values() if (free := self._free(pack)) > 0}

    def _best_pack(self, config: TrialConfig, room: Mapping[int, int]) -> Pack:
        """The pack for a trial: one with trials that it can take its steps with, then one with most room."""
        group = group_of(config)

        def preference(number: int) -> tuple[bool, int, int]:
            alike = group is not None and group in self._packs[number].groups.values()
            return alike, room[number], -number

        return self._packs[max(room, key=preference)]

    def _give(self, pack: Pack, entry: PackedTrial) -> None:
        pack.groups[entry.trial] = group_of(entry.config)
        pack.orders.start(entry)

    def _next_entry(self) -> PackedTrial | None:
        """The next trial that may run in company."""
        while not isinstance(proposal := self._study.propose(), NoProposal):
            if (entry := self._entry(proposal)) is not None:
                return entry
        return None

    def _entry(self, proposal: Proposal) -> PackedTrial | None:
        """Record that a trial starts; None if its result is known already, or it cannot be tried."""
        number = proposal.number
        joined = self._joins_at(proposal)
        self._recorder.record(proposal.started(joined=joined))
        if proposal.reuses is not None:
            self._recorder.end(number, Outcome.REUSED, reuses=proposal.reuses)
            return None
        try:
            return self._configure.trial(proposal, joined)
        except AdaptertuneError as error:
            self._recorder.end(number, Outcome.FAILED, str(error))
            self._study.tell(number, Outcome.FAILED, None, str(error))
            return None

    # --- the order of reports ---------------------------------------------------------------------

    def _joins_at(self, proposal: Proposal) -> int | None:
        """Where the trial begins in its pack; None if the order of reports is not defined anyway.

        With a single pack all reports have a defined order, and a trial that continues takes its old place.
        """
        if not self._single() or self._deaths[proposal.number] >= DEATHS_IN_COMPANY:
            return None
        clock = next((pack.clock for pack in self._packs.values() if not pack.alone), self._clock)
        known = self._recorder.trial(proposal.number) if proposal.again else None
        if known is not None and known.outcome in AT_REST and known.reports:
            return max(0, clock - known.reports[-1].step)  # with the others, and not where it left them
        parent = proposal.parent
        if known is None and parent is not None and parent.state:
            return max(0, clock - self._recorder.trial(parent.trial).reports[-1].step)
        return clock if known is None else known.joined

    def _single(self) -> bool:
        """Whether a single pack trains all trials, apart from those that are alone."""
        return self._places() == 1 and sum(not pack.alone for pack in self._packs.values()) <= 1

    def _follow(self, joined: int | None, report: ReportRecord | None) -> None:
        if joined is not None:
            self._clock = max(self._clock, joined + (0 if report is None else report.step))
