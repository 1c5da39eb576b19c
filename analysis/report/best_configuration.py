"""The best configuration of a sweep, in its report: what it is, how good, and those behind it."""

from __future__ import annotations

from analysis.query.floors import Part, collapsed_caption
from analysis.ranking.by_adapter import against_baseline
from analysis.ranking.scored_metrics import scored_value
from analysis.report.document import Absent, Block, FactList, Listing, Section, Text
from analysis.report.inputs import Material
from analysis.report.setup import describe_precision
from analysis.tables import Table, format_budget, format_count
from trainables.wording import plural
from tuning.experiment.write import experiment_yaml
from tuning.formatting import format_drawn, format_settings
from tuning.ledger.ledger import read_history
from tuning.ledger.lineage import can_be_repeated, schedule_of

TOP = 10


def best_section(m: Material) -> Section:
    """The best configuration, how to train it again, and the best trials."""
    if m.best is None:
        return Section("best", "Best configuration", (Absent(_none_yet(m)),))
    trial, _ = m.best
    blocks: list[Block] = [Text(_best_text(m))]
    if m.ranking.early_stopped:
        blocks.append(
            Text(
                "No trial has finished, so this is the best of those that were stopped early or are still"
                " running; they trained for less than the full budget."
            )
        )
    if m.is_retuning:
        blocks.append(
            Text(
                "This experiment retuned settings for each level of an ablation, with one seed and on"
                " validation images. It does not compare the levels; the ablation itself does, with other"
                " seeds."
            )
        )
    elif m.is_designed:
        blocks.append(
            Text(
                "This is a designed experiment: its best run is the luckiest seed of the best level. Its"
                " result is the comparison of the levels under Ablations."
            )
        )
    name = m.folder.name
    history = read_history(m.folder)
    parent = history.trials[trial.number].parent
    if parent is not None:
        blocks.append(
            Text(f"Trial {trial.number} {parent.told}; its configuration alone gives another result.")
        )
        blocks.append(Listing("Its schedule", "\n".join(schedule_of(history, trial.number))))
    repeats = can_be_repeated(history, trial.number)
    again = f"adaptertune train --from {name}:{trial.number}\n" if repeats else ""
    blocks += [
        FactList(tuple((key, format_drawn(key, value, trial.rates)) for key, value in trial.params.items())),
        Listing(
            "Train it again" if again else "Use it",
            f"{again}adaptertune evaluate"
            f" {name}:{trial.number}\nadaptertune export {name}:{trial.number} --to {name}-best",
        ),
        Listing(
            "The same configuration as an experiment file",
            experiment_yaml(m.sweep.experiment, trial.params),
            "yaml",
        ),
        _top(m),
    ]
    return Section("best", "Best configuration", tuple(blocks))


def _none_yet(m: Material) -> str:
    if not m.sweep.trials:
        return "No trial has started yet."
    return "No trial has a valid value: none has reported, or all failed, diverged or repeated another trial."


def _best_text(m: Material) -> str:
    assert m.best is not None
    trial, standing = m.best
    images = m.images("validation")
    on = "validation images" if images is None else plural(images, "validation image")
    text = (
        f"Trial {trial.number}: {m.metric} {m.rounded(standing.value)} on {on}, at epoch"
        f" {standing.epoch:g} of {trial.epochs:g}."
    )
    if (floor := m.sweep.floors.at(m.metric)) is not None:
        text += f" The best constant predictor reaches {m.rounded(floor)} on them."
    if standing.collapsed:
        text += f" The trial has {collapsed_caption(m.metric)}."
    score = m.best_score
    tested = None if score is None else scored_value(score, m.metric)
    if tested is not None:
        text += f" The same weights on test images: {m.rounded(tested)}"
        interval = m.interval(trial.number, m.metric)
        over = "" if interval is None else f" (95 % CI over test images {m.rounded_interval(interval)})"
        floor = m.sweep.floors.at(m.metric, Part.TEST)
        text += f"{over}"
        text += "." if floor is None else f", where a constant predictor reaches {m.rounded(floor)}."
    if (before := m.sweep.baseline.get(m.metric)) is not None:
        text += f" The pretrained baseline has {m.rounded(before)} on validation images"
        text += ", and is no worse." if against_baseline(m.sweep, standing.value).startswith("no") else "."
    if m.ranking.counted > 1:
        text += (
            f" The trial was selected from {plural(m.ranking.counted, 'trial')} by its validation value,"
            " so that value"
            " is optimistic" + ("; the test value was not used for selection." if tested is not None else ".")
        )
    return text


def _top(m: Material) -> Table:
    rows = []
    tested = False
    for place, (trial, standing) in enumerate(m.ranking.ranked[:TOP], start=1):
        score = m.ranking.score(trial, standing)
        test = None if score is None else scored_value(score, m.metric)
        tested |= test is not None
        rows.append(
            (
                str(place), str(trial.number), m.value_of(standing), m.rounded(test),
                f"{standing.epoch:g}",
                format_budget(trial.ran, trial.epochs), format_count(trial.trainable),
                format_settings(trial.params, trial.rates),
            )
        )  # fmt: skip
    columns = (
        "",
        "trial",
        f"validation {m.metric}",
        f"test {m.metric}",
        "at epoch",
        "epochs run",
        "trainable",
        "settings",
    )
    kept = [i for i, name in enumerate(columns) if tested or not name.startswith("test ")]
    caption = m.ranking.caption
    if tested:
        caption += ". Selected on validation images; test: on test images, with the weights of that epoch"
    parts = (Part.VALIDATION, Part.TEST) if tested else (Part.VALIDATION,)
    caption += m.worth(*parts, standings=[standing for _, standing in m.ranking.ranked[:TOP]])
    return Table(
        f"The best {min(TOP, m.ranking.counted)} of {plural(m.ranking.counted, 'ranked trial')}",
        tuple(columns[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in rows),
        f"{caption}. {describe_precision(m)}",
        numeric=tuple(range(len(kept) - 1)),
    )
