"""The command `validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.errors import ExperimentFileError
from trainables.wording import plural
from tuning.cli.options import File, Sets
from tuning.messages import print_answer

if TYPE_CHECKING:
    from tuning.experiment.spec import Experiment


def run_validate(file: File, set_: Sets = None) -> None:
    """Check an experiment file and report all errors at once.

    Each error names the file, the line, the key, and what is allowed. A valid file is summarized on one line.
    Files, folders and class names that the file names are checked, too, but images are not read.
    """
    from tuning.experiment.load import load_experiment
    from tuning.experiment.search_notes import search_notes

    experiment = load_experiment(file, set_ or [])
    found = _check_surroundings(experiment, file)
    _check_sizes(experiment, file)
    if experiment.search.optuna is not None:
        from tuning.search.sampler_check import check_sampler  # optuna

        check_sampler(experiment, file)
    size, trials = experiment.space.size(), experiment.trials_asked
    epochs = experiment.search.epochs
    budget = "" if epochs is None else f", and {plural(epochs, 'epoch')} in all"
    if (stop := experiment.search.stop) is not None:
        budget += f"; the search stops by itself {stop.in_words}"
    search = (
        f"{plural(len(experiment.space.names), 'parameter')}"
        f" ({'infinitely many configurations' if size is None else plural(size, 'configuration')}),"
        f" {'an unlimited number of trials' if trials is None else plural(trials, 'trial')}"
        if experiment.space
        else "one configuration"
    )
    print_answer(
        f"{file}: valid. {experiment.task} with {experiment.model.name}, {search}"
        f" of at most {plural(experiment.max_epochs, 'epoch')}{budget}"
    )
    for line in [f"data.folder: {found}"] * bool(found) + search_notes(experiment):
        print_answer(line)


def _check_sizes(experiment: Experiment, file: str) -> None:
    """Raise ExperimentFileError if the model does not take the smaller images; unknown for one on the hub."""
    workload = experiment.workload
    if workload.smaller is None:
        return
    from tuning.experiment.checks.local_checkpoint import config_of

    if not config_of(workload.model, workload.task):
        return
    from trainables.errors import ModelError
    from trainables.image_sizes import smaller_sizes

    try:
        smaller_sizes(workload)
    except ModelError as error:
        raise ExperimentFileError(f"{file}: 1 error\n  {error}") from error


def _check_surroundings(experiment: Experiment, file: str) -> str:
    """What costs little to find out about data and model. Raises ExperimentFileError with all errors.

    Returns what lies in a folder of data that is given alone.
    """
    data = experiment.data
    kinds = {data.kind, *(domain.kind for domain in data.domains.values())}
    if experiment.model.name == "embedded" and kinds <= {"embedded", "corruption"}:
        return ""  # nothing to find out, and nothing to import for it
    from trainables.data.quick_check import quick_look
    from trainables.specs.metric_class import class_error, weight_error

    workload = experiment.workload
    look = quick_look(workload)
    faults = look.faults
    for metric in () if faults else workload.metrics:
        if (error := class_error(metric, look.classes)) is not None:
            faults = (
                *faults,
                ("objective.metric", error if metric == workload.metric else f"{metric.whole}: {error}"),
            )
    if not faults and (error := weight_error(experiment.weighted_classes, look.classes)) is not None:
        faults = (("loss_weights", error),)
    if faults:
        lines = [f"  {key}  {reason}" for key, reason in faults]
        raise ExperimentFileError("\n".join([f"{file}: {plural(len(faults), 'error')}", *lines]))
    return look.found
