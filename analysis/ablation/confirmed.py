"""The result of repeating the best trials of a search: which to take, and how lucky the search was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from analysis.ablation.result import FINEST, AblationResult, interval_cell, mean_cell, result_of
from analysis.query.sweep import Sweep
from analysis.statistics.paired import rounded
from analysis.statistics.verdicts import LevelSummary, PairedDifference
from analysis.statistics.winner import Choice, choose, difference_of, optimism
from analysis.tables import Table, format_count, format_metric
from trainables.errors import AdaptertuneError
from trainables.wording import plural
from tuning.experiment.sections.ablation import AblationStage
from tuning.experiment.sections.confirm import confirm_name
from tuning.ledger.ledger import LEDGER


@dataclass(frozen=True)
class Confirmed:
    """The comparison, and the trial of the search to take; None while no run has a result."""

    result: AblationResult
    choice: Choice | None

    @property
    def trial(self) -> int | None:
        """The number, in the search, of the trial to take."""
        return None if self.choice is None else int(self.choice.name.removeprefix("trial "))

    @property
    def answer(self) -> str:
        """Which trial to take, and why, in one sentence."""
        return _answer(self)


def confirmed(result: AblationResult) -> Confirmed:
    """The trial to take. `result` is that of an experiment of `adaptertune confirm`."""
    return Confirmed(result, choose(result.comparison, _costs(result)))


def confirmation_of(folder: Path) -> Confirmed | None:
    """What `adaptertune confirm` found for an experiment, under its default name; None if nothing.

    A record that cannot be read is told of by the commands that are asked for it.
    """
    to = folder.with_name(confirm_name(folder.name))
    if not (to / LEDGER).exists():
        return None
    try:
        sweep = Sweep.at(to)
        design = sweep.experiment.ablation
        if design is None or design.stage is not AblationStage.CONFIRM or design.of != folder.name:
            return None
        found = confirmed(result_of(sweep))
    except AdaptertuneError:
        return None
    return found if found.choice is not None else None


def _costs(result: AblationResult) -> dict[str, float | None]:
    """Parameters that train: the same on every machine and on every day, unlike seconds."""
    found: dict[str, float | None] = {}
    for level in result.spec.levels:
        known = [run.trainable for run in result.at(level.name) if run.trainable is not None]
        found[level.name] = float(max(known)) if known else None
    return found


def _answer(found: Confirmed) -> str:
    result, choice = found.result, found.choice
    if choice is None:
        return "no run has a result yet, so nothing is confirmed"
    seeds = f"{plural(len(result.spec.seeds), result.spec.unit)}, {result.images} {result.metric}"
    if len(result.spec.levels) == 1:
        return f"{choice.name} was repeated alone ({seeds}); nothing is compared"
    if choice.won:
        pairs = [
            f"{other.name} ({_interval(difference_of(result.comparison, choice.name, other.name), choice)})"
            for other in result.comparison.levels
            if other.name != choice.name and other.mean is not None
        ]
        return f"{choice.name} is better than {' and than '.join(pairs)}, over {seeds}"
    costs = _costs(result)
    own, others = costs[choice.name], [costs[name] for name in choice.tied]
    if choice.cheaper and own is not None:
        least = min(cost for cost in others if cost is not None)
        why = (
            f"{choice.name} is the cheaper, with {format_count(round(own))} trainable parameters against"
            f" {format_count(round(least))}"
        )
    elif own is not None and all(cost == own for cost in others):
        why = f"{choice.name} has the better mean at the same number of trainable parameters"
    else:
        why = f"take {choice.name}, which nothing is better than"
    beaten = f"; something is better than {', '.join(choice.beaten)}" if choice.beaten else ""
    return f"{choice.name} and {', '.join(choice.tied)} are not told apart, over {seeds}; {why}{beaten}"


def _interval(d: PairedDifference | None, choice: Choice) -> str:
    """The difference from the chosen one's side, with its 95 % interval."""
    assert d is not None
    assert d.mean is not None
    assert d.interval is not None
    mean, low, high = d.mean, d.interval.low, d.interval.high
    if d.level != choice.name:
        mean, low, high = -mean, -high, -low
    width = high - low
    shown = (rounded(value, width, signed=True) for value in (mean, low, high))
    return "mean difference {}, 95 % CI {} to {}".format(*shown)


def confirmed_table(found: Confirmed) -> Table:
    """Each repeated trial: its value in the search, its mean over the repeats, and what it costs."""
    result = found.result
    repeats = {level.name: level for level in result.validation.levels}
    costs = _costs(result)
    rows = []
    for level, designed in zip(result.comparison.levels, result.spec.levels, strict=True):
        again = repeats[level.name]
        excess = _optimism(result, designed.value, again)
        cost = costs[level.name]
        taken = found.choice is not None and found.choice.name == level.name
        rows.append(
            (
                f"{level.name} (take this one)" if taken else level.name,
                str(level.n),
                mean_cell(level),
                interval_cell(level.interval),
                "–" if designed.value is None else format_metric(designed.value),
                mean_cell(again),
                "–" if excess is None else rounded(excess, max(abs(excess), FINEST), signed=True),
                "–" if cost is None else format_count(round(cost)),
            )
        )
    columns = (
        "trial", "runs", f"{result.images} {result.metric}", "95 % CI",
        "validation, search", "repeats", "optimism", "trainable",
    )  # fmt: skip
    caption = _caption(result)
    title = f"{result.name}: the best trials, repeated"
    return Table(title, columns, tuple(rows), caption, numeric=tuple(range(1, 8)))


def _optimism(result: AblationResult, value: float | None, again: LevelSummary) -> float | None:
    """None over folds, as the search chose the trial on other images."""
    if result.spec.folds is not None:
        return None
    return optimism(value, again, result.comparison.direction)


def _caption(result: AblationResult) -> str:
    count = len(result.spec.seeds)
    if result.spec.folds is not None:
        return (
            f"The best trials of {result.spec.of}, each repeated over {plural(count, 'fold')} of all images"
            " but those of test, with a seed for each fold that no trial of the search had. Means of the last"
            " reports over the folds that a run did not train on; 95 % CI: confidence interval of the mean"
            " (Student's t), corrected for the training images that folds share (Nadeau and Bengio 2003)"
        )
    return (
        f"The best trials of {result.spec.of}, each repeated over {plural(count, 'seed')}"
        " that no trial of the search had. Means over seeds; 95 % CI: confidence interval of the mean"
        " (Student's t). Optimism: how much better the value is for which the search chose the trial than the"
        " mean of its repeats on the same validation images; the best of many values is a lucky one (winner's"
        " curse)"
    )


def confirmed_json(found: Confirmed) -> dict[str, JsonValue]:
    """The trial to take, for JSON."""
    choice = found.choice
    return {
        "trial": found.trial,
        "won": choice is not None and choice.won,
        "not_told_apart": [] if choice is None else list(choice.tied),
        "beaten": [] if choice is None else list(choice.beaten),
        "answer": found.answer,
        "trainable": dict(_costs(found.result)),
        "optimism": {
            designed.name: _optimism(found.result, designed.value, level)
            for designed, level in zip(found.result.spec.levels, found.result.validation.levels, strict=True)
        },
    }
