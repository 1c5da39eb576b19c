"""The command `evaluate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.completion import complete_adapter
from tuning.cli.options import ADAPTER_HELP, OutputFormat, Storage, TableOrJson
from tuning.exit_codes import FAILED
from tuning.messages import say

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

    `relative` is the task's main metric (`map` or `dice`) as a share of the one in domain. Both are
    measured above their floors: `floor` is what the best constant prediction reaches on the same images
    (docs/reference/metrics.md). The pretrained baseline is scored if the pretrained model has a head for the
    classes; a new head has no meaning before it is trained. The exit code is 1 if a metric is not a number.
    \f
    The table looks like this:

         model                 domain      images     dice      iou   soft_dice     loss    floor   relative
         ───────────────────────────────────────────────────────────────────────────────────────────────────
         lora, frozen          in domain       16   0.7188   0.5866      0.6231   0.1449   0.0057          –
         lora, frozen          textured        16   0.1574   0.0959      0.0910   0.9097   0.0057     0.2127
         pretrained baseline   in domain       16   0.7429   0.6171      0.6393   0.1351   0.0057          –
         pretrained baseline   textured        16   0.1672   0.1035      0.0893   0.9254   0.0057     0.2191

    ADAPTER is one of:

    - `NAME:7`: trial 7 of an experiment under `--storage`
    - `NAME:best`, or `NAME`: its best trial, as `adaptertune best NAME` ranks them
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
    - `main_figure`: the metric of `relative`: `map` or `dice`
    - `rows[].model`: `adapter` or `untouched`
    - `rows[].domain`: the name, or `KIND:SEVERITY`; null in domain
    - `rows[].images`: the number of images
    - `rows[].figures`: every metric by its name, also for each class (`dice/CLASS`); null for what is not a
      number
    - `rows[].relative`: shifted ÷ in domain, both above their floors; null in domain, or if that is 0
    - `rows[].floors`: what the best constant predictor reaches on the same images, by metric; empty for AP
      and AR, where it is 0
    - `definitions`: what each metric means, as in the experiment that trained the adapter
    """
    from trainables.specs.data import Split
    from tuning.cli.find_adapter import find_adapter, find_baseline
    from tuning.formatting import json_text

    found = find_baseline(adapter, storage) if untouched else find_adapter(adapter, storage)
    from tuning.cli.adapters.domain_scores import score_domains  # torch

    part = Split(split.value)
    prepared, scores = score_domains(found, data=data, part=part, domains=domain or [])
    if format_ is OutputFormat.JSON:
        typer.echo(json_text(_scores_json(found, prepared, part, scores)))
    else:
        _print_scores(found, data, part, scores)
    if any(not math.isfinite(value) for score in scores for value in score.metrics.values()):
        say("the outputs of the model are not numbers; its training has probably diverged")
        raise typer.Exit(FAILED)


def _print_scores(
    trained: TrainedAdapter, data: str | None, part: Split, scores: Sequence[DomainScore]
) -> None:
    from trainables.specs.data import Split
    from trainables.specs.definitions import MEANINGS, Definitions
    from tuning.cli.console import console, print_columns

    task = trained.workload.task
    names = task.facts.table_metrics
    shifted = any(score.domain is not None for score in scores)
    main = task.facts.main_metric
    floored = any(main in score.floors for score in scores)
    columns = (
        *("model", "domain", "images", *names),
        *(("floor",) if floored else ()),
        *(("relative",) if shifted else ()),
    )
    cells = [
        (
            score.model,
            score.domain or "in domain",
            str(score.images),
            *(_number(score.metrics.get(name)) for name in names),
            *((_number(score.floors.get(main)),) if floored else ()),
            *((_number(score.relative),) if shifted else ()),
        )
        for score in scores
    ]
    caption = f"on {part} images of {'its own data' if data is None else data}"
    if trained.epoch is not None:
        caption += f"; weights of epoch {trained.epoch:g}, chosen on validation images"
    if shifted:
        above = ", both above their floors" if floored else ""
        caption += f"; relative: {main} as a share of the one in domain{above}"
    if floored:
        caption += f"; floor: {main} of the best constant prediction on the same images"
    if (old := trained.experiment.definitions.of_metric(main)) != Definitions().of_metric(main) and old:
        caption += f"; {main} is the {MEANINGS[old[0]][old[1]]}"
    if part is Split.VALIDATION and trained.weights is not None and data is None:
        caption += ". The adapter was chosen on these images: test images give a fairer score"
    numeric = tuple(range(2, len(columns)))
    print_columns(console(), trained.title, columns, cells, caption=caption, numeric=numeric)


def _meanings(trained: TrainedAdapter) -> dict[str, str]:
    from trainables.specs.definition_words import definitions_in_words

    return definitions_in_words(trained.experiment.definitions, trained.workload.task)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _scores_json(
    trained: TrainedAdapter, prepared: Prepared, part: Split, scores: Sequence[DomainScore]
) -> dict[str, JsonValue]:
    config: JsonValue = trained.config.model_dump(mode="json", exclude_none=True)
    return {
        "adapter": trained.title,
        "weights": None if trained.weights is None else str(trained.weights),
        "epoch": trained.epoch,
        "config": None if trained.weights is None else config,
        "split": part.value,
        "fingerprint": prepared.meta["fingerprint"],
        "classes": list(prepared.classes),
        "main_figure": trained.workload.task.facts.main_metric,
        "definitions": dict(_meanings(trained)),
        "rows": [score.record() for score in scores],
    }
