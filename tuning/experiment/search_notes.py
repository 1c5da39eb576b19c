"""What to know about a search before it starts: settings that are allowed and make it search at random."""

from __future__ import annotations

from trainables.wording import plural
from tuning.experiment.spec import Experiment

GP_TRIALS = 500
"""With more trials a Gaussian process is slow; see `benchmarks.samplers`."""


def search_notes(experiment: Experiment, at_once: int | None = None) -> list[str]:
    """Return what is worth saying about the search.

    at_once: how many trials run at once; `resources.concurrent` if that is not known yet.
    """
    search, trials = experiment.search, experiment.trials_asked
    if not experiment.space:
        return []
    notes = []
    if search.gp is not None and trials is not None and search.gp.startup_trials >= trials:
        notes.append(
            f"search.gp.startup_trials is {search.gp.startup_trials}, and the search has"
            f" {plural(trials, 'trial')}, so all of them are random"
        )
    if search.gp is not None and trials is not None and trials > GP_TRIALS:
        notes.append(
            f"search.gp is slow after many trials (a proposal takes about 1 s after {GP_TRIALS}, 30 s after"
            f" 2,000), and the search has {trials}; tpe takes less than 0.1 s"
        )
    population = search.population(len(experiment.space.names))
    if population is None:
        return notes
    of = f"search.{search.algorithm}"
    if trials is not None and population >= trials:
        notes.append(
            f"{of} learns from {plural(population, 'trial')} at a time, and the search has {trials}, so it"
            f" never uses what it learned; set {of}.population to a third of the trials or less, or use tpe"
        )
    at_once = at_once or experiment.resources.concurrent
    if at_once is not None and at_once >= population:
        notes.append(
            f"{plural(at_once, 'trial')} run at once, and {of} learns from {population} at a time, so it"
            f" draws a generation before it knows the one before; lower resources.concurrent, or raise"
            f" {of}.population"
        )
    return notes
