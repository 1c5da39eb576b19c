"""Sections on the importance of settings, and on all settings at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import JsonValue

from analysis.errors import NothingToRankError
from analysis.query.sweep import Scalar, Trial
from analysis.ranking.best import rank_trials
from analysis.report.document import Absent, Block, Figure, Section, Text
from analysis.report.inputs import Material, sample_trials
from analysis.report.plots import (
    Axis,
    Bars,
    Parallel,
    ParallelLine,
)
from analysis.statistics.importance import (
    Importances,
    importance_table,
    importances,
    interaction_table,
    interactions,
    no_interaction,
)
from analysis.tables import Table
from trainables.wording import plural, with_full_stop
from tuning.experiment.alternative import Alternative
from tuning.ranking.policy import ANY_BUDGET

PAIRS = 10
"""Maximum number of interactions that are listed."""
LINES = 200
"""Maximum number of trials that are drawn as lines."""
AXES = 8


# --- importance -------------------------------------------------------------------------------


def importance_section(m: Material) -> Section:
    """The PED-ANOVA importance of the searched settings, and their interactions."""
    title = "Importance of settings"
    if m.is_designed:
        text = "A designed experiment varies one factor, so importance does not apply; see Ablations."
        return Section("importance", title, (Absent(text),))
    try:
        found = importances(m.sweep)
    except NothingToRankError as error:
        return Section("importance", title, (Absent(with_full_stop(str(error))),))
    table = importance_table(found)
    held: list[Block] = [
        Text(_importance_text(found)),
        Figure(
            "importance",
            f"Importance for {m.metric}",
            "Importance by setting: " + ", ".join(f"{one.setting} {one.share:.2f}" for one in found.settings),
            f"{_capital(table.caption)}. Hatched bars: not significant.",
            Bars("importance (share)", tuple((o.setting, o.share, o.significant) for o in found.settings)),
        ),
        Table("Importance (observational)", table.columns, tuple(map(_plain, table.rows)), "", (1, 2, 3)),
    ]
    pairs = interactions(m.sweep)
    together = interaction_table(found, pairs)
    if together.rows:
        rows = tuple(map(_plain, together.rows[:PAIRS]))
        held.append(replace(together, title="Interactions of settings (observational)", rows=rows))
    elif (none := no_interaction(pairs)) is not None:
        held.append(Text(none))
    return Section("importance", title, tuple(held))


def _importance_text(found: Importances) -> str:
    significant = [one.setting for one in found.settings if one.significant]
    if not significant:
        return "The importance of no setting is significant; more trials may be needed."
    others = " The others are not significant." if len(significant) < len(found.settings) else ""
    return f"Significant importance: {', '.join(significant)}.{others}"


def _plain(row: tuple[str, ...]) -> tuple[str, ...]:
    """The row without `p =` in the cell of the column p."""
    return tuple(cell.removeprefix("p = ").removeprefix("p ") for cell in row)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- parallel coordinates ---------------------------------------------------------------------


def parallel_section(m: Material) -> Section:
    """Parallel coordinates: every trial as a line across its settings."""
    title, anchor = "All settings at once", "parallel"
    if m.is_designed:
        text = "A designed experiment varies one factor; see Ablations."
        return Section(anchor, title, (Absent(text),))
    names = [name for name in m.searched if _domain(m, name) is not None][:AXES]
    chosen = sample_trials(m.drawable, LINES)
    if len(chosen) < 2 or not names:
        return Section(
            anchor,
            title,
            (Absent("Fewer than two trials have a value, so there is nothing to compare."),),
        )
    ranked = rank_trials(chosen, m.sweep.objective, ANY_BUDGET)
    values = {trial.number: standing.value for trial, standing in ranked}
    low, high = min(values.values()), max(values.values())
    scales = {name: _scale(m, name, chosen) for name in names}
    best = m.best[0].number if m.best is not None else None
    threads = []
    worst_first = [trial for trial, _ in reversed(ranked)]  # so that better trials are drawn over worse ones
    for trial in sorted(worst_first, key=lambda trial: trial.number == best):
        places = [scales[name].place(trial) for name in names]
        at = (values[trial.number] - low) / (high - low) if high > low else 0.5
        threads.append(ParallelLine(trial.number, (*places, at)))
    ends = tuple((x, m.rounded(low + x * (high - low))) for x in (0.0, 0.5, 1.0))
    axes = (*(scales[name].axis for name in names), Axis(f"{m.metric}, validation images", ends))
    total = len(m.drawable)
    caption = (
        f"One line per trial, from setting to setting down to its {m.metric} on validation images, at"
        " whatever budget it reached. Brighter lines: higher values; thick line: the best trial. A line"
        " skips the axis of a setting that the trial does not have"
    )
    caption += (
        f". {len(chosen)} of {plural(total, 'trial')}: the best {LINES // 2} and an even sample of the"
        " others."
        if total > len(chosen)
        else f". {plural(total, 'trial')}."
    )
    left = [name for name in m.searched if name not in names]
    if left:
        caption += f" Not shown: {', '.join(left)}."
    drawn = Figure(
        anchor,
        "Settings and value of each trial",
        f"Parallel coordinates of {', '.join(names)} and {m.metric}, {plural(len(chosen), 'trial')}"
        + ("" if best is None else f"; the best is trial {best}"),
        caption,
        Parallel(axes, tuple(threads), best),
    )
    return Section(anchor, title, (drawn,))


def _domain(m: Material, name: str) -> tuple[Alternative, ...] | None:
    return m.sweep.experiment.space.root.get(name)


class _Scale:
    """The positions of a setting's values on its axis."""

    def __init__(self, axis: Axis, places: Mapping[str, float], name: str, spread: float) -> None:
        self.axis = axis
        self._places = places
        self._name = name
        self._spread = spread

    def place(self, trial: Trial) -> float | None:
        value = trial.config.get(self._name)
        if value is None:
            return None
        at = self._places.get(_key(value))
        if at is None or not self._spread:
            return at
        # Trials with one value are spread by their number, so that every drawing is the same.
        shift = ((trial.number * 0.618034) % 1.0 - 0.5) * self._spread
        return min(1.0, max(0.0, at + shift))


