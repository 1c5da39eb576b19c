"""The Ray trainable of a pack: a reused actor keeps backbone and data, and advances several trials at once.

If a trial cannot be built, diverges or raises, its result has the reason, and the others continue; only
a killed process is reported by Ray.
"""

from __future__ import annotations

import time
import traceback
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError

from trainables.errors import reason_of
from trainables.packing.capacity import lanes, with_gain
from trainables.packing.group import group_of
from trainables.packing.pack import PackEngine
from trainables.run_folder import CONTROL, HALT
from trainables.specs.job import Failure, TrialResult
from trainables.specs.pack import PackedTrial, Packing, PackJob, PackOrders, PackResult, WhyLanes, room_of
from trainables.specs.report import Report
from trainables.training.engine import Engine
from trainables.training.evaluation import ran_out_of_memory
from trainables.training.state import TrialState
from trainables.workers.loaded_engine import LoadedEngine
from trainables.workers.running_trial import POLL_INTERVAL_S, RunningTrial

WAIT_FOR_ORDERS_S = 2.0
"""How long a pack without trials waits for orders before it returns; a shared file system may be slow."""


@dataclass
class Slot:
    """A trial of the pack.

    clock: the step of the pack at which it is, and the one furthest back goes first; None: where the pack is.
    """

    running: RunningTrial
    clock: int | None

    @property
    def state(self) -> TrialState:
        """The trial's state; only of one that could be built."""
        assert self.running.state is not None
        return self.running.state


