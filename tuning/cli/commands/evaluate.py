"""What `adaptertune evaluate` does: figures on test images, in domain and shifted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import typer
from pydantic import JsonValue, ValidationError

from trainables.data.prepared import Prepared, PreparedSplit, open_prepared
from trainables.errors import AdaptertuneError, DataError
from trainables.inference.test_scores import evaluation_of
from trainables.inference.trained_model import TrainedModel, load_untouched
from trainables.preparation import domain_split, prepare_workload
from trainables.specs.data import Corruption, CorruptionSpec, DomainSpec, Split
from trainables.specs.workload import Workload
from tuning.checkpoints.trained_adapter import TrainedAdapter
from tuning.cli.console import console, show
from tuning.experiment.faults import closest
from tuning.experiment.load import read_data
from tuning.formatting import json_text
from tuning.messages import FAILED, say

UNTOUCHED = "untouched backbone"


@dataclass(frozen=True)
class Row:
    """Figures of a model in a domain. domain: None for the data's own."""

    model: str
    domain: str | None
    images: int
    figures: dict[str, float]
    relative: float | None
    """The task's main figure as a share of the one in domain."""

    def record(self) -> dict[str, JsonValue]:
        """For JSON; what is not a number is null."""
        return {
            "model": "untouched" if self.model == UNTOUCHED else "adapter",
            "domain": self.domain,
            "images": self.images,
            "figures": {name: v if math.isfinite(v) else None for name, v in self.figures.items()},
            "relative": self.relative,
        }


@dataclass(frozen=True)
class Shift:
    """What to judge under: a domain of the data, or a corruption that it need not know."""

    name: str
    spec: DomainSpec | None = None


def run(
    trained: TrainedAdapter, *, data: str | None, split: str, domains: Sequence[str], as_json: bool
) -> None:
    """Prints a row for each model and domain.

    data: a file with a `data` section; the adapter's own when None.  domains: none means all that the
    data names.  Raises DataError for classes that the adapter does not know.
    """
    part = Split(split)
    workload = trained.workload
    if data is not None:
        workload = workload.model_copy(update={"data": read_data(data, workload.task)})
    shifts = [_shift(text, workload) for text in domains] or _all(workload, part)
    prepared = _prepared(workload, trained.classes, foreign=data is not None)
    images = _images(prepared, workload, part, shifts)
    rows = [row for label, model in _models(trained, prepared.classes) for row in _rows(label, model, images)]
    if as_json:
        typer.echo(json_text(_document(trained, prepared, part, rows)))
    else:
        _table(trained, data, part, rows)
    if any(not math.isfinite(value) for row in rows for value in row.figures.values()):
        say("the model's outputs are not numbers: its training must have diverged")
        raise typer.Exit(FAILED)


def _models(trained: TrainedAdapter, classes: tuple[str, ...]) -> Iterator[tuple[str, TrainedModel]]:
    """The adapter, and beside it the untouched base if its head knows the classes; one after the other."""
    if trained.weights is not None:
        model = trained.load()
        fresh = model.task.fresh_head
        yield f"{trained.config.adapter}, {trained.config.mode}", model
        if fresh:
            return
        del model
        yield UNTOUCHED, load_untouched(trained.workload, classes)
        return
    base = load_untouched(trained.workload, classes)
    if base.task.fresh_head:
        raise AdaptertuneError(
            f"{trained.title}: the base model has no head for {_few(classes)}, so before training it says"
            " nothing; evaluate a trained adapter, one with adapter `none` for what the head alone does"
        )
    yield UNTOUCHED, base


def _rows(label: str, model: TrainedModel, images: dict[str | None, PreparedSplit]) -> Iterator[Row]:
    main, here = model.workload.task.facts.main_metric, None
    for domain, split in images.items():
        figures = evaluation_of(model, split)
        if domain is None:
            here = figures.get(main)
        shifted = figures.get(main)
        usable = domain is not None and here and shifted is not None and math.isfinite(shifted / here)
        yield Row(label, domain, len(split), figures, shifted / here if usable else None)  # type: ignore[operator]


# --- images -----------------------------------------------------------------------------------


