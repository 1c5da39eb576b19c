"""The result of a designed experiment: its runs by level and seed, and their comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from analysis.ablation.design import AblationError, level_of
from analysis.ablation.studies import describe_level
from analysis.ablation.study_names import Images
from analysis.query.floors import COLLAPSED, Part, collapsed_caption
from analysis.query.sweep import Sweep, Trial
from analysis.ranking.scored_metrics import scored_value
from analysis.statistics.paired import (
    POWER,
    Comparison,
    Interval,
    LevelSummary,
    PairedDifference,
    compare_levels,
    format_p_value,
    rounded,
)
from analysis.tables import Table, format_count, format_metric, format_signed, percent
from trainables.specs.workload import MetricName
from trainables.wording import counts_in_words, plural
from tuning.experiment.sections.ablation import AblationSpec, AblationStage

FINEST = 1e-3
"""Intervals narrower than this add no digits to a value: four decimals are enough."""


@dataclass(frozen=True)
class Run:
    """The run of one level with one seed. value and test are None if it has no result."""

    level: str
    seed: int
    trial: int | None
    outcome: str
    """`not run` if its trial has not started."""
    value: float | None = None
    """Its objective on validation images."""
    collapsed: bool | None = None
    """Whether `value` is no better than a constant predictor's."""
    epoch: float | None = None
    test: float | None = None
    """The same metric on test images."""
    trainable: int | None = None
    seconds: float | None = None
    peak_mb: float | None = None
    fold: int | None = None
    """The fold that judges it, of a design over folds."""

    @property
    def pair(self) -> int:
        """What it has in common with one run of every other level: the fold, or else the seed."""
        return self.seed if self.fold is None else self.fold


@dataclass(frozen=True)
class AblationResult:
    """The result of a designed experiment."""

    name: str
    spec: AblationSpec
    metric: str
    runs: tuple[Run, ...]
    """By level, then seed."""
    images: Images
    """The images that conclusions are drawn from."""
    comparison: Comparison
    """On these images."""
    validation: Comparison
    domains: tuple[str, ...] = ()
    """Those of the data."""
    floor: float | None = None
    """What the best constant predictor reaches on `images`; None if it is not recorded."""

    @property
    def asked(self) -> MetricName:
        """The parts of the metric."""
        return MetricName.of(self.metric, self.domains)

    @property
    def missing(self) -> int:
        """The number of runs without a result."""
        return sum(self._of(run) is None for run in self.runs)

    def at(self, level: str) -> tuple[Run, ...]:
        """The runs of one level that have a result."""
        return tuple(run for run in self.runs if run.level == level and self._of(run) is not None)

    def _of(self, run: Run) -> float | None:
        return run.test if self.images is Images.TEST else run.value


def result_of(sweep: Sweep, images: Images | None = None) -> AblationResult:
    """Compare the runs of a designed experiment, on test images if scored there, else on validation images.

    images: overrides that choice. Raises AblationError if the experiment is not an ablation, or if no run
    has been scored on the requested test images.
    """
    spec = sweep.experiment.ablation
    if spec is None or not spec.stage.compares:
        what = "only retuned the levels of an ablation" if spec else "is not a designed experiment"
        raise AblationError(
            f"{sweep.name} {what}; `adaptertune ablate {spec.of if spec else sweep.name} --study rank`"
            " runs one, and --by SETTING compares the sweep's own trials (observational)"
        )
    runs = tuple(_runs(sweep, spec))
    if images is Images.TEST and not any(run.test is not None for run in runs):
        raise AblationError(f"{sweep.name}: no run has been scored on test images; omit --on test")
    scored = any(run.test is not None for run in runs)
    chosen = images or (Images.TEST if scored else Images.VALIDATION)
    by_level = {level.name: [run for run in runs if run.level == level.name] for level in spec.levels}
    metric, direction = sweep.objective.metric, sweep.objective.direction

    def compared(test: bool) -> Comparison:
        values = {
            name: {run.pair: run.test if test else run.value for run in group}
            for name, group in by_level.items()
        }
        reference = None if spec.stage is AblationStage.CONFIRM else spec.reference
        return compare_levels(
            values,
            metric=metric,
            direction=direction,
            reference=reference,
            overlap=spec.overlap,
            unit=spec.unit,
        )

    validation = compared(False)
    comparison = compared(True) if chosen is Images.TEST else validation
    return AblationResult(
        sweep.name,
        spec,
        metric,
        runs,
        chosen,
        comparison,
        validation,
        tuple(sweep.experiment.data.domains),
        sweep.floors.at(metric, Part(chosen.value)) if spec.folds is None else None,
    )


def _runs(sweep: Sweep, spec: AblationSpec) -> Iterator[Run]:
    found: dict[tuple[str, JsonValue], Trial] = {}
    for trial in sweep.trials:
        level = level_of(spec, trial.params)
        if level is not None:
            found[level.name, trial.params.get("seed")] = trial
    for level in spec.levels:
        for number, seed in enumerate(spec.seeds):
            ran = found.get((level.name, seed))
            run = (
                Run(level.name, seed, None, "not run") if ran is None else _run(sweep, level.name, seed, ran)
            )
            yield run if spec.folds is None else replace(run, fold=number)


def _run(sweep: Sweep, level: str, seed: int, trial: Trial) -> Run:
    # A run that did not finish has a smaller budget than the others, so its value is not compared.
    standing = trial.standing(sweep.objective) if trial.finished else None
    score = sweep.scores.get(trial.number) if trial.finished else None
    return Run(
        level,
        seed,
        trial.number,
        trial.outcome,
        standing.value if standing else None,
        standing.collapsed if standing else None,
        standing.epoch if standing else None,
        scored_value(score, sweep.objective.metric) if score is not None else None,
        trial.trainable,
        trial.seconds,
        trial.peak_mb,
    )


