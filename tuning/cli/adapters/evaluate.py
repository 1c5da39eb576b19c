"""The command `evaluate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.completion import complete_adapter
from tuning.cli.options import ADAPTER_HELP, OutputFormat, Storage, TableOrJson
from tuning.exit_codes import FAILED
from tuning.messages import print_answer, say, tell

if TYPE_CHECKING:
    from pydantic import JsonValue

    from trainables.data.prepared import Prepared
    from trainables.specs.data import Split
    from tuning.checkpoints.trained_adapter import TrainedAdapter
    from tuning.cli.adapters.domain_scores import DomainScore


class Part(StrEnum):
    """The images to score on."""

    TEST = "test"
    VALIDATION = "validation"


def run_evaluate(
    adapter: Annotated[
        str,
        typer.Argument(
            metavar="ADAPTER",
            help=ADAPTER_HELP + " With --untouched also an experiment file.",
            autocompletion=complete_adapter,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A file with a `data` section, instead of the adapter's own data."),
    ] = None,
    split: Annotated[Part, typer.Option(help="The images to score on.")] = Part.TEST,
    domain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|KIND:SEVERITY",
            help="A shifted set of `data.domains`, or a corruption such as noise:3; may be repeated."
            " Default: all of `data.domains`.",
        ),
    ] = None,
    untouched: Annotated[
        bool, typer.Option("--untouched", help="Score the pretrained baseline alone, before any training.")
    ] = False,
    metric: Annotated[
        str | None,
        typer.Option(help="The metric of `relative`, instead of the objective's, such as iou or dice/cat."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="DIR",
            help="Also write precision-recall curves, confusion matrices and score thresholds there.",
        ),
    ] = None,
    format_: Annotated[
        TableOrJson, typer.Option("--format", help="json: every metric.")
    ] = OutputFormat.TABLE,
    storage: Storage = None,
) -> None:
    """Score a trained adapter on test images, in domain and under shift, next to its pretrained baseline.

    Examples:

        adaptertune evaluate nuclei:best                        # test images, and each of data.domains
        adaptertune evaluate nuclei:best --domain noise:3 --domain stained
        adaptertune evaluate nuclei:best --data other.yaml      # other images, the same classes
        adaptertune evaluate nuclei.yaml --untouched            # the pretrained baseline

    `relative` is the objective's metric as a share of the one in domain, each minus its floor. The rows
    `floor` show what the best constant predictor reaches on the same images; a model that is no better is
    marked as collapsed (docs/reference/metrics.md). The pretrained baseline is scored if the pretrained
    model has a head for the classes; a new head has no meaning before it is trained. The exit code is 1 if a
    metric is not a number.
    \f
    The table looks like this:

         model                 domain      images     dice      iou   soft_dice     loss   relative
         ──────────────────────────────────────────────────────────────────────────────────────────
         lora, frozen          in domain       16   0.7608   0.6420      0.6401   0.1408          –
         lora, frozen          textured        16   0.2291   0.1657      0.0890   0.9470     0.3011
         pretrained baseline   in domain       16   0.7644   0.6482      0.6393   0.1351          –
         pretrained baseline   textured        16   0.2364   0.1728      0.0893   0.9254     0.3093

    ADAPTER is one of:

    - `NAME:7`: trial 7 of an experiment under `--storage`
    - `NAME:best`, or `NAME`: its best trial, as `adaptertune best NAME` ranks them
    - `NAME:best:iou`: the best by another metric, as `adaptertune best NAME --by iou` ranks them
    - a folder that `adaptertune train` wrote: a path, or the name of a folder under `trained/` of `--storage`

    NAME may be the path of an experiment's folder. The weights are those of the trial's best report on
    validation images (`best.ckpt`), whatever `objective.value` is; a trial that repeated an earlier one has
    the weights of that one. If a trial kept no weights, the message names the trials that did. Neither
    the data nor the search is needed again to predict or export.

    Options in detail:

    - `--data FILE`: a YAML file with a `data` section. It may be an experiment file; its other sections are
      ignored. Classes are matched by name: the file may list them in another order, or fewer of them. A
      class that the adapter does not know is an error.
    - `--split validation`: scores on the images that the adapter was chosen on, and the table reports this.
    - `--domain KIND:SEVERITY`: blur, noise, contrast, brightness, jpeg or style; from 1 to 5.
    - `--to DIR`: writes `evaluation.html`, a page that needs no other file, and `evaluation.json`, the object
      below with `rows[].details`. For boxes: precision at IoU 0.5 at each of COCO's 101 recalls, by class; a
      confusion matrix with a row and a column `background` for boxes without an object and objects without a
      box; and the score thresholds with the highest F1 on validation images, for all classes together and
      for each. For masks: a confusion matrix of pixels. Rows are the truth.
    - `--untouched`: ADAPTER may also be an experiment file. An error if the pretrained model has no head
      for the classes.

    With `--format json`:

    - `adapter`: its name, as in the title of the table
    - `weights`: the path of the checkpoint; null for the pretrained baseline
    - `epoch`: the epoch of these weights; null for the pretrained baseline
    - `config`: the configuration, nested as `trial` is; null for the pretrained baseline
    - `split`: `test` or `validation`
    - `fingerprint`: identifies the prepared data: equal fingerprints mean equal images, splits and sizes
    - `classes`: names, in the order of the model
    - `main_figure`: the metric of `relative` and `collapsed`, as `map_50` or `dice/cat`
    - `definitions`: what `dice`, `iou`, `coco`, `robustness` and `fingerprint` mean for this adapter
    - `rows[].model`: `adapter` or `untouched`
    - `rows[].domain`: the name, or `KIND:SEVERITY`; null in domain
    - `rows[].images`: the number of images
    - `rows[].figures`: every metric by its name, also for each class (`dice/CLASS`); null for what is not a
      number
    - `rows[].relative`: shifted ÷ in domain, each minus its floor; null in domain, and for a model that has
      collapsed there
    - `rows[].floors`: what the best constant predictor reaches on the same images, by metric; empty for an
      adapter of an earlier version, whose `relative` is of the metrics as they are
    - `rows[].collapsed`: whether the 95 % interval of the metric minus its floor does not lie above 0
    """
    from trainables.specs.data import Split
    from tuning.cli.find_adapter import find_adapter, find_baseline
    from tuning.formatting import json_text

    found = find_baseline(adapter, storage) if untouched else find_adapter(adapter, storage)
    from tuning.cli.adapters.domain_scores import score_domains  # torch

    part = Split(split.value)
    if to is not None:
        from tuning.cli.files.inspection_files import check_folder

        check_folder(to)
    prepared, scores = score_domains(
        found, data=data, part=part, domains=domain or [], metric=metric, with_details=to is not None
    )
    if format_ is OutputFormat.JSON:
        print_answer(json_text(_scores_json(found, prepared, part, scores, metric)))
    else:
        _print_scores(found, data, part, scores, metric)
    if to is not None:
        from tuning.cli.adapters.evaluation_page import write_evaluation

        images = f"{part} images of {'its own data' if data is None else data}"
        answer = _scores_json(found, prepared, part, scores, metric)
        for path in write_evaluation(found.title, scores, answer, images, to):
            tell(f"written: {path}")
    if any(not math.isfinite(value) for score in scores for value in score.metrics.values()):
        say("the outputs of the model are not numbers; its training has probably diverged")
        raise typer.Exit(FAILED)


def _print_scores(
    trained: TrainedAdapter, data: str | None, part: Split, scores: Sequence[DomainScore], metric: str | None
) -> None:
    from analysis.query.floors import collapsed_caption, marked
    from trainables.metrics.above_floor import metric_floor
    from trainables.specs.data import Split
    from trainables.specs.definitions import MEANINGS, Definitions
    from trainables.specs.workload import MetricName
    from tuning.cli.adapters.domain_scores import relative_metric
    from tuning.cli.console import console, print_columns

    task = trained.workload.task
    measured = relative_metric(trained.workload, metric)
    asked = metric or trained.workload.metric_in_domain
    names = tuple(dict.fromkeys((asked, *task.facts.table_metrics)))
    shifted = any(score.domain is not None for score in scores)
    columns = ("model", "domain", "images", *names, *(("relative",) if shifted else ()))
    cells = [
        (
            marked(score.model, is_collapsed=score.collapsed),
            score.domain or "in domain",
            str(score.images),
            *(_number(score.metrics.get(name)) for name in names),
            *((_number(score.relative),) if shifted else ()),
        )
        for score in scores
    ]
    floors = {score.domain: score for score in scores if score.floors}
    cells += [
        (
            "floor",
            score.domain or "in domain",
            str(score.images),
            *(_number(metric_floor(MetricName.of(name, ()), score.floors)) for name in names),
            *(("–",) if shifted else ()),
        )
        for score in floors.values()
    ]
    caption = f"on {part} images of {'its own data' if data is None else data}"
    if trained.epoch is not None:
        caption += f"; weights of epoch {trained.epoch:g}, chosen on validation images"
    if shifted:
        above = ", each minus its floor" if floors else ""
        caption += f"; relative: {measured} as a share of the one in domain{above}"
    if floors:
        caption += "; floor: what the best constant predictor reaches on the same images"
    if any(score.collapsed for score in scores):
        caption += f"; {collapsed_caption(measured)}"
    if (old := trained.workload.definitions.of_metric(measured)) != Definitions().of_metric(measured) and old:
        caption += f"; {measured} is the {MEANINGS[old[0]][old[1]]}"
    if part is Split.VALIDATION and trained.weights is not None and data is None:
        caption += ". The adapter was chosen on these images: test images give a fairer score"
    numeric = tuple(range(2, len(columns)))
    print_columns(console(), trained.title, columns, cells, caption=caption, numeric=numeric)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _scores_json(
    trained: TrainedAdapter,
    prepared: Prepared,
    part: Split,
    scores: Sequence[DomainScore],
    metric: str | None,
) -> dict[str, JsonValue]:
    from trainables.specs.definition_words import definitions_in_words
    from tuning.cli.adapters.domain_scores import relative_metric

    config: JsonValue = trained.config.model_dump(mode="json", exclude_none=True)
    return {
        "adapter": trained.title,
        "weights": None if trained.weights is None else str(trained.weights),
        "epoch": trained.epoch,
        "config": None if trained.weights is None else config,
        "split": part.value,
        "fingerprint": prepared.meta["fingerprint"],
        "classes": list(prepared.classes),
        "main_figure": relative_metric(trained.workload, metric),
        "definitions": dict(definitions_in_words(trained.workload.definitions, trained.workload.task)),
        "rows": [score.record() for score in scores],
    }