def _prepared(workload: Workload, classes: tuple[str, ...], *, foreign: bool) -> Prepared:
    """The data with its classes numbered as the model's. Raises DataError for one that the model lacks.

    foreign: not what it was trained on. Its own was prepared for it, in this order, and lies ready.
    """
    if not foreign or not classes:
        prepared = open_prepared(prepare_workload(workload, progress=True))
        if prepared.classes == classes or not classes:
            return prepared
    return open_prepared(prepare_workload(workload, classes=classes, progress=True))


def _images(
    prepared: Prepared, workload: Workload, part: Split, shifts: Sequence[Shift]
) -> dict[str | None, PreparedSplit]:
    """The images to judge on, by domain, in domain first."""
    own = prepared.splits[part]
    found: dict[str | None, PreparedSplit] = {None: own} if len(own) else {}
    for shift in shifts:
        split = domain_split(prepared.path, workload, shift.spec or shift.name, part)
        if len(split):
            found[shift.name] = split
    if not found:
        other = Split.VALIDATION if part is Split.TEST else Split.TEST
        raise DataError(
            f"the data has no {part} images; use --split {other}, or give it some with data.splits.{part}"
        )
    return found


def _shift(text: str, workload: Workload) -> Shift:
    known = workload.data.domains
    if text in known:
        return Shift(text)
    match = re.fullmatch(r"(?P<kind>[^:]*):(?P<severity>-?\d+)", text)
    if match is None:
        guess = closest(text, known)
        named = f"did you mean '{guess}'?" if guess else f"it names {', '.join(known) or 'none'}."
        raise AdaptertuneError(
            f"--domain {text}: the data names no such domain; {named}"
            f" A corruption is KIND:SEVERITY, such as noise:3, of {', '.join(Corruption)}"
        )
    if match["kind"] not in list(Corruption):
        raise AdaptertuneError(
            f"--domain {text}: there is no corruption '{match['kind']}'; there are {', '.join(Corruption)}"
        )
    try:
        spec = CorruptionSpec(kind=Corruption(match["kind"]), severity=int(match["severity"]))
    except ValidationError as error:
        raise AdaptertuneError(f"--domain {text}: severities are 1 to 5, got {match['severity']}") from error
    return Shift(text, DomainSpec(corruption=spec))


def _all(workload: Workload, part: Split) -> list[Shift]:
    """The domains that have such images."""
    return [
        Shift(name)
        for name, domain in workload.data.domains.items()
        if part is Split.TEST or domain.has_validation
    ]


def _few(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more


# --- output -----------------------------------------------------------------------------------


def _table(trained: TrainedAdapter, data: str | None, part: Split, rows: Sequence[Row]) -> None:
    task = trained.workload.task
    names = task.facts.table_metrics
    shifted = any(row.domain is not None for row in rows)
    columns = ("model", "domain", "images", *names, *(("relative",) if shifted else ()))
    cells = [
        (
            row.model,
            row.domain or "in domain",
            str(row.images),
            *(_number(row.figures.get(name)) for name in names),
            *((_number(row.relative),) if shifted else ()),
        )
        for row in rows
    ]
    caption = f"on {part} images of {'its own data' if data is None else data}"
    if trained.epoch is not None:
        caption += f"; weights of epoch {trained.epoch:g}, picked on validation images"
    if shifted:
        caption += f"; relative: {task.facts.main_metric} as a share of the one in domain"
    if part is Split.VALIDATION and trained.weights is not None and data is None:
        caption += ". These are the images it was picked on: test images say more"
    numeric = tuple(range(2, len(columns)))
    show(console(), trained.title, columns, cells, caption=caption, numeric=numeric)


def _config(trained: TrainedAdapter) -> JsonValue:
    found: JsonValue = trained.config.model_dump(mode="json", exclude_none=True)
    return found


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _document(
    trained: TrainedAdapter, prepared: Prepared, part: Split, rows: Sequence[Row]
) -> dict[str, JsonValue]:
    return {
        "adapter": trained.title,
        "weights": None if trained.weights is None else str(trained.weights),
        "epoch": trained.epoch,
        "config": None if trained.weights is None else _config(trained),
        "split": part.value,
        "fingerprint": prepared.meta["fingerprint"],
        "classes": list(prepared.classes),
        "main_figure": trained.workload.task.facts.main_metric,
        "rows": [row.record() for row in rows],
    }
