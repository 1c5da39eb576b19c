"""Commands for what has been trained: evaluate, predict, export. Part of the command line."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainables.errors import StorageError
from tuning.cli.options import Storage

if TYPE_CHECKING:
    from tuning.checkpoints.trained_adapter import TrainedAdapter

app = typer.Typer()

ADAPTER = "A trained adapter: NAME:TRIAL, NAME or NAME:best for the best one, or a folder that `train` wrote."
Adapter = Annotated[str, typer.Argument(metavar="ADAPTER", help=ADAPTER)]


class Part(StrEnum):
    """The images to judge on."""

    TEST = "test"
    VALIDATION = "validation"


class Form(StrEnum):
    """How figures are written."""

    TABLE = "table"
    JSON = "json"


@app.command()
def evaluate(
    adapter: Annotated[
        str,
        typer.Argument(metavar="ADAPTER", help=ADAPTER + " With --untouched also an experiment file."),
    ],
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A file with a `data` section, in place of its own data."),
    ] = None,
    split: Annotated[Part, typer.Option(help="The images to judge on.")] = Part.TEST,
    domain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|KIND:SEVERITY",
            help="A shifted set of `data.domains`, or a corruption such as noise:3; may be repeated."
            " All of `data.domains` when absent.",
        ),
    ] = None,
    untouched: Annotated[
        bool, typer.Option("--untouched", help="The base model that the adapter stands on, as it came.")
    ] = False,
    format_: Annotated[Form, typer.Option("--format", help="How it is written.")] = Form.TABLE,
    storage: Storage = None,
) -> None:
    """Score a trained adapter on test images, in domain and shifted, beside its untouched base."""
    found = _base(adapter, storage) if untouched else _trained(adapter, storage)
    from tuning.cli.commands import evaluate as commands_evaluate

    commands_evaluate.run(
        found, data=data, split=split.value, domains=domain or [], as_json=format_ is Form.JSON
    )


@app.command()
def predict(
    adapter: Adapter,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES…", help="Image files, or folders of them.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where results go; made if absent.")] = Path(
        "predictions"
    ),
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Least score of a box that is shown; 0.5 when absent."),
    ] = None,
    storage: Storage = None,
) -> None:
    """Draw what a trained adapter sees in images: boxes or masks, with a JSON file beside."""
    found = _trained(adapter, storage)
    from tuning.cli.commands import predict as commands_predict

    commands_predict.run(found, images, to, threshold=threshold)


@app.command()
def export(
    adapter: Adapter,
    to: Annotated[Path, typer.Option(metavar="DIR", help="A new or empty folder.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="A plain model with the adapter merged into its weights.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Write a trained adapter as a folder that plain transformers and peft load."""
    found = _trained(adapter, storage)
    from tuning.cli.commands import export as commands_export

    commands_export.export(found, to, merge=merge)


def _trained(text: str, storage: Path | None) -> TrainedAdapter:
    """A trained adapter by its name."""
    from tuning.checkpoints.trained_adapter import adapter_of_folder, adapter_of_trial, find_trained
    from tuning.ledger.storage import storage_folder

    found = find_trained(text, storage_folder(storage))
    if isinstance(found, Path):
        return adapter_of_folder(found)
    if found.number is not None:
        return adapter_of_trial(found.folder, found.number)
    from analysis.ranking.best_sql import best_number

    return adapter_of_trial(found.folder, best_number(found.folder))


def _base(text: str, storage: Path | None) -> TrainedAdapter:
    """The untouched base model of a trained adapter, an experiment or an experiment file."""
    from search_spaces.catalog import find_shipped
    from tuning.checkpoints.trained_adapter import EXPERIMENT, find_trained, pretrained_baseline
    from tuning.experiment.load import load_experiment
    from tuning.ledger.header import experiment_of
    from tuning.ledger.ledger import read_header
    from tuning.ledger.storage import storage_folder

    if Path(text).is_file():
        return pretrained_baseline(load_experiment(text))
    try:
        found = find_trained(text, storage_folder(storage))
    except StorageError:
        if find_shipped(text) is None:
            raise
        return pretrained_baseline(load_experiment(text))
    if isinstance(found, Path):
        return pretrained_baseline(load_experiment(found / EXPERIMENT))
    return pretrained_baseline(experiment_of(read_header(found.folder)))
