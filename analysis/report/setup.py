"""Sections on the search, the best configuration, and the environment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from pydantic import JsonValue

from analysis.report.document import Absent, Block, FactList, Listing, Points, Section, Text
from analysis.report.inputs import Material
from analysis.tables import Table
from trainables.specs.data import DataSpec
from trainables.specs.definition_words import definitions_in_words
from trainables.specs.workload import Direction
from trainables.wording import plural
from tuning.experiment.alternative import Alternative
from tuning.experiment.goals import Goals
from tuning.experiment.sections.rungs import rungs_down_from, rungs_from
from tuning.experiment.sections.scheduler import AshaRule
from tuning.experiment.spec import Experiment
from tuning.ledger.outcomes import Ending

OUTCOMES = {
    "completed": "ran all epochs",
    "early_stopped": "stopped by their own early stopping",
    "pruned": "stopped early by the scheduler",
    "stopped": "stopped manually",
    "diverged": "diverged",
    "failed": "failed",
    "interrupted": "interrupted; can be resumed",
    "resting": "waiting for others to come as far",
    "paused": "waiting until `adaptertune unpause`",
    "reused": "repeated an earlier trial's configuration",
    "running": "not ended yet",
}
STATES = {
    Ending.FINISHED: "finished",
    Ending.INTERRUPTED: "interrupted; `adaptertune resume` continues it",
    Ending.FAILED: "ended by an error",
}


# --- what was searched ------------------------------------------------------------------------


def searched_section(m: Material) -> Section:
    """Task, model, data, search space, algorithm, scheduler, budget, and the trials by outcome."""
    experiment = m.sweep.experiment
    blocks: list[Block] = [FactList(tuple(_facts(m))), _outcomes(m)]
    if experiment.space:
        blocks.append(_space(experiment))
    else:
        blocks.append(Absent("The experiment has no space: a single configuration was trained."))
    return Section("searched", "What was searched", tuple(blocks))


def _facts(m: Material) -> Iterator[tuple[str, str]]:
    experiment = m.sweep.experiment
    objective = m.sweep.objective
    yield "task", experiment.task.value
    size = experiment.model.image_size
    yield (
        "backbone",
        experiment.model.name + ("" if size is None else f", images of {size[0]} × {size[1]} pixels"),
    )
    yield "data", describe_data(experiment.data)
    if m.history.prepared is not None and m.history.prepared.counts:
        parts = [f"{n:,} {split}" for split, n in m.history.prepared.counts.items()]
        yield "images", ", ".join(parts)
        if m.history.prepared.classes:
            classes = m.history.prepared.classes
            yield (
                "classes",
                ", ".join(classes[:20]) + (f" and {len(classes) - 20} more" if len(classes) > 20 else ""),
            )
    if experiment.data.domains:
        yield "shifted domains", ", ".join(experiment.data.domains)
    better = "highest" if objective.direction is Direction.MAXIMIZE else "lowest"
    yield (
        "objective",
        f"{objective.metric} on validation images, {better} is best, each trial's"
        f" {objective.rule.value} report",
    )
    if experiment.further:
        more = ", ".join(f"{g.metric} ({g.direction.value})" for g in Goals.of(experiment).objectives[1:])
        yield "further objectives", f"{more}; the first objective decides where one number is needed"
    if experiment.constraints:
        yield (
            "constraints",
            ", ".join(f"{name} {bound}" for name, bound in experiment.constraints.items()),
        )
    words = definitions_in_words(experiment.workload.definitions, experiment.task)
    yield "definitions", "; ".join(f"{key} {said}" for key, said in words.items())
    yield "search", _algorithm(experiment)
    yield "early stopping", describe_scheduler(experiment)
    asked = experiment.search.trials
    ran = plural(len(m.sweep.trials), "trial") + ("" if asked is None else f" of {asked} requested")
    whole = ""
    if experiment.search.epochs is not None:
        whole = f"; {m.history.epochs_run:g} of {experiment.search.epochs} epochs for all of them were run"
    yield "budget", f"{ran}, at most {plural(experiment.max_epochs, 'epoch')} each{whole}"
    if experiment.search.stop is not None:
        yield "stops by itself", experiment.search.stop.in_words
    if m.history.search_ended is not None:
        yield "end of the search", m.history.search_ended.reason
    yield "state", describe_state(m)


def describe_data(data: DataSpec) -> str:
    """The data source in a few words."""
    if data.embedded is not None:
        wide = plural(data.embedded.side, "pixel")
        return f"embedded scenes of digits, {data.embedded.domain.value}, {wide} wide"
    if data.coco is not None:
        return f"COCO JSON {data.coco.train.annotations}"
    if data.masks is not None:
        return f"masks from {data.masks.train.masks}"
    if data.yolo is not None:
        return f"YOLO labels of {data.yolo.file}"
    if data.folder is not None:
        return f"what lies in {data.folder}"
    if data.labelme is not None:
        return f"LabelMe files of {data.labelme.train.folder}"
    if data.voc is not None:
        return f"Pascal VOC boxes from {data.voc.train.annotations}"
    return f"{data.hub.path} from the Hugging Face Hub" if data.hub is not None else "–"


_ALGORITHMS = {"tpe": "TPE", "gp": "Gaussian process", "cmaes": "CMA-ES", "nsga2": "NSGA-II", "qmc": "QMC"}


def _algorithm(experiment: Experiment) -> str:
    search = experiment.search
    name = _ALGORITHMS.get(search.algorithm, search.algorithm)
    if search.optuna is not None:
        name = f"Optuna's {search.optuna.sampler}"
        name += "" if search.optuna.replayable else " (not replayable)"
    more = (
        f", {plural(search.tpe.startup_trials, 'random trial')} before it" if search.tpe is not None else ""
    )
    first = f", {len(search.first)} given first" if search.first else ""
    earlier = f", learned from {', '.join(search.from_)}" if search.from_ else ""
    return f"{name}, seed {search.seed}{more}{first}{earlier}"


def describe_scheduler(experiment: Experiment) -> str:
    """The stopping rule in words."""
    scheduler = experiment.scheduler
    rungs = ", ".join(f"{rung:g}" for rung in rungs_of(experiment))
    if scheduler.asha is not None:
        by = "" if scheduler.asha.rule is AshaRule.THRESHOLD else " by rank"
        within = f", within {' and '.join(scheduler.asha.within)}" if scheduler.asha.within else ""
        within += ", trials rest where there are too few to compare" if scheduler.asha.rest else ""
        factor = scheduler.asha.reduction_factor
        return f"ASHA{by}{within}, one in {factor:g} continues, rungs at epoch {rungs}"
    if scheduler.hyperband is not None:
        factor = scheduler.hyperband.reduction_factor
        return f"Hyperband, one in {factor:g} of a bracket continues, first rungs at epoch {rungs}"
    if scheduler.pasha is not None:
        factor = scheduler.pasha.reduction_factor
        return f"PASHA, one in {factor:g} continues, rungs at epoch {rungs} while the order of trials changes"
    if scheduler.dominance is not None:
        factor = scheduler.dominance.reduction_factor
        return (
            f"dominance: a trial goes on while fewer than one in {factor:g} of its rung dominate it,"
            f" rungs at epoch {rungs}"
        )
    if scheduler.pbt is not None:
        pbt = scheduler.pbt
        return (
            f"population-based training: every {plural(pbt.interval_epochs, 'epoch')} the worst"
            f" {pbt.quantile:.0%} go on from the state of the best, with other {' and '.join(pbt.explore)}"
        )
    if scheduler.median is not None:
        return f"median rule from epoch {scheduler.median.grace_epochs:g} on"
    return "none by a scheduler" if scheduler.rule is None else f"by {scheduler.rule}"


def rungs_of(experiment: Experiment) -> tuple[float, ...]:
    """Epochs before the last at which successive halving decides; empty without it."""
    last, scheduler = experiment.max_epochs, experiment.scheduler
    rising, falling = scheduler.asha or scheduler.pasha or scheduler.dominance, scheduler.hyperband
    found: tuple[float, ...] = ()
    if rising is not None and rising.grace_epochs < last:
        found = rungs_from(rising.grace_epochs, rising.reduction_factor, last)
    elif falling is not None and falling.grace_epochs < last:
        found = rungs_down_from(last, falling.reduction_factor, falling.grace_epochs)
    return tuple(round(rung, 6) for rung in found if rung < last - 1e-9)


def describe_state(m: Material) -> str:
    """The state of the experiment at the end of its record."""
    if m.history.closed is not None:
        return STATES[m.history.closed.reason]
    return "not closed: the sweep was still running when this was written, or its driver died"


def _space(experiment: Experiment) -> Table:
    rows = []
    for name, alternatives in experiment.space.root.items():
        for alternative, when in zip(alternatives, experiment.space.conditions(name), strict=True):
            needs = "; ".join(
                f"{key} is {' or '.join(_shown(v) for v in values)}" for key, values in when.items()
            )
            rows.append((name, describe_search_domain(alternative) + _believed(alternative), needs))
    return Table(
        "Search space",
        ("setting", "values", "condition"),
        tuple(rows),
        "condition: values of other settings under which the setting exists; empty: it always exists",
    )


def describe_search_domain(domain: Alternative) -> str:
    """The values of a domain: `4, 8, 16` or `0.001 to 0.01, log`."""
    if domain.choice is not None:
        return ", ".join(_shown(value) for value in domain.choice)
    low, high = domain.span
    step = f", steps of {domain.step:g}" if domain.step is not None else ""
    return f"{low:g} to {high:g}{step}{', log' if domain.log else ''}{', integer' if domain.whole else ''}"


def _believed(domain: Alternative) -> str:
    """The prior of a domain, if it has one."""
    if (prior := domain.prior) is None:
        return ""
    return f"; prior {_shown(prior.value)}, confidence {prior.confidence:g}"


def _shown(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _outcomes(m: Material) -> Block:
    if not m.sweep.trials:
        return Absent("No trial has started yet, so there are no results to report.")
    counts = Counter(trial.shown for trial in m.sweep.trials)
    rows = tuple((OUTCOMES.get(what, what), str(n)) for what, n in counts.most_common())
    return Table("Trials by outcome", ("outcome", "trials"), rows, numeric=(1,))


def describe_precision(m: Material) -> str:
    """The reason for the number of decimals of values."""
    if m.error is None:
        return f"Values have {plural(m.places, 'decimal')}; their error is not recorded"
    return f"Values have {plural(m.places, 'decimal')}, because {m.error[1]} is about {m.error[0]:.1g} wide"


# --- where it ran -----------------------------------------------------------------------------


def environment_section(m: Material) -> Section:
    """Versions, machine, and the experiment file as it was read."""
    found = m.history.header.environment
    pairs: list[tuple[str, str]] = []
    for key, value in found.items():
        if isinstance(value, dict):
            pairs += [(name, str(version)) for name, version in value.items()]
        elif isinstance(value, list):
            pairs.append((key, ", ".join(map(str, value))))
        else:
            pairs.append((key, str(value)))
    if m.history.prepared is not None:
        pairs.append(("data fingerprint", m.history.prepared.fingerprint))
    blocks: list[Block] = [FactList(tuple(pairs))] if pairs else [Absent("The environment is not recorded.")]
    if m.history.header.file.strip():
        blocks.append(
            Listing("The experiment file as it was read", m.history.header.file.strip("\n"), "yaml")
        )
    if faults := (m.history.prepared.faults if m.history.prepared is not None else []):
        shown = [json.dumps(fault, ensure_ascii=False) for fault in faults[:20]]
        more = (f"and {len(faults) - 20} more",) if len(faults) > 20 else ()
        blocks += [Text(f"The data had {plural(len(faults), 'error')}:"), Points((*shown, *more))]
    return Section("environment", "Environment", tuple(blocks))
