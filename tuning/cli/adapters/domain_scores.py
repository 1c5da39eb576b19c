"""Scores a trained adapter and its pretrained baseline, in domain and under shift, for `evaluate`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue, ValidationError

from analysis.query.sweep import names_in_words
from trainables.data.prepared import Prepared, PreparedSplit, open_prepared
from trainables.errors import AdaptertuneError, DataError
from trainables.inference.score_on_test import chosen_thresholds, evaluation_of
from trainables.inference.trained_model import TrainedModel, load_baseline
from trainables.metrics.above_floor import collapsed, relative_robustness
from trainables.metrics.details import Details
from trainables.metrics.floors import mask_floors
from trainables.metrics.intervals import interval
from trainables.metrics.prepared_floors import true_pixels
from trainables.metrics.results import Results
from trainables.metrics.rules import MetricRules
from trainables.preparation import domain_split, prepare_workload
from trainables.specs.data import Corruption, CorruptionSpec, DomainSpec, Split
from trainables.specs.tasks import COCO_METRICS, MAP_WORST
from trainables.specs.workload import MetricName, Workload
from trainables.wording import plural
from tuning.checkpoints.trained_adapter import TrainedAdapter
from tuning.experiment.file_errors import closest_name
from tuning.experiment.load import read_data
from tuning.messages import tell

BASELINE = "pretrained baseline"


@dataclass(frozen=True)
class DomainScore:
    """The metrics of a model in a domain. domain: None for the data's own."""

    model: str
    domain: str | None
    images: int
    metrics: dict[str, float]
    relative: float | None
    """A metric as a share of the one in domain, both above their floors; see `relative_metric`."""
    floors: dict[str, float] = field(default_factory=dict)
    """What the best constant predictor reaches on the same images, by metric."""
    collapsed: bool | None = None
    """Whether the model is no better there than a constant predictor; None if its metric has no floor."""
    details: Details | None = None
    """Precision, confusion and thresholds, if they were asked for."""

    def record(self) -> dict[str, JsonValue]:
        """For JSON; what is not a number is null."""
        return {
            "model": "untouched" if self.model == BASELINE else "adapter",
            "domain": self.domain,
            "images": self.images,
            "figures": {name: v if math.isfinite(v) else None for name, v in self.metrics.items()},
            "relative": self.relative,
            "floors": dict(self.floors),
            "collapsed": self.collapsed,
        }


@dataclass(frozen=True)
class Shift:
    """A domain of the data, or a corruption that the data need not name."""

    name: str
    spec: DomainSpec | None = None


def score_domains(
    trained: TrainedAdapter,
    *,
    data: str | None,
    part: Split,
    domains: Sequence[str],
    metric: str | None = None,
    with_details: bool = False,
) -> tuple[Prepared, list[DomainScore]]:
    """The data, and a score for each model and domain.

    with_details: score validation images first, for thresholds, and add what `Details` holds to each score.

    data: a file with a `data` section; the adapter's own data when None.  domains: all that the data names
    when empty.  metric: of `relative` and `collapsed`; that of the objective when None.
    Raises DataError for classes that the adapter does not know, AdaptertuneError for an unknown metric.
    """
    workload = trained.workload.at_size()
    if data is not None:
        workload = workload.model_copy(update={"data": read_data(data, workload.task)})
    shifts = [_shift(text, workload) for text in domains] or _all_domains(workload, part)
    prepared = _prepared(workload, trained.classes, foreign=data is not None)
    images = _images(prepared, workload, part, shifts)
    floors = {domain: _floors(trained.workload, prepared.classes, split) for domain, split in images.items()}
    measured = relative_metric(trained.workload, metric)
    models = _models(trained, prepared.classes)
    validation = prepared.splits[Split.VALIDATION] if with_details else None
    scores = [
        score
        for label, model in models
        for score in _scores(label, model, images, floors, measured, validation)
    ]
    known = list(dict.fromkeys(name for score in scores for name in score.metrics))
    if metric is not None and metric not in known:
        guess = closest_name(metric, known)
        hint = f"; did you mean '{guess}'?" if guess else f"; there are {names_in_words(known, ())}"
        raise AdaptertuneError(f"--metric {metric}: no such metric was measured{hint}")
    return prepared, scores


def relative_metric(workload: Workload, metric: str | None) -> str:
    """The metric of `relative`: the one asked for, or the objective's without its domain.

    Of a metric of which lower is better there is no share, so then it is the task's main one.
    """
    asked = metric or workload.metric_in_domain
    facts = workload.task.facts
    return facts.main_metric if MetricName.of(asked).base in facts.lower_is_better else asked