# --- tables -----------------------------------------------------------------------------------


def result_tables(result: AblationResult) -> tuple[Table, ...]:
    """The levels with their results and costs, and their differences from the reference, if any."""
    tables = [_levels(result)]
    if result.comparison.differences:
        tables.append(_differences(result))
    return tuple(tables)


def _levels(result: AblationResult) -> Table:
    spec, both = result.spec, result.images is Images.TEST
    own = {level.name: level for level in result.validation.levels}
    rows = []
    for level, designed in zip(result.comparison.levels, spec.levels, strict=True):
        done = result.at(level.name)
        name = f"{level.name} (reference)" if level.name == spec.reference else level.name
        rows.append(
            (
                name,
                _counted(level.n, done),
                mean_cell(level),
                interval_cell(level.interval),
                *((mean_cell(own[level.name]),) if both else ()),
                _whole([run.trainable for run in done]),
                _average([run.seconds for run in done]),
                _most([run.peak_mb for run in done]),
                describe_level(designed),
            )
        )
    columns = (spec.factor, "runs", f"{result.images} {result.metric}", "95 % CI",
               *(("validation",) if both else ()), "trainable", "s/run", "peak MB", "settings")  # fmt: skip
    title = f"{result.name}: {result.metric} by {spec.factor}, {plural(len(spec.seeds), spec.unit)} per level"
    which = (
        "on test images, with the weights of each run's best epoch on validation images"
        if both
        else "on validation images, on which each run's best epoch was selected"
    )
    caption = (
        f"designed: all other settings as in trial {spec.trial} of {spec.of}. Means over seeds {which}."
        " 95 % CI: confidence interval of the mean (Student's t)"
    )
    if result.floor is not None:
        caption += f". Floor, what the best constant predictor reaches on the same images: {result.floor:.4f}"
    if any(run.collapsed for run in result.runs):
        caption += f". {collapsed_caption(result.metric)} (validation images)"
    if len(spec.levels) > 1 and not any("learning_rate" in level.whole for level in spec.levels):
        caption += (
            ". All levels use the learning rate of that trial, which may suit some better than others;"
            " --retune learning_rate tunes it for each level"
        )
    return Table(title, columns, tuple(rows), caption, numeric=tuple(range(1, 7 + both)))


def _counted(number: int, runs: Sequence[Run]) -> str:
    """The number of runs, and how many of them have collapsed."""
    lost = sum(bool(run.collapsed) for run in runs)
    return f"{number} ({lost} {COLLAPSED})" if lost else str(number)


def _differences(result: AblationResult) -> Table:
    rows = tuple(
        (
            f"{d.level} − {d.reference}",
            str(d.n),
            _signed(d),
            interval_cell(d.interval, signed=True),
            format_p_value(d.p).removeprefix("p ").removeprefix("= "),
            format_p_value(d.p_holm).removeprefix("p ").removeprefix("= "),
            format_signed(d.effect),
            d.detects,
            d.verdict.label,
        )
        for d in result.comparison.differences
    )
    columns = (
        "difference", "pairs", "mean", "95 % CI", "p", "p (Holm)", "Hedges' g",
        "min. detectable", "result",
    )  # fmt: skip
    unit, test = result.spec.unit, "paired t-test"
    if result.spec.folds is not None:
        test += ", corrected for the training images that folds share (Nadeau and Bengio 2003)"
    caption = (
        f"{result.images} {result.metric}, paired by {unit}. p: {test}; p (Holm): adjusted over all"
        " differences by Holm's method; Hedges' g: effect size of the paired differences; min. detectable:"
        f" the smallest true difference that this number of {unit}s detects with {percent(POWER)} power"
        f" (none in 0–1: not even the largest that the metric can have; use more {unit}s)"
    )
    return Table(f"{result.name}: differences", columns, rows, caption, numeric=tuple(range(1, 8)))


def seed_sentences(result: AblationResult) -> tuple[str, ...]:
    """The result over seeds as sentences, with notes on missing runs and the design."""
    found = [f"On {result.images} images. {sentence}" if i == 0 else sentence
             for i, sentence in enumerate(result.comparison.sentences)]  # fmt: skip
    if result.missing:
        lost = [run for run in result.runs if run.value is None]
        if kinds := Counter(run.outcome for run in lost):
            found.append("Runs without a result: " + counts_in_words(kinds) + ".")
    return (*found, *(f"{note}." for note in result.spec.notes))


def mean_cell(level: LevelSummary) -> str:
    """The mean of a level, with as many digits as its interval is worth."""
    if level.mean is None:
        return "–"
    width = level.interval.width if level.interval is not None else 0.0
    return rounded(level.mean, max(width, FINEST)) if width else format_metric(level.mean)


def _signed(d: PairedDifference) -> str:
    if d.mean is None:
        return "–"
    width = d.interval.width if d.interval is not None else 0.0
    return rounded(d.mean, max(width, FINEST), signed=True)


def interval_cell(interval: Interval | None, *, signed: bool = False) -> str:
    """The ends of an interval; a dash where there is none."""
    if interval is None:
        return "–"
    width = max(interval.width, FINEST)
    low, high = (rounded(end, width, signed=signed) for end in (interval.low, interval.high))
    return f"{low} to {high}"


def _whole(values: Sequence[int | None]) -> str:
    known = [value for value in values if value is not None]
    return format_count(round(sum(known) / len(known))) if known else "–"


def _average(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.1f}" if known else "–"


def _most(values: Sequence[float | None]) -> str:
    return f"{max(known):.0f}" if (known := [v for v in values if v is not None]) else "–"
