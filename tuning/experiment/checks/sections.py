"""Checks that the parts of an experiment fit together, before anything starts.

Each check takes a `Draft` and yields violations at paths of the plain values: the path of a parameter's
domain is ("space", name, number of the alternative, key), that of a fixed setting ("trial", name).
Checks of whole configurations are in `tuning.experiment.checks.combinations`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trainables.backbones import EMBEDDED, no_backbone
from trainables.specs.workload import Task
from trainables.wording import plural
from tuning.experiment.checks.data import check_data, check_fold
from tuning.experiment.checks.draft import Draft, is_inside, join_or
from tuning.experiment.checks.goals import check_goals
from tuning.experiment.checks.local_checkpoint import config_of
from tuning.experiment.checks.objective import check_loss_weights, check_objective
from tuning.experiment.checks.peft_methods import method_error
from tuning.experiment.checks.population import check_population
from tuning.experiment.checks.smaller_images import check_smaller_images
from tuning.experiment.checks.space import check_space
from tuning.experiment.file_errors import Violation, describe_value, suggestion
from tuning.experiment.sections.scheduler import AshaRule, SchedulerSpec
from tuning.experiment.sections.search import TAKE_PRIORS
from tuning.experiment.space import ADAPTER, SECTION_NAMES

if TYPE_CHECKING:
    from tuning.experiment.sections.search import SearchSpec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_parts(draft: Draft) -> Iterator[Violation]:
    """All checks that need no whole configuration."""
    yield from _name(draft)
    yield from _backbone(draft)
    if draft.data is not None:
        yield from check_data(draft.data, draft.task)
        yield from check_fold(draft)
    yield from check_objective(draft)
    yield from check_goals(draft)
    yield from check_loss_weights(draft)
    yield from _settings(draft)
    yield from check_space(draft)
    yield from _search(draft)
    yield from _scheduler(draft)
    yield from check_smaller_images(draft)


def check_first(draft: Draft) -> Iterator[Violation]:
    """Check that the configurations to try first are inside the space. The space must be valid."""
    for number, params in enumerate(draft.first):
        at = ("search", "first", number)
        for name in params:
            if name not in draft.space.root:
                yield Violation((*at, name), f"is not in the space{suggestion(name, draft.space.names)}")
        inside = {name: value for name, value in params.items() if name in draft.space.root}
        for name, rule in draft.space.locate(inside)[1].items():
            yield Violation((*at, name), rule)


# --- the parts --------------------------------------------------------------------------------


def _name(draft: Draft) -> Iterator[Violation]:
    if draft.name is not None and not _NAME.fullmatch(draft.name):
        yield Violation(
            ("name",),
            "is used as a folder name: use up to 100 letters, digits, '.', '_' or '-', beginning with a "
            f"letter or digit; got {describe_value(draft.name)}",
        )


def _backbone(draft: Draft) -> Iterator[Violation]:
    """A task without an embedded backbone needs a checkpoint."""
    embedded = draft.model is not None and draft.model.name == "embedded"
    if draft.task is not None and embedded and draft.task not in EMBEDDED:
        yield Violation(("model", "name"), no_backbone(draft.task))


def _settings(draft: Draft) -> Iterator[Violation]:
    for name, value in draft.trial.items():
        for other in draft.written:
            if other == name:
                yield Violation(
                    ("trial", name), "is also in space; a setting is either fixed or searched, so remove one"
                )
            elif (is_inside(other, name) and value != {}) or is_inside(name, other):
                yield Violation(
                    ("trial", name), f"overlaps with {other} in space; either fix or search each setting"
                )
        if name == "peft.method" and isinstance(value, str) and (error := method_error(value)) is not None:
            yield Violation(("trial", name), error)
    if draft.task is not None:
        yield from _of_other_tasks(draft, draft.task)
        yield from _of_other_models(draft, draft.task)
    yield from _unused(draft)


def _of_other_tasks(draft: Draft, task: Task) -> Iterator[Violation]:
    for part, names in (("trial", draft.trial), ("space", draft.space.root)):
        for name in names:
            section = name.split(".")[0]
            takers = [other.value for other in Task if section in other.facts.settings]
            if takers and task not in takers:
                yield Violation(
                    (part, name), f"applies to task {' or '.join(takers)} only; {task} uses the model's own"
                )


def _of_other_models(draft: Draft, task: Task) -> Iterator[Violation]:
    """Settings of our own heads and losses, for a local checkpoint of a model that has its own."""
    kind = "" if draft.model is None else config_of(draft.model, task).get("model_type")
    if kind not in task.facts.own_heads:
        return
    for part, names in (("trial", draft.trial), ("space", draft.space.root)):
        for name in names:
            if name.split(".")[0] in task.facts.settings:
                yield Violation((part, name), f"has no meaning for {kind}, which has its own; remove it")


def _unused(draft: Draft) -> Iterator[Violation]:
    adapters = draft.possible_values(ADAPTER)
    if adapters is None or ADAPTER in draft.touched:
        return
    for name in draft.trial:
        section = name.split(".")[0]
        if section in SECTION_NAMES and section not in adapters:
            yield Violation(
                ("trial", name), f"has no effect: adapter is {join_or(adapters)}, never {section}"
            )


# --- search and scheduler ---------------------------------------------------------------------


def _search(draft: Draft) -> Iterator[Violation]:
    search = draft.search
    if search is None or not draft.written:
        return
    yield from _from(search)
    yield from _priors(draft, search)
    if search.cmaes is not None:
        yield from _numbers_only(draft)
    if search.grid is not None:
        for name, domains in draft.space.root.items():
            for number, domain in enumerate(domains):
                if domain.size is None:
                    yield Violation(
                        ("space", name, number, "float"),
                        "needs a step for search.grid; add one, or use tpe or random",
                    )
    elif search.trials is None and search.epochs is None:
        yield Violation(
            ("search", "trials"),
            "is missing; set the number of trials, such as trials: 30, or a budget of training epochs for all"
            " of them, such as epochs: 300",
        )
    yield from _budget(draft, search)
    yield from _stop(search)


def _budget(draft: Draft, search: SearchSpec) -> Iterator[Violation]:
    """`search.epochs` must be enough for one trial, and has no meaning for a table of all configurations."""
    if search.epochs is None:
        return
    at, epochs = ("search", "epochs"), draft.most_epochs
    if search.grid is not None:
        yield Violation(
            at, "has no effect with search.grid, which tries every configuration; remove it, or use random"
        )
    elif epochs is not None and search.epochs < epochs:
        yield Violation(
            at,
            f"is {search.epochs}, a budget for all trials together, but one trial runs"
            f" {plural(epochs, 'epoch')}; use {epochs:g} or more, many times that for a search",
        )


def _stop(search: SearchSpec) -> Iterator[Violation]:
    """`search.stop` must be able to act before the last trial."""
    if search.stop is None:
        return
    key = ("terminator", "trials") if search.stop.terminator is not None else ("after",)
    at = ("search", "stop", *key)
    if search.grid is not None:
        yield Violation(
            ("search", "stop"),
            "has no effect with search.grid, which tries every configuration; remove it, or use random",
        )
    elif search.trials is not None and search.stop.waits_for >= search.trials:
        yield Violation(
            at,
            f"is {search.stop.waits_for}, and the search has {plural(search.trials, 'trial')}, so it could"
            " never stop by itself; use a smaller number, or more trials",
        )


def _numbers_only(draft: Draft) -> Iterator[Violation]:
    """CMA-ES has one normal distribution over numbers that every trial has."""
    for name, domains in draft.space.root.items():
        parents = sorted(draft.space.parents(name))
        for number, domain in enumerate(domains):
            if domain.choice is not None and len(domain.choice) > 1:
                yield Violation(
                    ("space", name, number, "choice"),
                    "search.cmaes takes int and float only; fix this setting, write a range, or use tpe, gp"
                    " or nsga2",
                )
            elif parents:
                yield Violation(
                    ("space", name, number),
                    f"depends on {' and '.join(parents)}, and search.cmaes takes no conditional settings; fix"
                    f" {'it' if len(parents) == 1 else 'them'}, or use tpe, gp or nsga2",
                )


def _priors(draft: Draft, search: SearchSpec) -> Iterator[Violation]:
    """Only some algorithms draw from priors; the others would ignore what the user knows."""
    if search.algorithm in TAKE_PRIORS:
        return
    *others, last = TAKE_PRIORS
    for name, domains in draft.space.root.items():
        for number, domain in enumerate(domains):
            if domain.prior is not None:
                yield Violation(
                    ("space", name, number, "prior"),
                    f"cannot be used by search.{search.algorithm}; use {', '.join(others)} or {last}, or"
                    " remove it (search.first tries configurations first)",
                )


def _from(search: SearchSpec) -> Iterator[Violation]:
    if search.from_ and not search.learns:
        yield Violation(
            ("search", "from"),
            f"needs a search that learns, such as tpe; {search.algorithm} learns nothing from earlier trials",
        )
    for name in sorted({name for name in search.from_ if search.from_.count(name) > 1}):
        yield Violation(
            ("search", "from"), f"contains {describe_value(name)} twice; its trials would count twice"
        )


def _scheduler(draft: Draft) -> Iterator[Violation]:
    if draft.scheduler is None or not draft.written:
        return
    yield from _within(draft)
    yield from check_population(draft)
    if (asha := draft.scheduler.asha) is not None and asha.rest and asha.rule is not AshaRule.RANK:
        yield Violation(
            ("scheduler", "asha", "rest"),
            f"needs rule: rank, and rule is {asha.rule}; add it, or remove rest",
        )
    epochs = draft.most_epochs
    for kind in SchedulerSpec.model_fields:
        rule = getattr(draft.scheduler, kind)
        if epochs is None or not hasattr(rule, "grace_epochs"):
            continue
        # A short trial run with --set trial.epochs=1 does not need its scheduler.
        if rule.grace_epochs >= epochs and "epochs" not in draft.touched:
            yield Violation(
                ("scheduler", kind, "grace_epochs"),
                f"is {rule.grace_epochs:g}, but trials run {plural(epochs, 'epoch')}, so none would be"
                " stopped; "
                "use a smaller value or scheduler: none",
            )


def _within(draft: Draft) -> Iterator[Violation]:
    """The parameters that form the groups of `scheduler.asha.within`."""
    asha = draft.scheduler.asha if draft.scheduler is not None else None
    for place, name in enumerate(asha.within if asha is not None else ()):
        at = ("scheduler", "asha", "within", place)
        domains = draft.space.root.get(name, ())
        if name not in draft.written:
            rule = "which is not searched, so all trials are in one group"
            known = suggestion(name, draft.space.names)
            yield Violation(at, f"names {describe_value(name)}, {rule}{known}")
        elif any(domain.choice is None for domain in domains):
            yield Violation(at, f"needs parameters with a choice of values, and {name} has a range")
        elif asha is not None and name in asha.within[:place]:
            yield Violation(at, f"names {describe_value(name)} twice; name each parameter once")
