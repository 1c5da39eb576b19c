"""Loading an `Experiment` from a file and overrides, or reporting all of its errors at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as FilePath

from search_spaces.catalog import find_shipped, shipped_experiments
from trainables.errors import ExperimentFileError
from trainables.specs.data import DataSpec
from trainables.specs.workload import Task
from tuning.experiment.file_errors import closest_name, read_text
from tuning.experiment.reader import Reader, display_path
from tuning.experiment.spec import Experiment
from tuning.experiment.yaml_lines import read_yaml


def load_experiment(source: str | FilePath, overrides: Sequence[str] = ()) -> Experiment:
    """Read, check and return an experiment.

    source: a YAML file, or the name of a shipped one.  overrides: `key=value` with a dotted key and a
    YAML value, as in `--set`.  Raises ExperimentFileError with every error.
    """
    path = _find(source)
    text = read_text(path)
    return Reader(path, text, read_yaml(text), overrides).experiment()


def load_run_file(file: FilePath) -> Experiment:
    """The experiment of a run of `train`, from the file in its folder. Raises ExperimentFileError."""
    text = read_text(file)
    return Reader(file, text, read_yaml(text), ()).experiment(ran=True)


def experiment_of_text(text: str, title: str) -> Experiment:
    """An experiment from generated text with absolute paths; error messages name `title` as the file."""
    return Reader(FilePath(title), text, read_yaml(text), ()).experiment()


def read_data(source: str | FilePath, task: Task) -> DataSpec:
    """The `data` section of a file; the rest is ignored. Raises ExperimentFileError with every error.

    task: the task that the data must fit.
    """
    path = _find(source)
    text = read_text(path)
    document = read_yaml(text)
    if isinstance(document.value, dict):
        if "data" not in document.value:
            raise ExperimentFileError(
                f"{display_path(path)} has no `data` section, which names the images to evaluate on, such as"
                " data: {coco: {train: {images: DIR, annotations: FILE}}}"
            )
        whole = {"name": "data", "task": task.value, "objective": {"metric": task.facts.main_metric}}
        document.value = whole | {"data": document.value["data"]}
    return Reader(path, text, document, ()).experiment().data


def _find(source: str | FilePath) -> FilePath:
    path = FilePath(source)
    if path.is_file():
        return path
    if path.is_dir():
        raise ExperimentFileError(f"{source} is a folder; name the experiment file in it")
    if (known := find_shipped(str(source))) is not None:
        return known
    raise unknown_file(f"there is no file {source}, and no shipped experiment of that name", str(source))


def unknown_file(said: str, name: str) -> ExperimentFileError:
    """The error for a `name` that no shipped experiment has, with the one that was meant or a list of all."""
    names = [space.name for space in shipped_experiments()]
    close = closest_name(name, names)
    guess = f"did you mean '{close}'?" if close else f"shipped experiments: {', '.join(names)}"
    return ExperimentFileError(f"{said}; {guess}")
