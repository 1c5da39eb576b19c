"""Checks `scheduler.pbt`: that there is a population, and what changes when a trial is replaced."""

from __future__ import annotations

import math
from collections.abc import Iterator

from trainables.specs.parent import changes_in_training
from trainables.wording import plural
from tuning.experiment.checks.draft import Draft
from tuning.experiment.file_errors import Violation, describe_value, suggestion
from tuning.experiment.sections.scheduler import PbtSpec


def check_population(draft: Draft) -> Iterator[Violation]:
    """Check what population-based training needs of the rest of the file."""
    spec = draft.scheduler.pbt if draft.scheduler is not None else None
    if spec is None:
        return
    yield from _search(draft, spec)
    yield from _explore(draft, spec)
    epochs = draft.most_epochs
    if epochs is not None and spec.interval_epochs >= epochs and "epochs" not in draft.touched:
        yield Violation(
            ("scheduler", "pbt", "interval_epochs"),
            f"is {spec.interval_epochs}, but trials run {plural(epochs, 'epoch')}, so none would be replaced;"
            " use a smaller value or scheduler: none",
        )


def _search(draft: Draft, spec: PbtSpec) -> Iterator[Violation]:
    search, at = draft.search, ("scheduler", "pbt")
    if search is None:
        return
    if search.trials is None:
        yield Violation(at, "needs search.trials: that many trials are the population")
    elif search.trials * spec.quantile < 1:
        least = math.ceil(1 / spec.quantile)
        yield Violation(
            (*at, "quantile"),
            f"is {spec.quantile:g}, and the population has {plural(search.trials, 'trial')}, so none would be"
            f" replaced; it needs {least} or more, see search.trials",
        )
    elif (size := draft.space.size() if draft.space else None) is not None and size < search.trials:
        yield Violation(
            ("search", "trials"),
            f"is {search.trials}, but the space has {plural(size, 'configuration')}; the population of"
            " scheduler.pbt needs as many",
        )
    for key in ("epochs", "stop"):
        if getattr(search, key) is not None:
            yield Violation(
                ("search", key),
                "does not apply with scheduler.pbt, whose population trains to its end; remove it",
            )


def _explore(draft: Draft, spec: PbtSpec) -> Iterator[Violation]:
    for place, name in enumerate(spec.explore):
        at = ("scheduler", "pbt", "explore", place)
        if name not in draft.written:
            rule = "which is not searched, so there is no range for it"
            yield Violation(at, f"names {describe_value(name)}, {rule}{suggestion(name, draft.space.names)}")
        elif name in spec.explore[:place]:
            yield Violation(at, f"names {describe_value(name)} twice; name each parameter once")
        elif not changes_in_training(name):
            yield Violation(
                at,
                f"names {name}, which cannot change while a trial trains; rates, weight_decay, clip_norm,"
                " loss, loss_weights, plateau_* and augment.* can",
            )
        elif any(name in draft.space.parents(other) for other in draft.space.names):
            yield Violation(at, f"names {name}, on which the conditions of other parameters depend")
