"""A report from its material. No ray, no torch."""

from __future__ import annotations

from analysis.ranking.test_metrics import scored_value
from analysis.report.ablations import ablations
from analysis.report.costs import pareto
from analysis.report.document import Report
from analysis.report.examples import examples
from analysis.report.inputs import Material
from analysis.report.phrases import moment, trials_in_words
from analysis.report.settings import importance, parallel
from analysis.report.setup import best, data_words, environment, searched, state
from analysis.report.test_images import classes, domains
from analysis.report.training import cost, curves, failures, last_moment, saved_share
from analysis.tables import percent
from tuning.formatting import duration


def report_of(m: Material) -> Report:
    """Every section; where the record has nothing for one it says why."""
    experiment = m.sweep.experiment
    sections = (
        searched, best, curves, ablations, importance, parallel, pareto, domains, classes, examples, failures,
        cost, environment,
    )  # fmt: skip
    return Report(
        m.sweep.name,
        f"{experiment.task.value.capitalize()}; backbone {experiment.model.name};"
        f" {data_words(experiment.data)}. {trials_in_words(len(m.sweep.trials))}; {state(m)}.",
        tuple(_highlights(m)),
        tuple(section(m) for section in sections),
        f"Record of {moment(m.history.header.time)} to {moment(last_moment(m))}. Written by `adaptertune"
        f" report {m.folder.name}`.",
    )


def _highlights(m: Material) -> list[tuple[str, str, str]]:
    found = []
    if m.best is not None:
        trial, standing = m.best
        found.append(
            (f"best {m.metric}", m.figure(standing.value), f"validation images, trial {trial.number}")
        )
        score = m.best_score
        if score is not None and (value := scored_value(score, m.metric)) is not None:
            interval = m.interval(trial.number, m.metric)
            note = "test images, the same weights"
            found.append(
                (
                    f"test {m.metric}",
                    m.figure(value),
                    note if interval is None else f"{m.span(interval)} over test images",
                )
            )
        if (before := m.sweep.baseline.get(m.metric)) is not None:
            found.append(("untouched", m.figure(before), "validation images, before any training"))
    seconds = sum(trial.seconds for trial in m.sweep.trials)
    found.append(("trials", f"{len(m.sweep.trials):,}", f"{duration(seconds)} of training and evaluation"))
    if (saved := saved_share(m)) is not None:
        found.append(("saved", percent(saved), "of the epochs, by early stopping"))
    return found