def _floors(workload: Workload, classes: tuple[str, ...], split: PreparedSplit) -> dict[str, float]:
    """The floors on a split by metric; empty for an adapter of before there were floors."""
    if not workload.definitions.with_floors:
        return {}
    if not workload.task.facts.masks:
        return dict.fromkeys((*COCO_METRICS, MAP_WORST), 0.0)
    return mask_floors(true_pixels(split, len(classes)), classes, MetricRules.of(workload, classes))


# --- models -----------------------------------------------------------------------------------


def _models(trained: TrainedAdapter, classes: tuple[str, ...]) -> Iterator[tuple[str, TrainedModel]]:
    """The adapter, then the pretrained baseline if its head knows the classes; one after the other."""
    if trained.weights is not None:
        model = trained.load()
        fresh = model.task.fresh_head
        yield f"{trained.config.adapter}, {trained.config.mode}", model
        if fresh:
            return
        del model
        yield BASELINE, load_baseline(trained.workload, classes)
        return
    base = load_baseline(trained.workload, classes)
    if base.task.fresh_head:
        raise AdaptertuneError(
            f"{trained.title}: the pretrained model has no head for {_few(classes)}, so it cannot be scored"
            " before training; evaluate a trained adapter (adapter `none` shows what the head alone does)"
        )
    yield BASELINE, base


def _scores(
    label: str,
    model: TrainedModel,
    images: dict[str | None, PreparedSplit],
    floors: Mapping[str | None, dict[str, float]],
    metric: str,
    validation: PreparedSplit | None,
) -> Iterator[DomainScore]:
    definitions, here = model.workload.definitions, None
    asked = MetricName.of(metric, ())  # without a domain: an '@' is part of the class name
    chosen = None if validation is None else chosen_thresholds(model, validation)
    nothing = False  # whether it has collapsed in domain, so that there is nothing to have a share of
    for domain, split in images.items():
        tell(f"scoring {label}, {domain or 'in domain'}: {plural(len(split), 'image')}")
        held: list[Results] = []
        wanted = floors[domain] or validation is not None
        metrics = evaluation_of(model, split, keep=held.append if wanted else None)
        if domain is None:
            here = metrics.get(metric)
        relative = None
        if domain is not None and here is not None and (here or definitions.with_floors):
            relative = relative_robustness(
                here,
                {domain: metrics.get(metric)},
                definitions=definitions,
                own_floor=floors[None].get(metric, 0.0),
                floors={domain: floors[domain].get(metric, 0.0)},
            ).get(domain)
        kept = held if floors[domain] else []
        sampled = [found for results in kept if (found := results.above_floor(asked))]
        lost = collapsed(interval(sampled))
        nothing = bool(lost) if domain is None else nothing
        usable = relative is not None and math.isfinite(relative) and not nothing
        yield DomainScore(
            label,
            domain,
            len(split),
            metrics,
            relative if usable else None,
            floors[domain],
            lost,
            held[0].details(chosen) if held and validation is not None else None,
        )


# --- images -----------------------------------------------------------------------------------


def _prepared(workload: Workload, classes: tuple[str, ...], *, foreign: bool) -> Prepared:
    """The data with its classes numbered as the model's. Raises DataError for one that the model lacks.

    foreign: whether it is not the data that the adapter was trained on, which was prepared in this order
    already.
    """
    if not foreign or not classes:
        prepared = open_prepared(prepare_workload(workload, progress=True))
        if prepared.classes == classes or not classes:
            return prepared
    return open_prepared(prepare_workload(workload, classes=classes, progress=True))


def _images(
    prepared: Prepared, workload: Workload, part: Split, shifts: Sequence[Shift]
) -> dict[str | None, PreparedSplit]:
    """The images to score on by domain, those in domain first."""
    own = prepared.splits[part]
    found: dict[str | None, PreparedSplit] = {None: own} if len(own) else {}
    for shift in shifts:
        split = domain_split(prepared.path, workload, shift.spec or shift.name, part)
        if len(split):
            found[shift.name] = split
    if not found:
        other = Split.VALIDATION if part is Split.TEST else Split.TEST
        raise DataError(
            f"the data has no {part} images; use --split {other}, or set data.splits.{part} in the file"
        )
    return found


def _shift(text: str, workload: Workload) -> Shift:
    known = workload.data.domains
    if text in known:
        return Shift(text)
    match = re.fullmatch(r"(?P<kind>[^:]*):(?P<severity>-?\d+)", text)
    if match is None:
        guess = closest_name(text, known)
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


def _all_domains(workload: Workload, part: Split) -> list[Shift]:
    """The domains that have images of the split."""
    return [
        Shift(name)
        for name, domain in workload.data.domains.items()
        if part is Split.TEST or domain.has_validation
    ]


def _few(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more
