"""From a file and overrides to an `Experiment`, or to all of its errors at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as FilePath

from search_spaces.catalog import resolve, shipped
from trainables.errors import ExperimentFileError
from trainables.specs.data import DataSpec
from trainables.specs.workload import Task
from tuning.experiment.faults import closest
from tuning.experiment.reader import Reader, shown_path
from tuning.experiment.spec import Experiment
from tuning.experiment.yaml_lines import read_yaml


def load_experiment(source: str | FilePath, overrides: Sequence[str] = ()) -> Experiment:
    """Read, check and return an experiment.

    source: a YAML file, or the name of one that ships.  overrides: `key=value` with a dotted key and a
    YAML value, as `--set` takes them.  Raises ExperimentFileError with every fault.
    """
    path = _find(source)
    text = _text(path)
    return Reader(path, text, read_yaml(text), overrides).experiment()


def experiment_of_text(text: str, title: str) -> Experiment:
    """An experiment from text that was put together here, whose paths are absolute; faults name `title`."""
    return Reader(FilePath(title), text, read_yaml(text), ()).experiment()


def read_data(source: str | FilePath, task: Task) -> DataSpec:
    """The `data` section of a file, whatever else is in it. Raises ExperimentFileError with every fault.

    task: what the data must serve.
    """
    path = _find(source)
    text = _text(path)
    document = read_yaml(text)
    if isinstance(document.value, dict):
        if "data" not in document.value:
            raise ExperimentFileError(
                f"{shown_path(path)} has no `data` section; it says which images to judge on, such as"
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
    if (known := resolve(str(source))) is not None:
        return known
    names = [space.name for space in shipped()]
    close = closest(str(source), names)
    guess = f"did you mean '{close}'?" if close else f"these ship: {', '.join(names)}"
    raise ExperimentFileError(f"there is no file {source}, and no experiment of that name ships; {guess}")


def _text(path: FilePath) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ExperimentFileError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise ExperimentFileError(f"{path} cannot be read: {error.strerror}") from error