def _key(value: JsonValue | Scalar) -> str:
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, int | float) else str(value)


def _scale(m: Material, name: str, trials: Sequence[Trial]) -> _Scale:
    alternatives = _domain(m, name) or ()
    if all(a.choice is None for a in alternatives):
        low, high = min(a.span[0] for a in alternatives), max(a.span[1] for a in alternatives)
        log = all(a.log for a in alternatives)
        values = {_key(v): float(v) for t in trials if isinstance(v := t.config.get(name), int | float)}

        def at(value: float) -> float:
            if high == low:
                return 0.5
            if log:
                return math.log(value / low) / math.log(high / low)
            return (value - low) / (high - low)

        middle = math.sqrt(low * high) if log else (low + high) / 2
        ticks = (
            tuple((at(v), f"{v:.3g}") for v in (low, middle, high)) if high > low else ((0.5, f"{low:g}"),)
        )
        axis = Axis(f"{name}, log" if log else name, ticks)
        return _Scale(axis, {key: min(1.0, max(0.0, at(v))) for key, v in values.items()}, name, 0.0)
    options = [v for a in alternatives for v in (a.choice or ())]
    seen = [v for t in trials if (v := t.config.get(name)) is not None]
    keys = list(dict.fromkeys([*map(_key, options), *map(_key, seen)]))
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in options):
        keys.sort(key=float)
    places = {key: 0.5 if len(keys) == 1 else i / (len(keys) - 1) for i, key in enumerate(keys)}
    axis = Axis(name, tuple((place, key) for key, place in places.items()), gradual=False)
    return _Scale(axis, places, name, 0.035 if len(keys) > 1 else 0.0)