class PackedTrainable:
    """Advances the trials that the driver orders, and returns as soon as one of them has a result.

    Ray's configuration has a `PackJob` as `job`. The first step only starts trials, and says how many there
    is room for.
    """

    takes_packs = True

    def setup(self, config: dict[str, Any]) -> None:
        """Load nothing yet: the first trial loads backbone and data."""
        job: PackJob = config["job"]
        torch.set_num_threads(job.threads)
        self.engines = LoadedEngine()
        self._packs: tuple[Engine, PackEngine] | None = None
        self._begin(job)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next pack; Ray calls this on an actor after its pack has ended."""
        self.cleanup()
        self._begin(new_config["job"])
        return True

    def cleanup(self) -> None:
        """Finish the trials that are left."""
        for number in list(self.slots):
            self._drop(number)

    def step(self) -> dict[str, Any]:
        """Obey new orders, then advance the trials until one has a result, or the room has changed."""
        waited_since = time.monotonic()
        self._obey()
        found = self._due()
        while not found and self._room == self._said:
            if self.slots:
                found = self._advance()
                self._poll()
            elif time.monotonic() - waited_since > WAIT_FOR_ORDERS_S:
                break
            else:
                time.sleep(0.01)
                self._obey()
            found += self._due()
        return self._result(sorted(found, key=lambda result: result.trial))

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Save nothing for Ray: our checkpoints are in the experiment's folder."""
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See `save_checkpoint`."""

    # --- orders -----------------------------------------------------------------------------------

    def _begin(self, job: PackJob) -> None:
        self._job = job
        self.slots: dict[int, Slot] = {}
        self._unstarted: list[TrialResult] = []
        self._waiting: list[PackedTrial] = []
        """Trials for which there is no memory until another one ends."""
        self._freed = False
        self._clock, self._read, self._moved = 0, 0, False
        self._packing = {each.group: each for each in job.decided}
        """How many trials it takes, by group."""
        self._news: set[str] = set()
        """The groups of which the driver does not know that yet."""
        self._said = 0
        self._room = self._room_now()
        self._polled_at = time.monotonic()
        self._halt = job.experiment / CONTROL / HALT

    def _obey(self) -> None:
        """Carry out orders that are new. A file that cannot be read is read again later."""
        try:
            given = PackOrders.model_validate_json(self._job.orders.read_bytes())
        except (OSError, ValidationError):
            return
        for order in given.orders:
            if order.number <= self._read:
                continue
            if order.start is not None:
                self._start(order.start)
            if order.leave is not None:
                self._drop(order.leave, save=order.save)
            self._read = order.number
        self._settle()

    def _start(self, entry: PackedTrial) -> None:
        """Start or restore a trial."""
        self._drop(entry.trial)
        try:
            running = RunningTrial(self._job.job_of(entry), self._engine)
        except Exception as error:
            failure = Failure(reason=reason_of(error))
            self._unstarted.append(TrialResult(trial=entry.trial, failure=failure, done=True))
            return
        if running.lacked_memory and any(slot.running.state is not None for slot in self.slots.values()):
            running.note("memory ran out, so it waits until another trial of its worker ends")
            running.leave()
            self._waiting.append(entry)
            return
        clock = None
        if entry.joined is not None and running.state is not None:
            clock = entry.joined + running.state.step
        self.slots[entry.trial] = Slot(running, clock)
        self._share()
        self._decide_lanes(running)
        self._room = self._room_now()

    def _decide_lanes(self, running: RunningTrial) -> None:
        """Decide how many trials like this one the worker takes, unless that was decided before."""
        state = running.state
        group = None if state is None else group_of(state.config)
        if state is None or group is None or group in self._packing:
            return
        if self._job.lanes is not None:
            self._packing[group] = Packing(group=group, lanes=self._job.lanes, why=WhyLanes.ASKED)
            return
        try:
            found = lanes(group, state, self._pack(), threads=self._job.threads)
        except Exception as error:
            if not ran_out_of_memory(error):  # its own steps show what is wrong with this trial
                running.note(f"packing: it cannot be seen how many trials fit: {reason_of(error)}")
                return
            found = Packing(group=group, lanes=1, why=WhyLanes.OUT_OF_MEMORY)
        self._decided(found)

    def _room_now(self) -> int:
        return room_of((each.lanes for each in self._packing.values()), self._job.lanes)

    def _decided(self, packing: Packing) -> None:
        """Take over how many trials of a group the worker takes; the driver and the trials' logs are told."""
        self._packing[packing.group] = packing
        self._news.add(packing.group)
        for slot in self.slots.values():
            if slot.running.state is not None and group_of(slot.state.config) == packing.group:
                slot.running.note(f"packing: {packing.told}")

    def _settle(self) -> None:
        """Trials without a position join where the pack is: before its first step, with the furthest back."""
        known = [slot.clock for slot in self.slots.values() if slot.clock is not None]
        if not self._moved:
            self._clock = min(known, default=0)
        for slot in self.slots.values():
            slot.clock = self._clock if slot.clock is None else slot.clock

    def _drop(self, number: int, *, save: bool = False) -> None:
        self._waiting = [entry for entry in self._waiting if entry.trial != number]
        slot = self.slots.pop(number, None)
        if slot is not None:
            if save:
                slot.running.save_now()
            slot.running.leave()
            self._share()
            self._freed = True

    def _start_waiting(self) -> None:
        """Start the trials that memory had no room for, once another trial has ended."""
        if not self._waiting or not self._freed:
            return
        self._freed = False
        waiting, self._waiting = self._waiting, []
        for entry in waiting:
            self._start(entry)
        self._settle()

    def _share(self) -> None:
        for slot in self.slots.values():
            slot.running.partners = len(self.slots)

    def _engine(self) -> Engine:
        return self.engines.of(self._job)

    def _pack(self) -> PackEngine:
        engine = self._engine()
        if self._packs is None or self._packs[0] is not engine:
            self._packs = engine, PackEngine(engine)
        return self._packs[1]

    # --- steps ------------------------------------------------------------------------------------

    def _due(self) -> list[TrialResult]:
        """Results due before another step: of trials that could not be started, and reports sent again.

        A report is sent again when the others have come as far, so that reports keep their order.
        """
        self._start_waiting()
        found, self._unstarted = self._unstarted, []
        clock = self._furthest_back()
        for slot in self._ordered():
            if slot.running.state is None or slot.clock == clock:
                due = slot.running.due()
                found += [] if due is None else [due]
        return self._ended(found)

    def _advance(self) -> list[TrialResult]:
        """Take one step of the trials that are furthest back: all of them, unless some have to catch up."""
        clock = self._furthest_back()
        moving = [slot for slot in self._ordered() if slot.clock == clock]
        reports: dict[int, Report | Exception] = {}
        with moving[0].running.machine.busy() if moving else nullcontext():
            for state, report in self._pack().advance([slot.state for slot in moving], steps=1):
                reports[id(state)] = report
        found = []
        for slot in moving:
            slot.clock = clock + 1
            result = self._taken(slot, reports.get(id(slot.state)))
            if result is not None:
                found.append(result)
        self._clock, self._moved = clock + 1, True
        self._learn_from_steps()
        return self._ended(found)

    def _learn_from_steps(self) -> None:
        """Take over what steps have shown: that memory ran out, and whether packing pays."""
        pack = self._pack()
        for group, known in list(self._packing.items()):
            if (most := pack.limits.get(group, known.lanes)) < known.lanes:
                self._decided(known.model_copy(update={"lanes": most, "why": WhyLanes.OUT_OF_MEMORY}))
                self._room = self._room_now()
            elif known.timed is None and (gain := pack.gains.get(group)) is not None:
                self._decided(with_gain(known, gain))

    def _furthest_back(self) -> int:
        """The position of the trials that go next."""
        ran = [slot.clock for slot in self.slots.values() if slot.running.state is not None]
        return min((clock for clock in ran if clock is not None), default=self._clock)

    def _taken(self, slot: Slot, report: Report | Exception | None) -> TrialResult | None:
        """The result of a slot's step, if it has one; what goes wrong here concerns this slot only."""
        running = slot.running
        if isinstance(report, Exception):
            return running.failed(reason_of(report), "".join(traceback.format_exception(report)))
        try:
            if report is not None:
                return running.reported(report)
            running.save_if_due()
            if running.lost:
                return running.given_up()
        except Exception as error:
            return running.failed(reason_of(error), traceback.format_exc())
        return None

    def _poll(self) -> None:
        """Twice a second: obey orders that came during an epoch, and save if the sweep is about to end."""
        if time.monotonic() - self._polled_at < POLL_INTERVAL_S:
            return
        self._polled_at = time.monotonic()
        self._obey()
        self._save_if_halted()

    def _save_if_halted(self) -> None:
        if self._halt.exists():
            for slot in self._ordered():
                with suppress(Exception):  # one that cannot be saved must not keep the others from it
                    slot.running.save_if_halted()

    def _ended(self, results: list[TrialResult]) -> list[TrialResult]:
        """The same results; trials that are done with them give up their slots."""
        for result in results:
            if result.done:
                self._drop(result.trial)
        return results

    def _ordered(self) -> list[Slot]:
        return [slot for _, slot in sorted(self.slots.items())]

    # --- results ----------------------------------------------------------------------------------

    def _result(self, results: list[TrialResult]) -> dict[str, Any]:
        self._save_if_halted()  # short epochs may leave no time for a poll between two results
        self._said = self._room
        packing = [self._packing[group] for group in sorted(self._news)]
        self._news.clear()
        return PackResult(
            trial=self._job.trial,
            results=results,
            room=self._said,
            read=self._read,
            clock=self._clock,
            packing=packing,
        ).for_ray()
