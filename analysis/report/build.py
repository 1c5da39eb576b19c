"""The report of an experiment, made of its sections."""

from __future__ import annotations

from analysis.ranking.scored_metrics import scored_value
from analysis.report.ablations import ablations_section
from analysis.report.best_configuration import best_section
from analysis.report.by_class import classes_section
from analysis.report.costs import pareto_section
from analysis.report.details_section import details_section
from analysis.report.document import ReportDocument
from analysis.report.examples import examples_section
from analysis.report.inputs import Material
from analysis.report.objectives import objectives_section
from analysis.report.on_test_images import domains_section
from analysis.report.settings import importance_section, parallel_section
from analysis.report.setup import (
    describe_data,
    describe_state,
    environment_section,
    searched_section,
)
from analysis.report.smaller_images import smaller_images_section
from analysis.report.times import format_time
from analysis.report.training import (
    cost_section,
    curves_section,
    failures_section,
    last_record_time,
    saved_share,
)
from analysis.tables import percent
from trainables.wording import plural
from tuning.formatting import duration


def report_of(m: Material) -> ReportDocument:
    """The report with every section; a section without content gives the reason."""
    experiment = m.sweep.experiment
    weighed = [objectives_section] if experiment.further else []
    sized = [smaller_images_section] if experiment.scheduler.smaller_images else []
    sections = (
        searched_section, best_section, curves_section, *sized, ablations_section, importance_section,
        parallel_section, *weighed, pareto_section, domains_section, classes_section, details_section,
        examples_section,
        failures_section, cost_section, environment_section,
    )  # fmt: skip
    began, ended = format_time(m.history.header.time), format_time(last_record_time(m))
    return ReportDocument(
        m.sweep.name,
        f"{experiment.task.value.capitalize()}; backbone {experiment.model.name};"
        f" {describe_data(experiment.data)}. {plural(len(m.sweep.trials), 'trial')}; {describe_state(m)}.",
        tuple(highlights_of(m)),
        tuple(section(m) for section in sections),
        f"Record from {began} to {ended}. Written by `adaptertune report {m.folder.name}`.",
    )


def highlights_of(m: Material) -> list[tuple[str, str, str]]:
    """The most important values, as name, value, and what it is measured on."""
    found = []
    if m.best is not None:
        trial, standing = m.best
        found.append((f"best {m.metric}", m.value_of(standing), f"validation images, trial {trial.number}"))
        if (floor := m.sweep.floors.at(m.metric)) is not None:
            note = "what the best constant predictor reaches on validation images"
            found.append((f"floor of {m.metric}", m.rounded(floor), note))
        score = m.best_score
        if score is not None and (value := scored_value(score, m.metric)) is not None:
            interval = m.interval(trial.number, m.metric)
            note = "test images, same weights"
            found.append(
                (
                    f"test {m.metric}",
                    m.rounded(value),
                    note if interval is None else f"95 % CI {m.rounded_interval(interval)} over test images",
                )
            )
        if (before := m.sweep.baseline.get(m.metric)) is not None:
            found.append(("pretrained baseline", m.rounded(before), "validation images, before any training"))
    seconds = sum(trial.seconds for trial in m.sweep.trials)
    found.append(("trials", f"{len(m.sweep.trials):,}", f"{duration(seconds)} of training and evaluation"))
    if (saved := saved_share(m)) is not None:
        found.append(("saved", percent(saved), "of the epochs, by early stopping"))
    return found
