"""Advances the trials of a worker: those of one group take their steps together, all others alone.

A step of several trials is one forward and one backward pass over the images of all of them. Each trial
keeps its own model, optimizer and position: its parameters are stacked for the step, and autograd divides
the gradients. So trials join and leave at any step, and their checkpoints are those of a trial alone.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.data.loader import Batch
from trainables.features.prefix import Prefix
from trainables.packing.agreement import agrees
from trainables.packing.forwards import Forward
from trainables.packing.gain import Comparison, Gain
from trainables.packing.group import group_of
from trainables.packing.lane_memory import bytes_of_training, counting_saved
from trainables.packing.lanes import Lane
from trainables.packing.stacked import PackedModel
from trainables.packing.untouched import untouched
from trainables.specs.report import Report
from trainables.tasks.base import autocast
from trainables.training.engine import Engine
from trainables.training.evaluation import ran_out_of_memory
from trainables.training.gradient_audit import audited_kind
from trainables.training.optimizer import excess
from trainables.training.state import TrialState

Found = tuple[TrialState, Report | Exception]
KNOWN = 64
"""The most trials whose groups are remembered."""

Shape = tuple[tuple[torch.Size, bool], ...]


@dataclass(frozen=True)
class _Step:
    """A trial and the batches of its next optimizer step.  prefix: what computed their hidden states."""

    state: TrialState
    batches: list[Batch]
    prefix: Prefix | None

    @property
    def shape(self) -> Shape:
        """Steps of one group are taken together if this is equal, too."""
        return tuple((batch.images.shape, batch.hidden is not None) for batch in self.batches)


class PackEngine:
    """An engine whose trials take their steps together where they can; see `group_of`."""

    def __init__(self, engine: Engine, forward: Forward | None = None) -> None:
        """forward: how a packed model runs on this device; as it is by default."""
        self._engine = engine
        self._forward = forward
        self._models: dict[str, PackedModel] = {}
        """By group."""
        self.trusted: dict[tuple[str, str], bool] = {}
        self.limits: dict[str, int] = {}
        """The most trials in a step, by group, where memory has run out with more."""
        self.gains: dict[str, Gain] = {}
        """By group, once known."""
        self._compares = forward is None
        """Whether some steps are taken one trial at a time; recorded passes would be recorded for each."""
        self._comparisons: dict[tuple[str, Shape], Comparison] = {}
        self._known: dict[int, tuple[TrialState, tuple[str | None, str]]] = {}

    @property
    def device(self) -> torch.device:
        """The device that it computes on."""
        return self._engine.device

    def bytes_of_lane(self, state: TrialState) -> int | None:
        """The memory that a trial adds to a step, without what only lives during an operation.

        None if the packed model computes something else than the trial alone. The trial stays as it was.
        """
        group, kind = self._keys(state)
        assert group is not None
        if not self._may_pack(group, kind):
            return None
        with untouched(state):
            step = self._begun(state)
            if not self._packs(group, kind, step):
                return None
            model, device = self._models[group], self.device
            model.begin([state])
            with (
                counting_saved([*model.tensors, *state.model.parameters()]) as saved,
                autocast(device, state.config.precision),
                model.resumed(step.prefix),
            ):
                model.losses([Lane.of(state, device)], [step.batches[0].to(device)])
        return saved.bytes + bytes_of_training(state)

    def advance(self, states: Sequence[TrialState], *, steps: int | None = None) -> Iterator[Found]:
        """Advance every state to its next report, or by `steps` optimizer steps if that comes first.

        States may join and leave between two calls; what a trial computes does not depend on the others.
        If the step of one state fails, its error comes in place of a report, and the others go on.
        """
        running = [state for state in states if not state.done]
        taken = 0
        while running and (steps is None or taken < steps):
            taken += 1
            for state, found in self._advance_all(running):
                running = [other for other in running if other is not state]
                yield state, found

    def reports(self, states: Sequence[TrialState]) -> Iterator[tuple[TrialState, Report]]:
        """Advance every state to its next report. Raises the error of a state whose step fails."""
        for state, found in self.advance(states):
            if isinstance(found, Exception):
                raise found
            yield state, found

    def timed_step(self, states: Sequence[TrialState]) -> float:
        """The seconds of one optimizer step of all states, without reports that may follow it.

        Raises the error of a state whose step fails.
        """
        started = time.perf_counter()
        for _, found in self._advance_all(states, report=False):
            if isinstance(found, Exception):
                raise found
        return time.perf_counter() - started

    def _advance_all(self, states: Sequence[TrialState], *, report: bool = True) -> Iterator[Found]:
        """Take one step of each state. report: with the reports that follow it."""
        together: dict[tuple[str, Shape], list[_Step]] = {}
        alone = []
        started = time.perf_counter()
        for state in states:
            group, kind = self._keys(state)
            if group is None or not self._may_pack(group, kind):  # before its batches are loaded
                alone.append(state)
                continue
            try:
                step = self._begun(state)
                if not self._packs(group, kind, step):
                    alone.append(state)
                else:
                    together.setdefault((group, step.shape), []).append(step)
            except Exception as error:
                if ran_out_of_memory(error):  # of a whole batch, which is divided there
                    alone.append(state)
                else:
                    yield state, error
        begun_s = (time.perf_counter() - started) / max(1, len(states))
        for (group, shape), members in together.items():
            yield from self._advance_group(group, shape, members, begun_s=begun_s, report=report)
        for state in alone:
            if report:
                yield from self._advance_alone(state)
            else:
                self._engine.timed_step(state)

    def _keys(self, state: TrialState) -> tuple[str | None, str]:
        """The trial's group, and its kind within the group."""
        known = self._known.get(id(state))
        if known is None or known[0] is not state:
            if len(self._known) > KNOWN:
                self._known.clear()
            keys = group_of(state.config), audited_kind(state.config, state.parts)
            known = self._known[id(state)] = state, keys
        return known[1]

    def _advance_group(
        self, group: str, shape: Shape, members: Sequence[_Step], *, begun_s: float, report: bool
    ) -> Iterator[Found]:
        """Take one step of trials that can take it together: at once, or in parts if that is better."""
        most = min(len(members), self.limits.get(group, len(members)))
        gain = self.gains.get(group)
        if gain is not None and not gain.pays and len(members) > gain.lanes:
            gain = None  # it may pay with more
        if gain is not None or most < max(2, len(members)) or not self._compares:
            most = 1 if gain is not None and not gain.pays else most
            for part in _parts(members, most):
                yield from self._advance_together(group, part, report=report)
            return
        comparison = self._comparisons.setdefault((group, shape), Comparison())
        alone = comparison.next_alone(len(members))
        took, reports, limit = begun_s, 0, self.limits.get(group)
        for part in _parts(members, 1 if alone else most):
            model = self._models[group]
            with suppress(Exception):  # what is wrong shows itself in the step
                # What is done once for each set of trials is no part of the time.
                model.begin(model.ordered([step.state for step in part]))
            started = self._now()
            for found in self._advance_together(group, part, report=report):
                reports += 1
                yield found
            took += (self._now() - started) / len(members)
        if not reports and limit == self.limits.get(group):  # a report may take longer than the step
            comparison.took(took, alone=alone)
            if comparison.gain is not None:
                self.gains[group] = comparison.gain

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _advance_alone(self, state: TrialState) -> Iterator[Found]:
        try:
            yield from self._engine.advance([state], steps=1)
        except Exception as error:
            yield state, error

    def _begun(self, state: TrialState) -> _Step:
        started = time.perf_counter()
        stage = self._engine.features_of(state)
        batches = [stage.with_states(batch) for batch in self._engine.begin_step(state)]
        state.spent.train_s += time.perf_counter() - started
        return _Step(state, batches, None if stage.kept is None else stage.kept.prefix)

    def _may_pack(self, group: str, kind: str) -> bool:
        """Whether nothing is known against it."""
        return self._engine.task.packs and self.trusted.get((group, kind), True)

    def _packs(self, group: str, kind: str, step: _Step) -> bool:
        """Whether the packed model computes what trials of this kind compute alone; checked once a kind."""
        state, key = step.state, (group, kind)
        if key not in self.trusted:
            if group not in self._models:
                self._models[group] = PackedModel(self._engine.task, state.config, self._forward)
            with self._engine.features_of(state).resumed(), self._models[group].resumed(step.prefix):
                self.trusted[key] = agrees(
                    self._engine.task, self._models[group], state, step.batches[0], self._engine.device
                )
        return self.trusted[key]

    def _advance_together(self, group: str, steps: Sequence[_Step], *, report: bool) -> Iterator[Found]:
        failed: Exception | None = None
        started = time.perf_counter()
        try:
            losses = self._backward(group, steps)
            scales = self._clip_scales([step.state for step in steps])
        except Exception as error:
            failed = error
            if len(steps) > 1 or ran_out_of_memory(error):
                failed.__traceback__ = None  # its frames hold what the step has computed
        if failed is not None:
            yield from self._after_failure(group, steps, failed, report=report)
            return
        share = (time.perf_counter() - started) / len(steps)
        for step, loss, scale in zip(steps, losses, scales, strict=True):
            step.state.spent.train_s += share
            step.state.spent.lanes = max(step.state.spent.lanes, len(steps))
            yield from self._finish(step, loss, scale, report=report)

    def _after_failure(
        self, group: str, steps: Sequence[_Step], error: Exception, *, report: bool
    ) -> Iterator[Found]:
        """Take the step in halves: memory may suffice for them, and one trial does not end the others."""
        for step in steps:
            step.state.mover.forget()
        short = ran_out_of_memory(error)
        if short and self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(steps) > 1:
            middle = len(steps) // 2
            if short:
                self.limits[group] = min(self.limits.get(group, len(steps)), len(steps) - middle)
            for half in (steps[:middle], steps[middle:]):
                yield from self._advance_together(group, half, report=report)
        elif short:
            yield from self._in_micro_batches(steps[0].state, report=report)
        else:
            yield steps[0].state, error

    def _in_micro_batches(self, state: TrialState, *, report: bool) -> Iterator[Found]:
        """Take the step of a trial that does not fit on its own; from now on it takes its steps alone."""
        self._known[id(state)] = state, (None, self._keys(state)[1])
        if report:
            yield from self._advance_alone(state)
            return
        try:
            self._engine.timed_step(state)
        except Exception as error:
            yield state, error

    def _clip_scales(self, states: Sequence[TrialState]) -> list[Tensor | None]:
        """See `Engine.clip_scale`; the norms of all trials' gradients are computed in one call.

        The total norm is one of each trial: a sum over rows may add in another order if there are more rows.
        """
        gradients = [state.mover.gradients() for state in states]
        whole = [gradient for own in gradients for gradient in own]
        if not whole:
            return [None] * len(states)
        norms = torch.split(torch.stack(torch._foreach_norm(whole)), [len(own) for own in gradients])  # type: ignore[no-untyped-call]
        return [
            None if state.config.clip_norm is None or not len(own) else excess(own, state.config.clip_norm)
            for state, own in zip(states, norms, strict=True)
        ]

    def _finish(self, step: _Step, loss: Tensor, scale: Tensor | None, *, report: bool) -> Iterator[Found]:
        started = time.perf_counter()
        try:
            finite = self._engine.finish_step(step.state, step.batches, loss, scale)
            step.state.spent.train_s += time.perf_counter() - started
            found = self._engine.report_after(step.state, finite=finite) if report else None
        except Exception as error:
            yield step.state, error
        else:
            if found is not None:
                yield step.state, found

    def _backward(self, group: str, steps: Sequence[_Step]) -> list[Tensor]:
        """Compute all trials' gradients; returns the loss of each."""
        model = self._models[group]
        device, precision = self._engine.device, steps[0].state.config.precision
        of = {id(step.state): step for step in steps}
        states = model.ordered([step.state for step in steps])
        lanes = [Lane.of(state, device) for state in states]
        images = sum(len(batch.indices) for batch in steps[0].batches)
        total = torch.zeros(len(lanes), device=device)
        model.begin(states)
        for number, batch in enumerate(steps[0].batches):
            batches = [of[id(lane.state)].batches[number].to(device) for lane in lanes]
            with autocast(device, precision), model.resumed(steps[0].prefix):
                losses = model.losses(lanes, batches)
            losses = losses * (len(batch.indices) / images)
            losses.sum().backward()  # type: ignore[no-untyped-call]
            total += losses.detach()
        model.end()
        found = {}
        for lane, loss in zip(lanes, total, strict=True):
            penalty = lane.state.adapted.penalty()
            if penalty is not None:
                penalty.backward()  # type: ignore[no-untyped-call]
                loss = loss + penalty.detach()
            found[id(lane.state)] = loss
        return [found[id(step.state)] for step in steps]


def _parts(members: Sequence[_Step], most: int) -> list[Sequence[_Step]]:
    """The members in parts of at most `most`, of about the same size."""
    count = -(-len(members) // most)
    ends = [len(members) * number // count for number in range(count + 1)]
    return [members[start:end] for start, end in itertools.pairwise(ends)]
