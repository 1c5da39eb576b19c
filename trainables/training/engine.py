"""Advances trial states, independently of search and of Ray.

`advance` moves one or several states to their next report, taking their steps in turn: solo
training is one state, and a worker, a mid-epoch checkpoint and a pack are the same call.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from trainables.adapters.family import Kept
from trainables.adapters.generators import held_generators
from trainables.data.loader import Batch, train_batches
from trainables.data.prepared import PreparedSplit, open_prepared
from trainables.data.shared_batches import SharedBatches
from trainables.errors import AdapterError, AdaptertuneError, ModelError
from trainables.features.trial_features import Stage
from trainables.metrics.above_floor import Interval
from trainables.metrics.results import Keep
from trainables.models.build import Built, build_model
from trainables.models.freezing import apply_freezing
from trainables.specs.data import Split
from trainables.specs.report import Report
from trainables.specs.trial import Schedule, TrialConfig
from trainables.specs.workload import Workload
from trainables.tasks.base import autocast
from trainables.tasks.registry import load_task
from trainables.training.evaluation import metrics_of, smaller_batch
from trainables.training.freed_memory import keep_freed_memory
from trainables.training.gradient_audit import audited_kind, parameters_without_gradient
from trainables.training.initial_look import TrainingProbe
from trainables.training.lr_schedule import Plateau, rate_factor
from trainables.training.optimizer import Mover, excess, make_optimizer
from trainables.training.peak_memory import peak_memory_mb, reset_peak_memory
from trainables.training.seeds import draw_from, seed_of
from trainables.training.sized_images import TrialImages
from trainables.training.state import BestReport, Pace, Spent, TrialState
from trainables.training.validation import Validated

CHECK_LOSS_EVERY = 32
"""Steps between checks of the loss on a GPU, where a check waits for the device."""


class Engine:
    """One backbone, one data set and one device for any number of trial states."""

    def __init__(self, workload: Workload, prepared: Path, *, device: str | None = None) -> None:
        """Load the backbone and map the prepared data. Raises ModelError or DataError."""
        self.workload = workload
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if self.device.type == "cpu":
            keep_freed_memory()
        opened = open_prepared(prepared)
        self._audited: dict[str, tuple[str, ...]] = {}
        """The parameters without a gradient, by kind of trial."""
        self._batches = SharedBatches()
        self.task = load_task(workload, opened.classes, self.device)
        self._images = TrialImages(workload, opened, self.task, self.device)
        own = self._images.own
        self.data, self.domains, self._validation = own.data, own.domains, own.validation
        self.told = own.features.told  # why features are not kept, each reason once

    def start(self, config: TrialConfig, *, number: int = 0, kept: Kept | None = None) -> TrialState:
        """A new trial at step 0.

        kept: of the checkpoint that the trial will be restored from, so that initial weights are not
        computed from training images again, and that nothing is refused that has run before.

        Raises AdapterError if the adapter does not fit the model; see also `parameters_without_gradient`.
        """
        reset_peak_memory(self.device)
        draw_from(seed_of(config.seed, 0, stream=1), self.device)
        training = self._training(config)
        pace = Pace.of(config, len(training))
        start = TrainingProbe(self.task, training, config, self.device) if kept is None else kept
        built = build_model(self.task, config, total_steps=pace.total_steps, start=start)
        optimizer, direction = make_optimizer(built.parts, config), self.workload.direction
        return TrialState(
            number=number,
            config=config,
            classes=self.data.classes,
            model=built.model,
            adapted=built.adapted,
            parts=built.parts,
            optimizer=optimizer,
            mover=Mover(optimizer),
            pace=pace,
            best=BestReport.start(direction),
            plateau=Plateau.start(direction),
            still=self._without_gradient(built, config, new=kept is None),
            generators=tuple(held_generators(built.model).values()),
            features=tuple(sized.features_of(built, config) for sized in self._images.of(config)),
            micro_batch=config.batch_size,
        )

    def _without_gradient(self, built: Built, config: TrialConfig, *, new: bool) -> tuple[str, ...]:
        """Audit the first trial of each kind: what trains does not depend on the size of a number."""
        if config.epochs == 0:
            return ()
        kind = audited_kind(config, built.parts)
        if kind not in self._audited:
            try:
                self._audited[kind] = parameters_without_gradient(
                    self.task, built.model, built.parts, config, self._training(config)
                )
            except (AdapterError, ModelError):
                if new:
                    raise
                return ()  # it began before there was an audit, and goes on
        return self._audited[kind]

    def advance(
        self, states: Sequence[TrialState], *, steps: int | None = None
    ) -> Iterator[tuple[TrialState, Report]]:
        """Advance every state to its next report, or by `steps` optimizer steps if that comes first."""
        running = [s for s in states if not s.done]
        taken = 0
        while running and (steps is None or taken < steps):
            taken += 1
            for state in list(running):
                report = self._advance_one(state)
                if report is not None:
                    running.remove(state)
                    yield state, report

    def timed_step(self, state: TrialState) -> float:
        """The seconds of one optimizer step, without a report that may follow it."""
        started = time.perf_counter()
        self._step(state)
        return time.perf_counter() - started

    def evaluate(
        self,
        model: nn.Module,
        config: TrialConfig,
        split: Split | PreparedSplit,
        *,
        batch_size: int = 32,
        keep: Keep | None = None,
        choose_threshold: bool = False,
    ) -> dict[str, float]:
        """Metrics of `model` on a split of the data, or on another split with the same classes.

        keep: called with the results of each image.  choose_threshold: see `TaskModel.evaluate`.
        """
        part = self.data.splits[split] if isinstance(split, Split) else split
        return metrics_of(
            self.task,
            model,
            part,
            config,
            device=self.device,
            batch_size=batch_size,
            keep=keep,
            choose_threshold=choose_threshold,
        )

    @property
    def floors(self) -> dict[str, dict[str, float]]:
        """See `Validation.floors`."""
        return self._validation.floors

    def validate(self, model: nn.Module, config: TrialConfig, *, batch_size: int = 32) -> Validated:
        """What a report says of validation images; see `Validation.measure`."""
        return self._validation.measure(model, config, batch_size=batch_size)

    def baseline_metrics(self) -> dict[str, float] | None:
        """Validation metrics of the pretrained baseline; None if its head is new, or trials have folds."""
        if self.task.fresh_head or self.workload.each_fold:
            return None
        return self.validate(*self.baseline_model()).metrics

    def baseline_model(self) -> tuple[nn.Module, TrialConfig]:
        """The pretrained baseline and its configuration."""
        config = TrialConfig.model_validate_json('{"adapter": "none"}')
        return self.task.assemble(config, share=True), config

    def _training(self, config: TrialConfig, epoch: int = 0) -> PreparedSplit:
        """The training images that a trial uses in an epoch."""
        return self._images.of(config)[self._images.stage(epoch)].training(config.train_fraction)

    # --- one step ---------------------------------------------------------------------------

    def _advance_one(self, state: TrialState) -> Report | None:
        if state.config.epochs == 0:
            return self._report(state)
        started = time.perf_counter()
        finite = self._step(state)
        state.spent.train_s += time.perf_counter() - started
        return self.report_after(state, finite=finite)

    def _step(self, state: TrialState) -> bool:
        """Take one optimizer step; returns whether the loss was finite, if it was checked."""
        group = self.begin_step(state)
        with self.features_of(state).resumed():
            loss = self.backward(state, group)
        return self.finish_step(state, group, loss, self.clip_scale(state))

    def begin_step(self, state: TrialState) -> list[Batch]:
        """Set what trains, its learning rates and training mode; returns the step's batches."""
        config, pace = state.config, state.pace
        epoch, inside = divmod(state.step, pace.steps_per_epoch)
        if state.frozen_for != epoch:
            apply_freezing(state.parts, config, epoch=float(epoch))
            state.frozen_for = epoch
        self._set_rates(state)
        images = self.features_of(state).training(self._training(config, epoch))
        batches = train_batches(
            images, epoch=epoch, seed=config.seed, batch_size=config.batch_size, augment=config.augment,
            sampling=config.sampling,
        )  # fmt: skip
        numbers = range(pace.batches_per_epoch)[inside * config.accumulate :][: config.accumulate]
        waited = time.perf_counter()
        group = [self._batches.of(batches, i) for i in numbers]
        state.spent.wait_s += time.perf_counter() - waited
        _train_mode(state)
        return group

    def clip_scale(self, state: TrialState) -> torch.Tensor | None:
        """What to divide the gradients by, so that their norm is at most `clip_norm`; None for no limit."""
        gradients = state.mover.gradients()
        if state.config.clip_norm is None or not gradients:
            return None
        return excess(torch.stack(torch._foreach_norm(gradients)), state.config.clip_norm)

    def finish_step(
        self, state: TrialState, group: Sequence[Batch], loss: torch.Tensor, scale: torch.Tensor | None
    ) -> bool:
        """Move the weights by their gradients, divided by `scale`.

        Returns whether the loss was finite, if it was checked.
        """
        check = self.device.type == "cpu" or state.step % CHECK_LOSS_EVERY == 0
        if check and not math.isfinite(float(loss)):
            return False
        state.mover.step(scale)
        state.step += 1
        state.adapted.after_step(state.step)
        state.mover.forget()
        state.spent.samples += sum(len(b.indices) for b in group)
        return True

    def features_of(self, state: TrialState) -> Stage:
        """What the trial's frozen blocks compute, at its present epoch."""
        epoch = state.step // max(1, state.pace.steps_per_epoch)
        return state.features[self._images.stage(epoch)].at(epoch)

    def report_after(self, state: TrialState, *, finite: bool) -> Report | None:
        """The report that follows the step just taken, if one does. finite: what the step returned."""
        if not finite:
            return self._diverged(state)
        if state.pace.reports_after(state.step):
            return self._report(state)
        return None

    def backward(self, state: TrialState, group: list[Batch]) -> torch.Tensor:
        """Compute gradients of the mean loss over the group, in micro-batches that shrink until they fit."""
        own = [(generator, generator.get_state()) for generator in state.generators]
        while True:
            try:
                draw_from(seed_of(state.config.seed, state.step), self.device)
                return self._accumulate(state, group)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                for generator, before in own:
                    generator.set_state(before)
                state.mover.forget()
                state.micro_batch = smaller_batch(state.micro_batch, error, self.device)

    def _accumulate(self, state: TrialState, group: list[Batch]) -> torch.Tensor:
        images = sum(len(b.indices) for b in group)
        total = torch.zeros((), device=self.device)
        for batch in group:
            for piece in batch.pieces(state.micro_batch):
                with autocast(self.device, state.config.precision):
                    loss = self.task.loss(state.model, piece.to(self.device), state.config)
                loss = loss * (len(piece.indices) / images)
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        penalty = state.adapted.penalty()
        if penalty is not None:
            penalty.backward()  # type: ignore[no-untyped-call]
            total += penalty.detach()
        return total

    def _set_rates(self, state: TrialState) -> None:
        factor = rate_factor(state.config, step=state.step, total_steps=state.pace.total_steps)
        if state.config.schedule is Schedule.PLATEAU:
            factor = state.plateau.factor
        for group in state.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor

    # --- reports ----------------------------------------------------------------------------

    def _report(self, state: TrialState) -> Report:
        started = time.perf_counter()
        squeezed = state.micro_batch < state.config.batch_size
        size = state.micro_batch if squeezed else 32
        per_epoch = max(1, state.pace.steps_per_epoch)
        stage = self._images.stage(max(0, state.step - 1) // per_epoch)  # at the end of an epoch, of this one
        sized = self._images.of(state.config)
        smaller = stage < len(sized) - 1
        features = state.features[stage].at(state.step // per_epoch)
        with features.resumed():
            found = sized[stage].validation.measure(
                state.model, state.config, batch_size=size, features=lambda p: features.evaluation(p, size)
            )
        metrics = found.metrics
        evaluate_s = time.perf_counter() - started
        value = metrics.get(self.workload.objective.metric)
        if value is None:
            raise AdaptertuneError(
                f"objective.metric '{self.workload.objective.metric}' is not among the reported metrics: "
                f"{', '.join(sorted(metrics))}"
            )
        if not math.isfinite(value):
            return self._diverged(state)
        direction, config = self.workload.direction, state.config
        epoch = state.pace.epoch_of(state.step) if config.epochs else 0.0
        stopping = config.early_stopping
        if state.best.stage != stage:  # values on images of two sizes do not compare
            state.best = BestReport.start(direction, stage)
            state.plateau = state.plateau.without_best(direction)
        before = state.best.epoch
        state.best = state.best.after(value, epoch, direction, stopping.min_delta if stopping else 0.0)
        state.improved = state.best.epoch != before
        state.plateau = state.plateau.after(value, config, direction)
        finished = state.step >= state.pace.total_steps
        stopped = stopping is not None and state.best.stale >= stopping.patience and not finished
        state.done = finished or stopped
        return self._close_report(
            state,
            metrics=metrics,
            objective=state.best.objective(value, self.workload.objective.value),
            above_floor=None if smaller else found.above_floor,
            image_size=sized[stage].data.image_size if smaller else None,
            epoch=epoch,
            evaluate_s=evaluate_s,
            outcome=("early_stopped" if stopped else "completed") if state.done else None,
        )

    def _diverged(self, state: TrialState) -> Report:
        state.done, state.improved = True, False
        return self._close_report(
            state,
            metrics={},
            objective=math.nan,
            above_floor=None,
            epoch=state.pace.epoch_of(state.step),
            evaluate_s=0.0,
            outcome="diverged",
        )

    def _close_report(
        self,
        state: TrialState,
        *,
        metrics: dict[str, float],
        objective: float,
        above_floor: Interval | None,
        epoch: float,
        evaluate_s: float,
        outcome: str | None,
        image_size: tuple[int, int] | None = None,
    ) -> Report:
        spent, state.spent = state.spent, Spent()
        return Report(
            epoch=epoch,
            step=state.step,
            metrics=metrics,
            objective=objective,
            above_floor=above_floor,
            train_s=spent.train_s,
            evaluate_s=evaluate_s,
            wait_s=spent.wait_s,
            samples=spent.samples,
            peak_mb=peak_memory_mb(self.device),
            done=state.done,
            lanes=spent.lanes,
            image_size=image_size,
            outcome=outcome,  # type: ignore[arg-type]
        )


def _train_mode(state: TrialState) -> None:
    """Set training mode if it may have changed: visiting all modules takes as long as some layers."""
    if state.model.training and state.step % state.pace.steps_per_epoch:
        return
    state.model.train()
    for module in state.parts.frozen_modules(state.config, state.step // state.pace.steps_per_epoch):
        module.training = False
